"""The rows of subscriptions that fail: what one node finds out does not undo what another did, and one probes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from relay.clock import Instant, after
from relay.model import SubscriptionStatus
from relay.store import breakers, subscriptions
from relay.store.breakers import Breaker
from relay.store.database import Database
from tests.support.store import NOW, a_delivery, a_subscription, put_deliveries, seal


async def test_of_two_that_open_it_the_first_stands_and_the_earlier_failure(database: Database) -> None:
    def at(seconds: float) -> Instant:
        return after(NOW, seconds)

    early = Breaker(subscription_id="sub_1", failing_since=at(-9), last_error="http_404")
    first = replace(early, failing_since=at(-3), opened_at=NOW, next_probe_at=at(5), last_error="timed_out")
    for row in (early, first, replace(first, opened_at=at(1), next_probe_at=at(99)), early):
        await database.write(partial(breakers.put, breaker=row))
    assert await database.read(breakers.load) == {"sub_1": replace(first, failing_since=at(-9))}


async def test_a_probe_is_taken_once_when_it_is_due_and_there_is_something_to_send(database: Database) -> None:
    one = a_subscription(id="sub_1")
    await database.write(partial(subscriptions.insert, subscription=one, seal=seal))
    row = Breaker(subscription_id="sub_1", failing_since=NOW, opened_at=NOW, next_probe_at=after(NOW, 5))
    await database.write(partial(breakers.put, breaker=row))
    due = after(NOW, 5)

    async def ready(now: Instant) -> list[str]:
        return await database.read(partial(breakers.to_probe, now=now))

    async def taken(now: Instant) -> bool:
        take: Any = partial(breakers.take_probe, subscription_id="sub_1", now=now, until=after(now, 60))
        return bool(await database.write(take))

    assert await ready(due) == []
    await put_deliveries(database, a_delivery(subscription_id="sub_1"))
    assert await ready(after(NOW, 4)) == [] and not await taken(after(NOW, 4))
    paused = replace(one, status=SubscriptionStatus.PAUSED)
    await database.write(partial(subscriptions.update, subscription=paused, seal=seal))
    assert await ready(due) == [], "it would be a probe that nobody makes"
    await database.write(partial(subscriptions.update, subscription=one, seal=seal))
    assert await ready(due) == ["sub_1"] and await taken(due)
    assert await ready(due) == [] and not await taken(due)
    assert await taken(after(due, 60)), "who took it brought no news"
