"""Counts per minute and hour: added up by many, read by span, pruned."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from relay.clock import Instant, after
from relay.errors import StoreUnavailable
from relay.model import DeliveryStatus
from relay.pipeline.counters import Counters, flush
from relay.store import rollups
from relay.store.database import Database, open_database
from relay.store.rollups import HOUR, MINUTE, Sum
from tests.support.clock import FakeClock
from tests.support.store import NOW

TEA = ("wh_a", "sub_a", "deliveries")


async def _add(database: Database, amount: int, now: Instant) -> None:
    await database.write(
        partial(rollups.add, counted={TEA: amount, ("wh_a", "", "result.bytes"): 5_000_000_000}, now=now)
    )


async def _since(database: Database, since: Instant, span: int) -> list[Sum]:
    return await database.read(partial(rollups.since, instant=since, span=span, counters=["deliveries"]))


async def test_what_is_counted_is_added_up_by_minute_and_by_hour(database: Database) -> None:
    for amount, seconds in ((1, 0.0), (2, 59.0), (4, 60.0), (8, 3600.0)):
        await _add(database, amount, after(NOW, seconds))
    minutes = await _since(database, NOW, MINUTE)
    assert sorted((item.step, item.amount) for item in minutes) == [(0, 3), (1, 4), (60, 8)]
    everything = await database.read(partial(rollups.over_all, instant=NOW, span=MINUTE))
    assert {(item.step, item.amount) for item in everything if item.counter == "deliveries"} == {
        (0, 3),
        (1, 4),
        (60, 8),
    }
    hours = await _since(database, after(NOW, 1800), HOUR)
    assert sorted((item.step, item.amount) for item in hours) == [(0, 7), (1, 8)]
    assert hours[0].webhook_id == "wh_a" and hours[0].subscription_id == "sub_a"


async def test_two_processes_add_to_the_same_minute(fresh_postgres_url: str) -> None:
    first, second = [await open_database(fresh_postgres_url) for _ in range(2)]
    await asyncio.gather(*(_add(database, 1, NOW) for database in (first, second) for _ in range(10)))
    assert [item.amount for item in await _since(first, NOW, MINUTE)] == [20]
    for database in (first, second):
        await database.close()


async def test_old_minutes_are_dropped_and_the_hours_stay(database: Database) -> None:
    for days in range(4):
        await _add(database, 1, after(NOW, -days * 86_400.0))
    drop = partial(rollups.drop, before=after(NOW, -2 * 86_400.0), span=MINUTE)
    while await database.write(drop):
        pass
    assert len(await _since(database, Instant(0), MINUTE)) == 3
    assert len(await _since(database, Instant(0), HOUR)) == 4


async def test_counters_are_written_once_and_kept_while_the_database_is_away(sqlite_url: str, clock: FakeClock) -> None:
    counters, database = Counters(), await open_database(sqlite_url)
    counters.attempted("sub_a", DeliveryStatus.DELIVERED)
    counters.attempted("sub_a", DeliveryStatus.EXHAUSTED)
    await flush(counters, database, clock)
    await flush(counters, database, clock)
    found = await database.read(partial(rollups.since, instant=clock.now(), span=MINUTE))
    assert {(item.counter, item.amount) for item in found} == {
        ("delivered", 1), ("delivery.failed", 1), ("delivery.exhausted", 1),
    }  # fmt: skip
    await database.close()
    counters.notified("wh_a", "accepted")
    with pytest.raises(StoreUnavailable):
        await flush(counters, database, clock)
    assert counters.take() == {("wh_a", "", "notification.accepted"): 1}
