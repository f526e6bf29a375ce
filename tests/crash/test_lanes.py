from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar, cast

from sqlalchemy import Connection

from relay.store.writer import Operation, Writer

T = TypeVar("T")


class Nested:
    """As much of a connection as the writer itself needs."""

    def begin_nested(self) -> nullcontext[None]:
        return nullcontext()


class Transactions:
    """Stands in for a database: notes what each transaction did."""

    def __init__(self) -> None:
        self.done: list[list[str]] = []

    async def __call__(self, fn: Callable[[Connection], T], *, brief: bool = False, inserts_last: bool = False) -> T:
        self.done.append([])
        outcome = fn(cast(Connection, Nested()))
        await asyncio.sleep(0)
        return outcome

    def note(self, what: str) -> None:
        self.done[-1].append(what)


async def _write_everything(lanes: int) -> list[list[str]]:
    transactions = Transactions()
    writer = Writer(transactions, lanes=lanes)

    def operation(name: str) -> Operation[int, int]:
        def apply(_: Connection, items: list[int]) -> list[int]:
            transactions.note(name)
            return items

        return Operation(name, apply)

    def function(name: str) -> Callable[[Connection], None]:
        return lambda _: transactions.note(name)

    jobs, deliveries = operation("jobs"), operation("deliveries")
    await asyncio.gather(
        writer.submit(jobs, 1),
        writer.write(function("extend jobs")),
        writer.submit(deliveries, 1),
        writer.submit(jobs, 2),
        writer.write(function("extend deliveries")),
        writer.submit_patiently(deliveries, 2),
    )
    await writer.close()
    return transactions.done


async def test_transactions_that_run_side_by_side_lock_rows_of_one_kind_each() -> None:
    done = await _write_everything(lanes=2)

    assert all(len(set(transaction)) == 1 for transaction in done)
    assert sorted({what for transaction in done for what in transaction}) == [
        "deliveries", "extend deliveries", "extend jobs", "jobs",
    ]  # fmt: skip


async def test_where_there_is_one_lane_everything_that_waits_shares_a_transaction() -> None:
    done = await _write_everything(lanes=1)

    assert len(done) <= 2
