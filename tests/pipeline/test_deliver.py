"""One attempt at a time, until it is delivered or the schedule is used up."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import standardwebhooks
from sqlalchemy import update

from relay.clock import after, seconds_between
from relay.errors import OutboundError
from relay.model import DeliveryStatus, SubscriptionStatus
from relay.pipeline.deliver import next_step
from relay.pipeline.fanout import DeliveryWork
from relay.pipeline.outgoing import _KeptBodies
from relay.signing.standard_webhooks import generate_secret
from relay.store import deliveries, results, schema
from tests.support.clock import START
from tests.support.doors import DONE, Page, Sent, answer_with, reply
from tests.support.stage import DEFAULT_PLAN, SCHEDULE, URL, Stage
from tests.support.stage_fixtures import Opening
from tests.support.store import a_job, a_result

THIN = {"response_url": URL}


async def sent_once(stage: Stage, *replies: Any, **subscription: Any) -> Any:
    """A result was stored and its delivery attempted; the delivery."""
    stage.subscribers.answer(*replies)
    await stage.add_subscription(**subscription)
    await stage.accept(await stage.add_webhook(), THIN)
    await stage.work_until_idle()
    [delivery] = await stage.deliveries()
    return delivery


async def the_delivery(stage: Stage) -> Any:
    [delivery] = await stage.deliveries()
    return delivery


# --- what is sent ---


async def test_every_attempt_is_signed_as_the_official_package_would(stage: Stage) -> None:
    secret = generate_secret()
    await sent_once(stage, reply(500), reply(200), secrets=(secret,))
    await stage.work_through(7)
    first, second = stage.subscribers.sent
    for sent in (first, second):
        at = datetime.fromtimestamp(int(sent.headers["webhook-timestamp"]), UTC)
        expected = standardwebhooks.Webhook(secret.reveal()).sign(sent.headers["webhook-id"], at, sent.body.decode())
        assert sent.headers["webhook-signature"] == expected
        assert abs(sent.at // 1000 - at.timestamp()) <= 1
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-timestamp"] < second.headers["webhook-timestamp"]
    assert first.body == second.body


async def test_both_secrets_sign_while_a_rotation_overlaps(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    secrets = (generate_secret(), generate_secret())
    until = after(stage.clock.now(), 60)
    await sent_once(stage, reply(500), secrets=secrets, previous_secret_until=until)
    await stage.work_through(100)
    counts = [len(sent.headers["webhook-signature"].split()) for sent in stage.subscribers.sent]
    assert counts == [2, 2, 2] or counts[:2] == [2, 2]
    await stage.work_through(200)
    assert len(stage.subscribers.sent[-1].headers["webhook-signature"].split()) == 1


async def test_an_earlier_secret_signs_until_its_own_overlap_is_over(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    secrets = tuple(generate_secret() for _ in range(3))
    ends = (after(stage.clock.now(), 3), after(stage.clock.now(), 60))
    await sent_once(stage, reply(500), secrets=secrets, secret_ends=ends, previous_secret_until=max(ends))
    await stage.work_through(40)
    counts = [len(sent.headers["webhook-signature"].split()) for sent in stage.subscribers.sent]
    assert counts == [3, 2, 2]
    sent = stage.subscribers.sent[1]
    at = datetime.fromtimestamp(int(sent.headers["webhook-timestamp"]), UTC)
    official = [standardwebhooks.Webhook(secret.reveal()) for secret in secrets]
    signed = [each.sign(sent.headers["webhook-id"], at, sent.body.decode()) for each in official]
    assert sent.headers["webhook-signature"].split() == [signed[0], signed[2]]


async def test_a_subscription_has_a_schedule_and_a_time_limit_of_its_own(stage: Stage) -> None:
    await sent_once(stage, reply(500), schedule_seconds=(0.0, 1.0, 2.0), timeout_seconds=1.5)
    await stage.work_through(10)
    delivery = await the_delivery(stage)
    assert (delivery.status, delivery.attempts) == ("exhausted", 3)
    assert {sent.timeout_seconds for sent in stage.subscribers.sent} == {1.5}


async def test_attempts_are_numbered_and_say_why_they_are_made(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    await sent_once(stage, reply(500), reply(200))
    await stage.work_through(7)
    told = [(sent.headers["relay-attempt"], sent.headers["relay-trigger"]) for sent in stage.subscribers.sent]
    assert told == [("1", "new"), ("2", "retry")]
    attempts = await stage.attempts((await the_delivery(stage)).id)
    assert [(item.number, item.trigger, item.http_status) for item in attempts] == [(1, "new", 500), (2, "retry", 200)]


async def test_the_subscriptions_own_headers_go_along_and_override_nothing(sqlite_stage: Stage) -> None:
    await sent_once(sqlite_stage, reply(), headers={"x-team": "a", "webhook-id": "mine"})
    [sent] = sqlite_stage.subscribers.sent
    assert sent.headers["x-team"] == "a" and sent.headers["webhook-id"].startswith("res_")


async def test_a_result_over_a_mebibyte_is_sent_as_a_link_that_opens(stage: Stage) -> None:
    stage.provider.answering = answer_with(Page(body=b'{"response": {"x": "' + b"y" * 1_100_000 + b'"}}'))
    delivery = await sent_once(stage, reply(500), reply(200))
    await stage.work_through(7)
    for sent in stage.subscribers.sent:
        token = sent.data["payload_url"].partition("token=")[2]
        assert stage.links.read(token, stage.clock.now()) == delivery.result_id
    assert len(stage.subscribers.sent) == 2


async def test_base64_that_would_be_over_a_mebibyte_is_a_link_too(sqlite_stage: Stage) -> None:
    body = b'{"response": {"x": 1e400, "y": "' + b"y" * 900_000 + b'"}}'
    sqlite_stage.provider.answering = answer_with(Page(body=body))
    await sent_once(sqlite_stage, reply())
    assert "payload_url" in sqlite_stage.subscribers.sent[0].data


# --- what follows from the answer ---


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_delivered(status: int) -> None:
    step = next_step(reply(status), made=1, schedule=SCHEDULE, now=START, chance=0.5)
    assert (step.status, step.due_at, step.last_error) == (DeliveryStatus.DELIVERED, None, None)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(199), "http_199"),
        (reply(301), "http_301"),
        (reply(307), "http_307"),
        (reply(400), "http_400"),
        (reply(404), "http_404"),
        (reply(500), "http_500"),
        *((reply(None, error=kind.code), kind.code) for kind in OutboundError.__subclasses__()),
    ],
)
def test_everything_else_is_tried_again(answer: Any, error: str) -> None:
    step = next_step(answer, made=1, schedule=SCHEDULE, now=START, chance=0.5)
    assert (step.status, step.due_at, step.last_error) == (DeliveryStatus.PENDING, after(START, 5), error)


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_the_schedule_with_jitter_then_exhausted(chance: float) -> None:
    for made, meant in enumerate(SCHEDULE[1:], start=1):
        step = next_step(reply(500), made=made, schedule=SCHEDULE, now=START, chance=chance)
        assert step.due_at is not None
        assert 0.85 * meant <= seconds_between(START, step.due_at) <= 1.15 * meant
        assert (step.due_at == after(START, meant)) is (chance == 0.5), "those that failed together come back apart"
    last = next_step(reply(500), made=len(SCHEDULE), schedule=SCHEDULE, now=START, chance=chance)
    assert (last.status, last.due_at) == (DeliveryStatus.EXHAUSTED, None)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "seconds"), [("60", 60), ("1", 5), ("-1", 5), ("nonsense", 5), ("999999999", 86_400), (None, 5)]
)
def test_a_retry_after_moves_the_next_attempt_later(status: int, header: str | None, seconds: float) -> None:
    step = next_step(reply(status, retry_after=header), made=1, schedule=SCHEDULE, now=START, chance=0.5)
    assert step.due_at == after(START, seconds)


def test_other_answers_retry_after_is_not_heeded() -> None:
    step = next_step(reply(500, retry_after="600"), made=1, schedule=SCHEDULE, now=START, chance=0.5)
    assert step.due_at == after(START, 5)


async def test_a_dead_subscriber_gets_ten_attempts_over_two_days_then_it_is_exhausted(stage: Stage) -> None:
    await sent_once(stage, reply(None, error="connect_failed"))
    await stage.work_through(3 * 86_400)
    delivery = await the_delivery(stage)
    assert (delivery.status, delivery.attempts, delivery.last_error) == ("exhausted", 10, "connect_failed")
    assert len(stage.subscribers.sent) == 10
    moments = [sent.at for sent in stage.subscribers.sent]
    waits = [seconds_between(a, b) for a, b in zip(moments, moments[1:], strict=False)]
    assert all(0.85 * meant <= waited <= 1.15 * meant for waited, meant in zip(waits, SCHEDULE[1:], strict=True))


async def test_a_retry_gives_a_fresh_budget(stage: Stage) -> None:
    delivery = await sent_once(stage, reply(500))
    await stage.work_through(3 * 86_400)
    await stage.database.write(partial(deliveries.retry, id=delivery.id, now=stage.clock.now()))
    await stage.work_until_idle()
    again = await the_delivery(stage)
    assert (again.status, again.attempts) == ("pending", 11)
    assert stage.subscribers.sent[-1].headers["relay-trigger"] == "retry"
    stage.subscribers.answer(reply(200))
    await stage.work_through(400)  # its breaker is open: the next probe
    assert (await the_delivery(stage)).status == "delivered"


async def test_gone_disables_the_subscription_and_the_delivery_waits(stage: Stage) -> None:
    delivery = await sent_once(stage, reply(410))
    subscription = stage.configuration.current.subscriptions[delivery.subscription_id]
    assert (delivery.status, delivery.attempts) == ("pending", 1)
    assert (subscription.status, subscription.status_reason) == ("disabled", "answered 410 Gone")
    await stage.work_through(30)
    assert len(stage.subscribers.sent) == 1
    stage.subscribers.answer(reply(200))
    await stage.change_subscription(subscription, status=SubscriptionStatus.ACTIVE, status_reason=None)
    await stage.work_until_idle()
    assert (await the_delivery(stage)).status == "delivered"


@pytest.mark.parametrize("status", [SubscriptionStatus.PAUSED, SubscriptionStatus.DISABLED])
async def test_deliveries_of_a_resting_subscription_wait_for_it(stage: Stage, status: SubscriptionStatus) -> None:
    delivery = await sent_once(stage, reply(), status=status)
    await stage.work_through(20)
    assert stage.subscribers.sent == [] and (await the_delivery(stage)).attempts == 0
    subscription = stage.configuration.current.subscriptions[delivery.subscription_id]
    await stage.change_subscription(subscription, status=SubscriptionStatus.ACTIVE)
    await stage.work_until_idle()
    assert (await the_delivery(stage)).status == "delivered"


async def test_deliveries_of_a_deleted_subscription_are_cancelled(stage: Stage) -> None:
    delivery = await sent_once(stage, reply(500))
    subscription = stage.configuration.current.subscriptions[delivery.subscription_id]
    await stage.change_subscription(subscription, deleted_at=stage.clock.now())
    await stage.work_through(10)
    ended = await the_delivery(stage)
    assert (ended.status, ended.last_error, len(stage.subscribers.sent)) == ("cancelled", "subscription_deleted", 1)


async def test_a_bug_of_our_own_uses_up_the_schedule_and_is_visible(
    open_stage: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await open_stage(replace(DEFAULT_PLAN, schedule=(0.0, 1.0)))

    async def broken(*_: object, **__: object) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(stage.subscribers, "post", broken)
    await sent_once(stage, reply())
    await stage.work_through(5)
    delivery = await the_delivery(stage)
    assert (delivery.status, delivery.attempts, delivery.last_error) == ("exhausted", 2, "internal_error")


async def test_who_lost_the_lease_settles_nothing(stage: Stage) -> None:
    async def slow(sent: Sent) -> Any:
        await stage.clock.sleep(40)
        return reply(500)

    stage.subscribers.answering = slow
    await stage.add_subscription()
    await stage.accept(await stage.add_webhook(), THIN)
    await stage.work_until_idle()
    other = await stage.another()
    stage.clock.advance(31)
    await other.work_until_idle()
    assert (await the_delivery(stage)).status == "delivered"
    stage.clock.advance(10)
    await stage.database.quiet()
    after_all = await the_delivery(stage)
    assert (after_all.status, after_all.attempts) == ("delivered", 1)
    assert [sent.headers["webhook-id"] for sent in (*stage.subscribers.sent, *other.subscribers.sent)] == [
        after_all.result_id,
        after_all.result_id,
    ]


# --- bodies that are kept ---


async def test_an_erased_payload_is_not_sent_from_memory(stage: Stage) -> None:
    delivery = await sent_once(stage, reply(500))
    await stage.work_through(7)  # the second attempt has loaded it
    assert json.loads(DONE) == stage.subscribers.sent[-1].data["payload"]
    await stage.database.write(partial(results.erase, id=delivery.result_id, now=stage.clock.now()))
    await stage.database.write(partial(deliveries.retry, id=delivery.id, now=stage.clock.now()))
    await stage.work_until_idle()
    assert len(stage.subscribers.sent) == 3
    assert "payload" not in stage.subscribers.sent[-1].data


async def test_one_result_is_loaded_once_for_all_its_subscribers(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    stage.subscribers.answer(reply(500))
    for _ in range(6):
        await stage.add_subscription()
    await stage.accept(await stage.add_webhook(), THIN)
    await stage.work_through(60)
    assert len(stage.subscribers.sent) == 18
    assert len({sent.body for sent in stage.subscribers.sent}) == 1


async def test_who_wants_one_result_at_the_same_time_looks_once(
    sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the deliveries of a replay do, which come without their envelope."""
    delivery = await sent_once(sqlite_stage)
    outgoing, looks = sqlite_stage.deliverer.outgoing, list[str]()
    look = results.get_with_payload

    def counted(connection: Any, id: str, wants: Any) -> Any:
        looks.append(id)
        return look(connection, id, wants)

    monkeypatch.setattr(results, "get_with_payload", counted)
    outgoing.forget_bodies()
    [subscription] = sqlite_stage.floor.configuration.current.subscriptions.values()
    found = await asyncio.gather(*(outgoing.message(DeliveryWork(delivery), subscription) for _ in range(3)))
    assert [json.loads(message.body)["data"]["payload"] for message in found if message] == [json.loads(DONE)] * 3
    assert looks == [delivery.result_id]
    assert await outgoing.message(DeliveryWork(delivery), subscription) is not None
    assert len(looks) == 2, "what is remembered is the body; whether it was erased is looked at each time"


async def test_a_body_that_is_forgotten_during_a_look_is_sent_all_the_same(
    sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found among what is remembered, it was not read; without either a small result would go out thin."""
    delivery = await sent_once(sqlite_stage)
    outgoing, read = sqlite_stage.deliverer.outgoing, sqlite_stage.database.read

    async def pushed_out(query: Any) -> Any:
        found = await read(query)
        outgoing.forget_bodies()
        return found

    [subscription] = sqlite_stage.floor.configuration.current.subscriptions.values()
    assert (await outgoing.message(DeliveryWork(delivery), subscription)) is not None, "it is remembered now"
    monkeypatch.setattr(sqlite_stage.database, "read", pushed_out)
    message = await outgoing.message(DeliveryWork(delivery), subscription)
    assert message is not None and json.loads(message.body)["data"]["payload"] == json.loads(DONE)


async def test_who_gives_up_waiting_leaves_the_look_to_the_others(sqlite_stage: Stage) -> None:
    delivery = await sent_once(sqlite_stage)
    outgoing, [subscription] = (
        sqlite_stage.deliverer.outgoing,
        sqlite_stage.floor.configuration.current.subscriptions.values(),
    )
    first, second = (asyncio.ensure_future(outgoing.message(DeliveryWork(delivery), subscription)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is not None
    assert first.cancelled()


async def test_a_webhook_that_is_gone_is_asked_for_once(sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = await sent_once(sqlite_stage)
    stage, asked = sqlite_stage, list[int]()
    outgoing, [subscription] = stage.deliverer.outgoing, stage.floor.configuration.current.subscriptions.values()
    await stage.database.write(
        lambda connection: connection.execute(update(schema.results).values(webhook_id="wh_gone"))
    )
    refresh = stage.floor.configuration.refresh

    async def counted(**given: Any) -> Any:
        asked.append(1)
        return await refresh(**given)

    monkeypatch.setattr(stage.floor.configuration, "refresh", counted)
    for _ in range(3):
        outgoing.forget_bodies()
        assert await outgoing.message(DeliveryWork(delivery), subscription) is not None
    assert asked == [1]


def test_kept_bodies_are_bounded() -> None:
    bodies = _KeptBodies(10_000)
    made = [a_result(a_job()) for _ in range(20)]
    for result in made:
        bodies.keep(result, b"x" * 1000)
    assert [bodies.get(result) is not None for result in made] == [False] * 10 + [True] * 10
