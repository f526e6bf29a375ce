"""The relay, with something taken out of it: `python -m tests.crash.launch --without fsync -- serve`.

A proof that cannot fail proves nothing, so each is run once more against a relay that lacks what it proves. None of
this is a setting of Relay.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, Row, Table, select

from relay.cli.main import main as relay_main
from relay.store import queue, settlement, sqlite
from relay.store.queue import Held
from relay.store.schema import deliveries, jobs
from relay.store.settlement import DeliverySettlement, FetchSettlement, Settled
from relay.store.writer import Operation


def without_fsync() -> None:
    """Commits are not synced, only checkpoints are."""
    _replace_pragma("synchronous = FULL", "synchronous = NORMAL")


def with_many_checkpoints() -> None:
    """Nothing is missing, but checkpoints come often: a short run has many of them."""
    _replace_pragma("wal_autocheckpoint = 4000", "wal_autocheckpoint = 150")


def without_fence() -> None:
    """Whoever settles or extends a claim is believed to hold it still."""
    for module in (queue, settlement):
        vars(module)["held"] = _whatever_stands
    _rewrite(settlement.SETTLE_FETCH, _unfenced_fetches)
    _rewrite(settlement.SETTLE_DELIVERY, _unfenced_deliveries)


WITHOUT: Final[dict[str, Callable[[], None]]] = {
    "fsync": without_fsync,
    "rare-checkpoints": with_many_checkpoints,
    "fence": without_fence,
}


def _replace_pragma(old: str, new: str) -> None:
    pragmas = tuple(pragma.replace(old, new) for pragma in sqlite.WRITER_PRAGMAS)
    if pragmas == sqlite.WRITER_PRAGMAS:
        raise AssertionError(f"the writer has no pragma {old!r} any more")
    vars(sqlite)["WRITER_PRAGMAS"] = pragmas


def _whatever_stands(connection: Connection, table: Table, claims: Iterable[Held]) -> dict[str, Row[Any]]:
    ids = sorted({row_id for row_id, _ in claims})
    rows = connection.execute(select(table).where(table.c.id.in_(ids)).order_by(table.c.id).with_for_update())
    return {row.id: row for row in rows}


def _rewrite(operation: Operation[Any, Settled], apply: Callable[[Connection, list[Any]], list[Settled]]) -> None:
    object.__setattr__(operation, "apply", apply)


def _unfenced_fetches(connection: Connection, items: list[FetchSettlement]) -> list[Settled]:
    rows = _whatever_stands(connection, jobs, [(item.job_id, item.claims) for item in items])
    return settlement.settle_fetches(
        connection,
        [
            replace(item, claims=rows[item.job_id].claims, attempt=_renumbered(item, rows[item.job_id]))
            for item in items
        ],
    )


def _unfenced_deliveries(connection: Connection, items: list[DeliverySettlement]) -> list[Settled]:
    rows = _whatever_stands(connection, deliveries, [(item.delivery_id, item.claims) for item in items])
    return settlement.settle_deliveries(
        connection,
        [
            replace(item, claims=rows[item.delivery_id].claims, attempt=_renumbered(item, rows[item.delivery_id]))
            for item in items
        ],
    )


def _renumbered(item: FetchSettlement | DeliverySettlement, row: Row[Any]) -> Any:
    return None if item.attempt is None else replace(item.attempt, number=row.attempts + 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--without", action="append", default=[], choices=sorted(WITHOUT))
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    for name in options.without:
        WITHOUT[name]()
    sys.argv = ["relay", *options.command]
    relay_main()


if __name__ == "__main__":
    main()
