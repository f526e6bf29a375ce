from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import pytest
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import StaticPool

from relay.errors import Conflict, StoreFull, StoreUnavailable
from relay.store import writer as writer_module
from relay.store.database import Database
from relay.store.writer import BATCH_ITEMS, EAGER_ITEMS, Operation, Writer
from tests.support.numbers import make_numbers, numbers, put_number, put_numbers

T = TypeVar("T")

PUT = Operation("put", put_numbers)


class Gated:
    """Transactions on a database in memory whose COMMIT waits for the test's word."""

    def __init__(self) -> None:
        self._engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"isolation_level": None})
        event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        with self._engine.begin() as connection:
            make_numbers(connection)
        self.commits = 0
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.failure: BaseException | None = None

    async def __call__(self, fn: Callable[[Connection], T], *, brief: bool = False, inserts_last: bool = False) -> T:
        with self._engine.begin() as connection:
            outcome = fn(connection)
            await self.may_commit.wait()
            if self.failure is not None:
                raise self.failure
        self.commits += 1
        return outcome

    def numbers(self) -> list[int]:
        with self._engine.begin() as connection:
            return numbers(connection)

    def close(self) -> None:
        self._engine.dispose()


@pytest.fixture
def gated() -> Gated:
    return Gated()


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_caller_is_answered_only_after_commit(gated: Gated) -> None:
    writer = Writer(gated)
    gated.may_commit.clear()
    written = asyncio.ensure_future(writer.write(partial(put_number, number=1)))
    submitted = asyncio.ensure_future(writer.submit(PUT, 2))
    await _turns()
    assert not written.done() and not submitted.done()
    gated.may_commit.set()
    assert await written == 1
    assert await submitted == 20
    await writer.close()
    gated.close()


async def test_who_has_no_task_is_told_after_commit_or_of_the_error(gated: Gated) -> None:
    writer, told = Writer(gated), list[tuple[object, Exception | None]]()
    gated.may_commit.clear()
    writer.post(PUT, 1, lambda outcome, error: told.append((outcome, error)))
    await _turns()
    assert told == []
    gated.may_commit.set()
    await writer.submit(PUT, 2)
    assert told == [(10, None)]
    gated.failure = StoreUnavailable("away")
    writer.post(PUT, 3, lambda outcome, error: told.append((outcome, error)))
    await writer.close()
    assert told[1:] == [(None, gated.failure)]
    with pytest.raises(StoreUnavailable):
        writer.post(PUT, 4, lambda outcome, error: told.append((outcome, error)))
    gated.close()


async def test_who_fails_at_being_told_keeps_it_from_nobody(gated: Gated) -> None:
    def broken(_outcome: object, _error: Exception | None) -> None:
        raise KeyError("a bug")

    writer = Writer(gated)
    writer.post(PUT, 1, broken)
    assert await writer.submit(PUT, 2) == 20
    assert gated.numbers() == [1, 2]
    await writer.close()
    gated.close()


async def test_a_batch_that_is_worth_it_waits_for_no_interval(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "LONGEST_INTERVAL_SECONDS", 60.0)
    monkeypatch.setattr(writer_module, "BUSY_SHARE", 1e-12)
    writer = Writer(gated)
    await writer.submit(PUT, 0)
    await asyncio.gather(*(writer.submit(PUT, number) for number in range(1, EAGER_ITEMS + 1)))
    lone = asyncio.ensure_future(writer.submit(PUT, 100))
    await _turns()
    assert not lone.done(), "the last batch began a moment ago: a single one waits for company"
    await writer.close()
    assert await lone == 1000, "nobody waits when the store is closed"
    gated.close()


async def test_what_was_answered_is_there_for_another_connection(database: Database) -> None:
    await database.write(make_numbers)

    async def write_and_look(number: int) -> bool:
        await database.submit(PUT, number)
        return number in await database.read(numbers)

    assert all(await asyncio.gather(*(write_and_look(number) for number in range(100))))


async def test_many_writes_share_few_transactions(gated: Gated) -> None:
    writer = Writer(gated)
    gated.may_commit.clear()
    first = asyncio.ensure_future(writer.submit(PUT, 0))
    await _turns()
    rest = [asyncio.ensure_future(writer.submit(PUT, number)) for number in range(1, BATCH_ITEMS + 2)]
    gated.may_commit.set()
    assert await asyncio.gather(first, *rest) == [number * 10 for number in range(BATCH_ITEMS + 2)]
    assert gated.commits == 3  # the lone first, a full batch, and the one that did not fit
    await writer.close()
    gated.close()


async def test_equal_writes_are_handed_over_together(gated: Gated) -> None:
    sizes: list[int] = []

    def apply(connection: Connection, items: list[int]) -> list[int]:
        sizes.append(len(items))
        return put_numbers(connection, items)

    writer, operation = Writer(gated), Operation("counted", apply)
    await asyncio.gather(*(writer.submit(operation, number) for number in range(EAGER_ITEMS)))
    assert sizes == [EAGER_ITEMS]
    await writer.close()
    gated.close()


class Prompt:
    """Transactions whose statements run when they are asked for; the test commits them."""

    def __init__(self) -> None:
        self.committing: list[tuple[asyncio.Future[Any], Any]] = []

    def __call__(
        self, fn: Callable[[Connection], T], *, brief: bool = False, inserts_last: bool = False
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.committing.append((future, fn(cast(Connection, None))))
        return future

    def commit(self) -> None:
        future, outcome = self.committing.pop(0)
        future.set_result(outcome)


async def test_a_batch_that_is_worth_it_begins_in_the_midst_of_what_comes_in() -> None:
    """And the next one before the callers of the last are told, who would keep the disk waiting."""
    seen: list[str] = []

    def apply(_: Connection, items: list[int]) -> list[int]:
        seen.append(f"{len(items)} begun")
        return items

    transact, operation = Prompt(), Operation("seen", apply)
    writer = Writer(transact)
    for number in range(EAGER_ITEMS * 2):
        writer.post(operation, number, lambda outcome, _: seen.append("told") if outcome == 0 else None)
    assert seen == [f"{EAGER_ITEMS} begun"], "no turn of the loop was needed"
    transact.commit()
    await _turns()
    assert seen[1:] == [f"{EAGER_ITEMS} begun", "told"]
    transact.commit()
    await writer.close()


NOTHING: Operation[int, int] = Operation("nothing", lambda _, items: items)


class Paced:
    """A writer whose transactions take as long as the test says, by a clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)
        self._transact = Prompt()
        self._writer = Writer(self._transact)

    async def begins(self) -> float:
        """Put in a write; how long it waits until its batch begins, in milliseconds."""
        self._writer.post(NOTHING, 1, lambda outcome, error: None)
        for waited in range(100):
            await _turns()
            if self._transact.committing:
                return waited
            self.now += 0.001
        raise AssertionError("it never begins")

    async def commits(self, seconds: float) -> None:
        self.now += seconds
        self._transact.commit()
        await _turns()

    async def takes(self, seconds: float) -> float:
        """How long the next batch waits when transactions have been taking so many seconds for a while."""
        for _ in range(60):
            await self.begins()
            await self.commits(seconds)
            self.now += 1.0
        await self.begins()
        await self.commits(seconds)
        waited = await self.begins()
        await self.commits(seconds)
        return waited

    async def close(self) -> None:
        await self._writer.close()


@pytest.mark.parametrize(("milliseconds", "wait"), [(1, 7), (2, 14), (3, 21), (6, 18), (20, 4), (50, 0)])
async def test_batches_leave_time_between_them_as_they_take_themselves(
    monkeypatch: pytest.MonkeyPatch, milliseconds: int, wait: int
) -> None:
    """An eighth of the time goes to transactions; from one to the next it is 24 ms at most."""
    writer = Paced(monkeypatch)
    assert await writer.takes(milliseconds / 1000) == pytest.approx(wait, abs=1.01)
    await writer.close()


async def test_one_slow_transaction_changes_little(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Paced(monkeypatch)
    assert await writer.takes(0.001) == pytest.approx(7, abs=1.01)
    await writer.begins()
    await writer.commits(0.005)
    assert await writer.begins() < 10, "and not the 19 ms that five at a time would ask for"
    await writer.commits(0.001)
    await writer.close()


async def test_a_write_after_a_rest_begins_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Paced(monkeypatch)
    await writer.takes(0.003)
    writer.now += 0.025
    assert await writer.begins() == 0
    await writer.commits(0.003)
    await writer.close()


async def test_one_failing_function_sinks_no_neighbour(database: Database) -> None:
    await database.write(make_numbers)

    def fail_after_writing(connection: Connection) -> None:
        put_number(connection, 666)
        raise Conflict("name")

    writes = [database.write(partial(put_number, number=number)) for number in range(20)]
    outcomes = await asyncio.gather(*writes, database.write(fail_after_writing), return_exceptions=True)
    assert outcomes[:-1] == list(range(20))
    assert isinstance(outcomes[-1], Conflict)
    assert await database.read(numbers) == list(range(20))


async def test_a_statement_that_fails_inside_a_batch_sinks_no_neighbour(database: Database) -> None:
    await database.write(make_numbers)
    await database.write(partial(put_number, number=5))
    outcomes = await asyncio.gather(
        *(database.write(partial(put_number, number=number)) for number in range(10)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(IntegrityError) == 1
    assert isinstance(outcomes[5], IntegrityError)
    assert await database.read(numbers) == list(range(10))


async def test_one_failing_item_of_an_operation_is_isolated(database: Database) -> None:
    await database.write(make_numbers)
    await database.write(partial(put_number, number=5))
    outcomes = await asyncio.gather(*(database.submit(PUT, number) for number in range(10)), return_exceptions=True)
    assert isinstance(outcomes[5], IntegrityError)
    assert [outcome for outcome in outcomes if not isinstance(outcome, IntegrityError)] == [
        number * 10 for number in range(10) if number != 5
    ]
    assert await database.read(numbers) == list(range(10))


async def test_an_item_that_another_node_beat_is_tried_again_and_sees(gated: Gated) -> None:
    tries: list[int] = []

    def find_or_put(connection: Connection, items: list[int]) -> list[str]:
        tries.append(len(items))
        if len(tries) == 1:
            raise IntegrityError("INSERT", {}, Exception("taken by another node just now"))
        return ["found" for _ in items]

    writer = Writer(gated)
    assert await writer.submit(Operation("find_or_put", find_or_put), 1) == "found"
    assert tries == [1, 1]
    await writer.close()
    gated.close()


async def test_an_item_that_can_never_be_inserted_is_not_tried_for_ever(gated: Gated) -> None:
    writer = Writer(gated)
    await writer.submit(PUT, 1)
    with pytest.raises(IntegrityError):
        await writer.submit(PUT, 1)
    assert await writer.submit(PUT, 2) == 20
    await writer.close()
    gated.close()


@pytest.mark.parametrize("failure", [StoreUnavailable("gone"), StoreFull("full")])
async def test_an_absent_database_is_told_to_all(gated: Gated, failure: StoreUnavailable) -> None:
    writer = Writer(gated)
    gated.failure = failure
    calls = [writer.submit(PUT, 1), writer.write(partial(put_number, number=2)), writer.submit(PUT, 3)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes == [failure] * 3
    assert gated.commits == 0 and gated.numbers() == []
    gated.failure = None
    assert await writer.submit(PUT, 1) == 10
    await writer.close()
    gated.close()


async def test_the_write_of_a_cancelled_caller_stands(gated: Gated) -> None:
    writer = Writer(gated)
    gated.may_commit.clear()
    impatient = asyncio.ensure_future(writer.submit(PUT, 1))
    patient = asyncio.ensure_future(writer.submit(PUT, 2))
    await _turns()
    impatient.cancel()
    await _turns()
    gated.may_commit.set()
    assert await patient == 20
    assert impatient.cancelled()
    assert gated.numbers() == [1, 2]
    await writer.close()
    gated.close()


async def test_close_writes_what_is_queued_and_then_takes_nothing_more(gated: Gated) -> None:
    writer = Writer(gated)
    gated.may_commit.clear()
    queued = [asyncio.ensure_future(writer.submit(PUT, number)) for number in range(BATCH_ITEMS * 2)]
    await _turns()
    closing = asyncio.ensure_future(writer.close())
    await _turns()
    assert not closing.done()
    with pytest.raises(StoreUnavailable):
        await writer.submit(PUT, 999)
    gated.may_commit.set()
    await closing
    assert all(call.done() for call in queued)
    assert gated.numbers() == list(range(BATCH_ITEMS * 2))
    gated.close()


async def test_what_cannot_even_be_weighed_fails_alone_and_the_writer_goes_on(gated: Gated) -> None:
    def weigh(number: int) -> int:
        if number == 2:
            raise KeyError("a bug")
        return 0

    writer, operation = Writer(gated), Operation("weighed", put_numbers, weigh)
    calls = [asyncio.ensure_future(writer.submit(operation, number)) for number in range(EAGER_ITEMS)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(outcome, KeyError) for outcome in outcomes] == [number == 2 for number in range(EAGER_ITEMS)]
    assert await writer.submit(PUT, 100) == 1000
    await writer.close()
    gated.close()


async def test_an_operation_that_answers_too_few_is_not_believed(gated: Gated) -> None:
    def forgetful(connection: Connection, items: list[int]) -> list[int]:
        put_numbers(connection, items)
        return []

    writer = Writer(gated)
    with pytest.raises(AssertionError):
        await writer.submit(Operation("forgetful", forgetful), 1)
    assert gated.numbers() == []
    assert await writer.submit(PUT, 2) == 20
    await writer.close()
    gated.close()


async def test_a_transaction_that_the_database_undid_is_never_reported_as_written(sqlite_database: Database) -> None:
    """What SQLite does on a full disk: the whole transaction goes, and each later statement commits by itself."""
    database = sqlite_database
    await database.write(make_numbers)

    def undone(connection: Connection) -> None:
        connection.connection.rollback()
        raise RuntimeError("the disk is full")

    calls = [
        database.write(partial(put_number, number=1)),
        database.write(undone),
        database.write(partial(put_number, number=2)),
    ]
    first, failed, last = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(failed, Exception)
    there = await database.read(numbers)
    assert [number for number, outcome in ((1, first), (2, last)) if outcome == number] == there


async def test_a_swallowed_rollback_is_found_before_commit(sqlite_database: Database) -> None:
    def swallow(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE t (x)"))
        connection.connection.rollback()

    with pytest.raises(StoreUnavailable):
        await sqlite_database.write(swallow)


async def _crowded(gated: Gated, writer: Writer, urgent: int) -> list[asyncio.Future[int]]:
    """Behind the batch that is being committed there is nearly a full one, and more that could wait than has room."""
    gated.may_commit.clear()
    calls: list[asyncio.Future[int]] = [asyncio.ensure_future(writer.submit(PUT, 0))]
    await _turns()
    calls += [asyncio.ensure_future(writer.submit(PUT, number)) for number in range(1, urgent + 1)]
    calls += [asyncio.ensure_future(writer.submit_patiently(PUT, 1000 + number)) for number in range(5)]
    await asyncio.sleep(2 * writer_module.PATIENCE_SECONDS)
    return calls


async def test_what_could_wait_and_found_no_room_waits_for_nobody_else(gated: Gated) -> None:
    """It went along with the next write of anybody, and if nobody wrote, it was not written."""
    writer = Writer(gated)
    calls = await _crowded(gated, writer, BATCH_ITEMS - 1)
    gated.may_commit.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*calls)
    await writer.close()
    gated.close()


async def test_close_writes_what_could_wait_and_found_no_room(gated: Gated) -> None:
    writer = Writer(gated)
    calls = await _crowded(gated, writer, BATCH_ITEMS - 2)
    closing = asyncio.ensure_future(writer.close())
    await _turns()
    gated.may_commit.set()
    await closing
    await _turns()
    assert all(call.done() for call in calls)
    assert len(gated.numbers()) == len(calls)
    gated.close()
