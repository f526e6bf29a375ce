"""The README's promises as stories: a relay, the stand-in NetNut and a subscriber, over real sockets."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from relay.demo.netnut import Pending
from tests.support.journey import World, travelling

MIB = 1024 * 1024


@pytest.fixture
async def world(stage_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with travelling(stage_url, tmp_path, delivery_schedule_seconds=(0, 0.1)) as opened:
        yield opened


@pytest.fixture
async def hurried(sqlite_stage_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """For what does not depend on the database and would have to wait."""
    async with travelling(sqlite_stage_url, tmp_path, hurry=10) as opened:
        yield opened


async def test_a_thin_notification_becomes_a_signed_result(world: World) -> None:
    webhook, subscription = await world.webhook(), await world.subscribe()
    confirmed = await world.ask(webhook, "tea")
    (message,) = await world.sink.wait_for(1)
    assert message.verified
    envelope = orjson.loads(message.body)
    data = envelope["data"]
    trace = world.netnut.traces[data["provider_job_id"]]
    assert confirmed.body["traceId"] == trace.id
    assert envelope["type"] == "result.completed"
    assert (data["webhook_id"], data["webhook_name"], data["provider"]) == (webhook["id"], "netnut-prod", "netnut")
    assert world.netnut.result_bytes(trace) in message.body  # spliced in, byte for byte
    assert message.headers["webhook-id"] == data["result_id"]
    assert (message.headers["relay-trigger"], message.headers["relay-attempt"]) == ("new", "1")

    (notification,) = await world.page("/v1/notifications")
    assert (notification["status"], notification["job_id"]) == ("accepted", data["job_id"])
    job = await world.ended(data["job_id"])
    assert (job["attempts"], job["result_id"], job["last_error"]) == (1, data["result_id"], None)
    delivered = await world.until(
        f"/v1/deliveries?result_id={data['result_id']}", lambda page: page["data"][0]["status"] == "delivered"
    )
    assert delivered["data"][0]["subscription_id"] == subscription["id"]
    assert [asked.authorized for asked in world.netnut.requests if asked.method == "GET"] == [True]


async def test_a_notification_with_the_full_result_is_stored_without_a_fetch(world: World) -> None:
    webhook = await world.webhook()
    await world.subscribe()
    await world.ask(webhook, "tea", later=False)
    (message,) = await world.sink.wait_for(1)
    assert message.verified
    result = await world.get(f"/v1/results/{message.message_id}")
    trace = world.netnut.traces[result["provider_job_id"]]
    sent = world.netnut.result_bytes(trace)
    assert result["sha256"] == hashlib.sha256(sent).hexdigest()
    assert result["payload"]["response"]["prompt"] == "tea"
    assert [asked.path for asked in world.netnut.requests] == ["/search"]


async def test_a_job_that_never_calls_back_is_polled_once_it_is_tracked(world: World) -> None:
    webhook = await world.webhook(poll_seconds=[0.1, 0.2])
    await world.subscribe()
    world.netnut.knobs.calls_back = False
    trace = world.netnut.open(completed=False)
    wanted = {"webhook_id": webhook["id"], "response_url": world.netnut.response_url(trace.id), "metadata": {"team": 7}}
    told = await world.call("POST", "/v1/jobs", wanted)
    assert told.status == 201
    job_id = told.body["id"]
    again = await world.call("POST", "/v1/jobs", wanted)
    assert (again.status, again.body["id"]) == (200, job_id)
    await world.until(f"/v1/jobs/{job_id}", lambda job: job["attempts"] > 0)
    world.netnut.complete(trace.id)
    job = await world.get(f"/v1/jobs/{job_id}?wait=10")
    assert job["status"] == "completed"
    (message,) = await world.sink.wait_for(1)
    assert message.verified
    assert orjson.loads(message.body)["data"]["metadata"] == {"team": 7}
    assert (await world.page("/v1/notifications")) == []


@pytest.mark.parametrize("shape", [Pending.ACCEPTED, Pending.OK, Pending.NOT_FOUND])
async def test_not_ready_yet_is_asked_again_and_never_taken_for_the_result(hurried: World, shape: Pending) -> None:
    webhook = await hurried.webhook()
    await hurried.subscribe()
    hurried.netnut.knobs.pending_answers = 2
    hurried.netnut.knobs.pending_shape = shape
    await hurried.ask(webhook)
    (message,) = await hurried.sink.wait_for(1)
    data = orjson.loads(message.body)["data"]
    assert data["payload"]["response"]["prompt"] == "tea"
    attempts = await hurried.attempts(data["job_id"])
    assert [attempt["http_status"] for attempt in attempts] == [int(shape), int(shape), 200]


async def test_the_same_notification_again_is_a_duplicate_and_makes_nothing_new(world: World) -> None:
    webhook = await world.webhook()
    await world.subscribe()
    body = {"traceID": "1", "response_url": f"{world.netnut.url}/results/1"}
    first = await world.notify(webhook["callback_url"], body)
    second = await world.notify(webhook["callback_url"], body)
    assert (first.status, first.body["status"]) == (200, "accepted")
    assert (second.status, second.body) == (200, first.body | {"status": "duplicate"})
    assert len(await world.page("/v1/jobs")) == 1


async def test_what_is_stored_is_delivered_again_on_request_with_the_same_message_id(world: World) -> None:
    webhook, subscription = await world.webhook(), await world.subscribe()
    await world.finished_trace(webhook)
    (first,) = await world.sink.wait_for(1)
    await world.until("/v1/deliveries", lambda page: page["data"][0]["status"] == "delivered")

    wanted = {"filter": {"result_ids": [first.message_id]}, "subscription_ids": [subscription["id"]]}
    tried = await world.post("/v1/replays", wanted | {"mode": "all", "dry_run": True})
    assert (tried["count"], tried["samples"]) == (1, [first.message_id])
    undelivered = await world.post("/v1/replays", wanted)
    await world.until(f"/v1/replays/{undelivered['id']}", lambda replay: replay["status"] == "done")
    assert world.sink.received == 1  # it has it already

    replay = await world.post("/v1/replays", wanted | {"mode": "all"})
    _, second = await world.sink.wait_for(2)
    assert second.verified
    assert (second.message_id, second.body) == (first.message_id, first.body)
    assert second.headers["relay-trigger"] == "replay"
    done = await world.until(f"/v1/replays/{replay['id']}", lambda replay: replay["status"] == "done")
    assert (done["total"], done["delivered"], done["failed"]) == (1, 1, 0)


async def test_a_subscriber_that_was_down_gets_what_was_exhausted(world: World) -> None:
    webhook = await world.webhook()
    await world.subscribe()
    world.sink.knobs.status = 500
    await world.finished_trace(webhook)
    page = await world.until("/v1/deliveries", lambda page: any(d["status"] == "exhausted" for d in page["data"]))
    delivery = await world.get(f"/v1/deliveries/{page['data'][0]['id']}")
    assert [attempt["http_status"] for attempt in delivery["attempts"]] == [500, 500]
    world.sink.knobs.status = 200
    await world.post("/v1/replays", {"filter": {"delivery_status": ["exhausted"]}})
    messages = await world.sink.wait_for(3)
    assert len({message.message_id for message in messages}) == 1
    assert [message.headers["relay-trigger"] for message in messages] == ["new", "retry", "replay"]


async def test_rejected_credentials_are_said_aloud_and_new_ones_fetch_at_once(world: World) -> None:
    webhook = await world.webhook(credentials={"username": "customer", "password": "forgotten"})
    await world.subscribe()
    await world.finished_trace(webhook)
    path = f"/v1/webhooks/{webhook['id']}"
    await world.until(path, lambda webhook: webhook["status"] == "credentials_rejected")
    (job,) = await world.page("/v1/jobs")
    assert job["status"] == "fetching"
    changed = await world.patch(path, {"credentials": {"username": "customer", "password": "open sesame"}})
    assert changed["status"] == "active"
    (message,) = await world.sink.wait_for(1)
    assert message.verified
    assert (await world.ended(job["id"]))["attempts"] == 2


async def test_a_rotated_callback_url_works_and_the_old_one_is_gone(world: World) -> None:
    webhook = await world.webhook()
    rotated = await world.post(f"/v1/webhooks/{webhook['id']}/rotate")
    body = {"traceID": "1", "response_url": f"{world.netnut.url}/results/1"}
    assert (await world.notify(webhook["callback_url"], body)).status == 410
    assert (await world.notify(rotated["callback_url"], body)).status == 200
    overlapping = await world.post(f"/v1/webhooks/{webhook['id']}/rotate", {"overlap_seconds": 60})
    body["traceID"] = "2"
    body["response_url"] += "2"
    assert (await world.notify(rotated["callback_url"], body)).status == 200
    assert (await world.notify(overlapping["callback_url"], body)).body["status"] == "duplicate"


async def test_a_subscriber_that_says_gone_is_disabled_and_gets_everything_once_it_is_enabled(world: World) -> None:
    webhook, subscription = await world.webhook(), await world.subscribe()
    world.sink.knobs.status = 410
    await world.finished_trace(webhook)
    path = f"/v1/subscriptions/{subscription['id']}"
    disabled = await world.until(path, lambda subscription: subscription["status"] == "disabled")
    assert disabled["status_reason"]
    await world.finished_trace(webhook)
    await world.until("/v1/deliveries", lambda page: len(page["data"]) == 2)
    assert {delivery["status"] for delivery in await world.page("/v1/deliveries")} == {"pending"}
    assert world.sink.received == 1
    world.sink.knobs.status = 200
    await world.post(f"{path}/enable")
    messages = await world.sink.wait_for(3)
    assert len({message.message_id for message in messages}) == 2
    assert all(message.verified for message in messages)


async def test_a_large_payload_goes_out_thin_and_its_link_serves_the_exact_bytes(world: World) -> None:
    webhook = await world.webhook()
    await world.subscribe()
    world.netnut.knobs.padding = 3 * MIB
    trace_id = await world.finished_trace(webhook)
    (message,) = await world.sink.wait_for(1)
    assert message.verified
    data = orjson.loads(message.body)["data"]
    assert "payload" not in data
    async with world.session.get(data["payload_url"]) as answer:  # the link is the permission: no key is shown
        payload = await answer.read()
        assert answer.status == 200
    assert payload == world.netnut.result_bytes(world.netnut.traces[trace_id])
    async with world.session.get(data["payload_url"], headers={"range": "bytes=0-9"}) as answer:
        assert (answer.status, await answer.read()) == (206, payload[:10])
    async with world.session.get(data["payload_url"] + "A") as answer:
        assert answer.status in (401, 403, 404)
