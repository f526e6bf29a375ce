"""What a pull subscription gets, and when."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import orjson

from relay.clock import after
from relay.model import DeliveryStatus, Subscription
from relay.pipeline.pull import Message, Take
from relay.pipeline.replay import ReplayRequest
from relay.store import pulling, schema
from tests.support.stage import URL, Stage
from tests.support.store import a_delivery, an_attempt, count, delivery_of, put_deliveries

NOW_ONLY = Take(limit=10, wait_seconds=0, lease_seconds=30)
PATIENT = Take(limit=10, wait_seconds=60, lease_seconds=30)
DAY = 86_400.0


async def _pulling(stage: Stage, **changes: Any) -> Subscription:
    given: dict[str, Any] = {"kind": "pull", "url": None, **changes}
    return await stage.add_subscription(**given)


async def _take(stage: Stage, subscription: Subscription, wanted: Take = NOW_ONLY) -> list[Message]:
    return await stage.puller.take(subscription.id, wanted, asyncio.Event())


async def test_a_result_is_taken_by_who_pulls_and_sent_to_the_others(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    pull, push = await _pulling(stage), await stage.add_subscription()
    await stage.accept(webhook, {"response_url": URL})
    waiting = asyncio.ensure_future(_take(stage, pull, PATIENT))
    await stage.work_until_idle()
    [message] = await waiting  # the fake clock stood still: it was woken
    [sent] = stage.subscribers.sent
    assert (message.body, sent.url) == (sent.body, push.url)
    assert set(message.headers) == set(sent.headers)
    assert message.headers["webhook-id"] == sent.headers["webhook-id"]
    assert orjson.loads(message.body)["data"]["webhook_id"] == webhook.id
    await stage.work_through(DAY)
    statuses = {made.subscription_id: made.status for made in await stage.deliveries()}
    assert statuses == {pull.id: DeliveryStatus.PENDING, push.id: DeliveryStatus.DELIVERED}
    assert len(stage.subscribers.sent) == 1


async def test_what_somebody_else_planned_is_found_by_looking(stage: Stage) -> None:
    webhook, pull = await stage.add_webhook(), await _pulling(stage)
    other = await stage.another()
    waiting = asyncio.ensure_future(stage.puller.take(pull.id, PATIENT, asyncio.Event()))
    while not stage.clock.sleepers:
        await stage.database.read(lambda _: None)
    await other.accept(webhook, {"response_url": URL})
    await other.work_until_idle()
    assert not waiting.done()
    await stage.elapse(1.0)
    [message] = await waiting
    assert message.delivery.subscription_id == pull.id


async def test_two_consumers_never_hold_the_same_message(stage: Stage) -> None:
    pull = await _pulling(stage)
    now = stage.clock.now()
    rows = [a_delivery(subscription_id=pull.id, due_at=None, pull_at=now) for _ in range(40)]
    await put_deliveries(stage.database, *rows)
    ids = [row.id for row in rows]
    until = after(now, 30)
    lease = partial(pulling.lease, ids=ids, now=now, until=until, attempt_of=an_attempt)
    taken = await asyncio.gather(*(stage.database.write(lease) for _ in range(4)))
    held = [item.id for part in taken for item in part]
    assert sorted(held) == sorted(ids)
    assert await count(stage.database, schema.attempts) == 40


async def test_a_backfill_reaches_a_new_pull_subscription_at_its_rate(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    for number in range(3):
        await stage.accept(webhook, {"response_url": f"{URL}{number}"})
    await stage.work_until_idle()
    pull = await _pulling(stage)
    request = ReplayRequest(
        filter={"webhook_id": webhook.id}, subscription_ids=[pull.id], mode="undelivered", new_message_id=False,
        rate_per_second=1.0,
    )  # fmt: skip
    await stage.replayer.start(request)
    await stage.replayer.run_once()
    assert [len(await _take(stage, pull))] == [1]
    stage.clock.advance(2)
    await stage.replayer.run_once()
    assert [message.trigger for message in await _take(stage, pull)] == ["replay", "replay"]


async def test_a_message_nobody_acknowledges_is_exhausted_when_its_time_is_over(stage: Stage) -> None:
    pull = await _pulling(stage)
    old = a_delivery(subscription_id=pull.id, due_at=None, pull_at=stage.clock.now())
    await put_deliveries(stage.database, old)
    now = stage.clock.now()
    assert await stage.database.write(partial(pulling.exhaust, before=now, now=now)) == 0
    later = after(now, 30 * DAY)
    assert await stage.database.write(partial(pulling.exhaust, before=after(now, 1), now=later)) == 1
    ended = await delivery_of(stage.database, old.id)
    assert (ended.status, ended.pull_at, ended.settled_at) == (DeliveryStatus.EXHAUSTED, None, later)


async def test_what_an_older_node_planned_as_a_push_is_adopted(stage: Stage) -> None:
    pull, push = await _pulling(stage), await stage.add_subscription()
    stray, sent = a_delivery(subscription_id=pull.id), a_delivery(subscription_id=push.id)
    await put_deliveries(stage.database, stray, sent)
    assert await stage.database.write(pulling.adopt) == 1
    adopted, other = await delivery_of(stage.database, stray.id), await delivery_of(stage.database, sent.id)
    assert (adopted.due_at, adopted.pull_at) == (None, stray.due_at)
    assert (other.due_at, other.pull_at) == (sent.due_at, None)
