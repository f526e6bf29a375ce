"""Operational events: recorded with their cause, sent like results to those who asked for them, and told once."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import standardwebhooks

from relay.clock import after, rfc3339
from relay.model import SubscriptionStatus
from relay.pipeline.expiring import ExpiringJobs
from relay.signing.standard_webhooks import generate_secret
from relay.store import events, retention, schema
from relay.store.events import Event
from tests.support.doors import DONE, Page, Sent, answer_with, reply
from tests.support.stage import ORIGIN, URL, Stage
from tests.support.store import count, rows_of

TOLD = "https://told.example/"
OPERATIONS = ("subscription.disabled", "job.expiring")


def expiring(stage: Stage) -> ExpiringJobs:
    return ExpiringJobs(stage.floor, stage.delivering.hint, before_seconds=600)


async def _events(stage: Stage) -> list[Event]:
    return (await stage.database.read(events.page)).items


def _told(stage: Stage) -> list[Sent]:
    return [sent for sent in stage.subscribers.sent if sent.url == TOLD]


async def test_who_asked_is_told_of_a_subscription_that_was_disabled_signed_and_retried(stage: Stage) -> None:
    secret = generate_secret()
    answers: dict[str, list[Any]] = {TOLD: [reply(500), reply()]}

    async def answering(sent: Sent) -> Any:
        return answers[sent.url].pop(0) if sent.url in answers else reply(410)

    stage.subscribers.answering = answering
    gone = await stage.add_subscription(url="https://gone.example/", name="gone", event_types=None)
    await stage.add_subscription(url=TOLD, event_types=OPERATIONS, secrets=(secret,))
    await stage.add_subscription(url="https://silent.example/", event_types=("result.failed",))
    await stage.accept(await stage.add_webhook(), {"response_url": URL})
    await stage.work_through(10)
    [event] = await _events(stage)
    assert (event.type, event.subject_id) == ("subscription.disabled", gone.id)
    assert event.data == {"subscription_id": gone.id, "subscription_name": "gone", "reason": "answered 410 Gone"}
    first, second = _told(stage)
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == event.id
    assert [sent.headers["relay-attempt"] for sent in (first, second)] == ["1", "2"]
    assert first.data == event.data and rfc3339(event.created_at) in first.body.decode()
    at = datetime.fromtimestamp(int(first.headers["webhook-timestamp"]), UTC)
    assert first.headers["webhook-signature"] == standardwebhooks.Webhook(secret.reveal()).sign(
        event.id, at, first.body.decode()
    )
    [delivery] = [item for item in await stage.deliveries() if item.result_id == event.id]
    assert (delivery.status, delivery.attempts) == ("delivered", 2)


async def test_nobody_is_told_of_its_own_end(stage: Stage) -> None:
    stage.subscribers.answer(reply(410))
    await stage.add_subscription(event_types=("result.completed", *OPERATIONS))
    await stage.accept(await stage.add_webhook(), {"response_url": URL})
    await stage.work_until_idle()
    assert len(await _events(stage)) == 1 and len(await stage.deliveries()) == 1


async def test_a_job_whose_result_may_soon_be_dropped_is_told_of_once(stage: Stage) -> None:
    stage.provider.answering = answer_with(Page(status=503))
    webhook = await stage.add_webhook(retention_seconds=7200.0)
    await stage.add_subscription(url=TOLD, event_types=("job.expiring",))
    await stage.add_subscription(url="https://other.example/", event_types=("job.expiring",), webhook_ids=("wh_none",))
    await stage.accept(webhook, {"response_url": URL})
    await stage.work_until_idle()
    job = await stage.the_job()
    watch = expiring(stage)
    assert await watch.run_once() == 0
    stage.clock.advance((job.deadline - stage.clock.now()) / 1000 - 590)
    assert [await watch.run_once(), await watch.run_once()] == [1, 0]
    assert await expiring(await stage.another()).run_once() == 0, "another node tells nothing again"
    await stage.work_until_idle()
    [sent] = _told(stage)
    assert sent.headers["webhook-id"].startswith("evt_")
    assert (sent.data["job_id"], sent.data["deadline"]) == (job.id, rfc3339(job.deadline))
    assert sent.headers["traceparent"].split("-")[1] == job.id.removeprefix("job_"), "the job's own trace"
    assert [item.url for item in stage.subscribers.sent] == [TOLD]


async def test_two_nodes_that_tell_at_once_tell_once(stage: Stage) -> None:
    await stage.add_subscription(url=TOLD, event_types=("job.expiring",))
    now = stage.clock.now()
    told = [
        await stage.database.write(
            partial(
                events.record,
                event=Event(id=f"evt_{number:032x}", type="job.expiring", subject_id="job_1", data={}, created_at=now),
                once=True,
            )
        )
        for number in range(2)
    ]
    assert told == [True, False]
    assert await count(stage.database, schema.deliveries) == 1


async def test_a_job_that_is_done_or_that_nobody_asks_about_is_not_told_of(stage: Stage) -> None:
    stage.provider.answering = answer_with(Page(body=DONE))
    webhook = await stage.add_webhook(retention_seconds=900.0)
    asked = await stage.add_subscription(url=TOLD, event_types=("job.expiring",))
    await stage.accept(webhook, {"response_url": URL})
    await stage.work_until_idle()
    stage.clock.advance(400)
    assert await expiring(stage).run_once() == 0
    stage.provider.answering = answer_with(Page(status=503))
    await stage.accept(webhook, {"response_url": f"{ORIGIN}/2"})
    await stage.work_until_idle()
    assert await expiring(stage).run_once() == 0, "most of its time is still ahead"
    stage.clock.advance(460)
    await stage.change_subscription(asked, event_types=None)
    assert await expiring(stage).run_once() == 0
    await stage.change_subscription(asked, event_types=("job.expiring",))
    assert await expiring(stage).run_once() == 1


async def test_old_events_go_with_their_deliveries_unless_one_waits(stage: Stage) -> None:
    waiting = await stage.add_subscription(event_types=OPERATIONS, status=SubscriptionStatus.PAUSED)
    await stage.add_subscription(url=TOLD, event_types=OPERATIONS)
    now = stage.clock.now()
    event = Event(id=f"evt_{now:012x}{0:020x}", type=OPERATIONS[0], subject_id="sub_1", data={}, created_at=now)
    await stage.database.write(partial(events.record, event=event))
    stage.delivering.hint()
    await stage.work_until_idle()
    old = after(now, 1)
    assert await stage.database.write(partial(retention.drop_events, before=old)) == 0
    await stage.change_subscription(waiting, status=SubscriptionStatus.ACTIVE)
    await stage.work_until_idle()
    assert await stage.database.write(partial(retention.drop_events, before=old)) == 1
    for table in (schema.events, schema.deliveries, schema.attempts):
        assert await rows_of(stage.database, table) == []
