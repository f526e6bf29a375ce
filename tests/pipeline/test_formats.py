"""What is sent in each format: the official CloudEvents library reads it, large bodies wait for room, links open."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any
from urllib.parse import unquote

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event
from hypothesis import given
from hypothesis import strategies as st

from relay.model import JobStatus
from relay.pipeline import outgoing, room
from relay.pipeline.formats import MAX_HEADER_BYTES, cloudevent_headers, raw_headers
from relay.pipeline.room import NoRoom, Room
from relay.signing.standard_webhooks import decode_secret, verify
from relay.store import results
from tests.support.doors import DONE, Page, Sent, answer_with, reply
from tests.support.stage import URL, Stage
from tests.support.store import NOW, a_job, a_result

MIB = 1024 * 1024
TEXT = {"content-type": "text/plain; charset=utf-8"}


async def finished(stage: Stage) -> None:
    """Large bodies are signed in a thread of their own, which the stage does not see as work."""
    await stage.work_until_idle()
    async with asyncio.timeout(10):
        await stage.delivering.crew._idle.wait()
    await stage.work_until_idle()


async def sent_as(stage: Stage, format: str, **page: Any) -> Sent:
    """One result, delivered once in this format."""
    subscription = await stage.add_subscription(format=format)
    stage.provider.answering = answer_with(Page(**page))
    await stage.accept(await stage.add_webhook(name="netnut-prod"), {"response_url": URL, "traceID": "t-1"})
    await finished(stage)
    [sent] = stage.subscribers.sent
    key = decode_secret(subscription.secrets[0])
    verify(sent.headers, sent.body, [key], stage.clock.now())  # it covers the body, whatever the format
    [delivery] = await stage.deliveries()
    assert delivery.status == "delivered"
    return sent


async def test_raw_is_the_providers_bytes_and_the_envelope_in_headers(stage: Stage) -> None:
    sent = await sent_as(stage, "raw")
    result = await stage.result((await stage.the_job()).id)
    assert (sent.body, sent.headers["content-type"]) == (DONE, "application/json")
    told = {name: value for name, value in sent.headers.items() if name.startswith("relay-")}
    del told["relay-delivery-id"]
    assert told == {
        "relay-event-type": "result.completed", "relay-timestamp": "2026-11-21T19:00:00.000Z",
        "relay-result-id": result.id, "relay-job-id": result.job_id, "relay-provider-job-id": "t-1",
        "relay-webhook-id": result.webhook_id, "relay-webhook-name": "netnut-prod", "relay-provider": "netnut",
        "relay-status": "completed", "relay-partial": "false", "relay-attempt": "1", "relay-trigger": "new",
    }  # fmt: skip


async def test_thin_is_the_envelope_with_an_address_that_opens(stage: Stage) -> None:
    sent = await sent_as(stage, "thin")
    assert not {"payload", "payload_base64"} & sent.data.keys()
    assert sent.data["content_type"] == "application/json"
    token = sent.data["payload_url"].partition("token=")[2]
    assert stage.links.read(token, stage.clock.now()) == sent.data["result_id"]


async def test_a_cloudevent_is_read_by_the_official_library(stage: Stage) -> None:
    sent = await sent_as(stage, "cloudevents")
    event = from_binary_event(HTTPMessage(dict(sent.headers), sent.body))
    assert event.get_data() == json.loads(DONE)
    assert (event.get_id(), event.get_type()) == (sent.headers["webhook-id"], "result.completed")
    assert event.get_source().startswith("/v1/webhooks/wh_")
    assert event.get_subject() == sent.headers["webhook-id"]
    at = event.get_time()
    assert at is not None and at.timestamp() * 1000 == NOW
    assert event.get_datacontenttype() == "application/json"
    assert (event.get_extension("provider"), event.get_extension("providerjobid")) == ("netnut", "t-1")


@pytest.mark.parametrize("format", ["raw", "cloudevents"])
async def test_a_payload_that_is_not_json_is_sent_as_it_is(sqlite_stage: Stage, format: str) -> None:
    body = b'{"response": {"text": "\xff"}, "n": 1e400}'
    sent = await sent_as(sqlite_stage, format, body=body, headers=TEXT)
    assert (sent.body, sent.headers["content-type"]) == (body, TEXT["content-type"])


async def test_a_result_without_payload_goes_out_in_every_format_and_through_filters(sqlite_stage: Stage) -> None:
    stage, failures = sqlite_stage, {"data.status": {"$in": ["failed", "expired"]}}
    for format in ("raw", "cloudevents", "thin"):
        await stage.add_subscription(format=format, url=f"https://a.example/{format}", filter=failures)
    await stage.add_subscription(filter={"data.payload": {"$neq": None}, "data.status": "completed"})
    stage.provider.answering = answer_with(Page(404, b""))
    await stage.accept(await stage.add_webhook(), {"response_url": URL})
    await stage.work_through(4 * 86_400)
    by_format = {sent.url.rpartition("/")[2]: sent for sent in stage.subscribers.sent}
    assert by_format.keys() == {"raw", "cloudevents", "thin"}
    for format, prefix in (("raw", "relay-"), ("cloudevents", "ce-")):
        sent = by_format[format]
        assert (sent.body, sent.headers["content-type"]) == (b"", "application/octet-stream")
        assert sent.headers[f"{prefix}status"] == "expired" and sent.headers[f"{prefix}error"]
    thin = by_format["thin"].data
    assert "payload_url" not in thin and thin["status"] == "expired"


async def test_formats_side_by_side_get_the_same_result(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    for format in ("envelope", "raw", "thin", "cloudevents"):
        await stage.add_subscription(format=format, url=f"https://a.example/{format}")
    stage.subscribers.answer(reply(500), reply(500), reply(500), reply(500), reply(200))
    await stage.accept(await stage.add_webhook(), {"response_url": URL})
    await stage.work_through(7)
    by_format: dict[str, list[bytes]] = {}
    for sent in stage.subscribers.sent:
        by_format.setdefault(sent.url.rpartition("/")[2], []).append(sent.body)
    assert by_format["raw"] == by_format["cloudevents"] == [DONE, DONE]
    assert by_format["envelope"][0] == by_format["envelope"][1] and DONE in by_format["envelope"][0]
    assert {json.loads(text)["type"] for text in by_format["thin"]} == {"result.completed"}
    assert len({sent.headers["webhook-id"] for sent in stage.subscribers.sent}) == 1


# --- large bodies ---


async def test_a_body_over_a_mebibyte_is_sent_whole_and_leaves_its_room(stage: Stage) -> None:
    body = b'{"response": {"text": "' + b"x" * (3 * MIB) + b'"}}'
    sent = await sent_as(stage, "raw", body=body)
    assert sent.body == body
    assert stage.deliverer.outgoing._room.used == 0
    assert stage.deliverer.outgoing._bodies._size == 0, "it is not kept"


async def test_where_there_is_no_room_a_delivery_waits_without_an_attempt(
    sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, made = sqlite_stage, sqlite_stage.deliverer.outgoing
    monkeypatch.setattr(made, "_room", Room(2 * MIB, wait_seconds=0.01))
    await made._room.take("somebody", MIB)
    await stage.add_subscription(format="raw")
    body = b'{"response": {"text": "' + b"x" * (2 * MIB) + b'"}}'
    stage.provider.answering = answer_with(Page(body=body))
    await stage.accept(await stage.add_webhook(), {"response_url": URL})
    await finished(stage)
    [delivery] = await stage.deliveries()
    assert (delivery.status, delivery.attempts, stage.subscribers.sent) == ("pending", 0, [])
    made._room.give_back("somebody", MIB)
    await stage.work_through(6)
    await finished(stage)
    assert [sent.body for sent in stage.subscribers.sent] == [body]
    assert made._room.used == 0


async def test_a_payload_erased_between_the_looks_is_not_sent_as_nothing(
    sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = sqlite_stage
    made, real = stage.deliverer.outgoing, stage.deliverer.outgoing._payload

    async def erased(result: Any) -> bytes:
        await stage.database.write(partial(results.erase, id=result.id, now=stage.clock.now()))
        return await real(result)

    monkeypatch.setattr(made, "_payload", erased)
    await stage.add_subscription(format="raw")
    await stage.accept(await stage.add_webhook(), {"response_url": URL})
    await stage.work_until_idle()
    [delivery] = await stage.deliveries()
    assert (delivery.status, stage.subscribers.sent) == ("cancelled", [])


async def test_a_bug_while_a_large_body_is_sent_leaves_its_room(
    sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = sqlite_stage

    async def broken(*_: object, **__: object) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(stage.subscribers, "post", broken)
    monkeypatch.setattr(outgoing, "MAX_ENVELOPE_BYTES", 10)  # a traceback with megabytes in it takes seconds to print
    await stage.add_subscription(format="raw")
    await stage.accept(await stage.add_webhook(), {"response_url": URL})
    await finished(stage)
    [delivery] = await stage.deliveries()
    assert (delivery.last_error, stage.deliverer.outgoing._room.used) == ("internal_error", 0)


async def test_room_is_shared_and_one_lane_leaves_half_of_what_is_free() -> None:
    space = Room(100, wait_seconds=0.01)
    await space.take("a", 40)
    with pytest.raises(NoRoom):
        await space.take("a", 40)  # a second of its own may have thirty
    await space.take("b", 60)
    with pytest.raises(NoRoom):
        await space.take("c", 1)
    space.give_back("a", 40)
    await space.take("c", 40)
    assert space.used == 100
    space.give_back("b", 60)
    space.give_back("c", 40)
    await space.take("d", 1000)  # larger than all the room there is, but alone
    space.give_back("d", 1000)
    assert space.used == 0


async def test_room_that_comes_free_while_somebody_gives_up_goes_to_the_next() -> None:
    """It raised in whoever gave it back: its delivery was sent, and sent again."""
    space = Room(100, wait_seconds=5.0)
    await space.take("a", 100)
    waiting = [asyncio.ensure_future(space.take(lane, 60)) for lane in ("b", "c")]
    await asyncio.sleep(0)
    waiting[0].cancel()
    space.give_back("a", 100)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert waiting[0].cancelled() and not waiting[1].cancelled() and space.used == 60


async def test_who_waits_for_room_gets_it_in_turn_and_who_gives_up_leaves_no_trace() -> None:
    space = Room(100, wait_seconds=5.0)
    await space.take("a", 100)
    order: list[str] = []

    async def wait(lane: str, size: int) -> None:
        await space.take(lane, size)
        order.append(lane)

    first, second, third = (asyncio.create_task(wait(lane, 60)) for lane in ("b", "c", "d"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    space.give_back("a", 100)
    await first
    assert (order, space.used) == (["b"], 60)
    space.give_back("b", 60)
    await third
    space.give_back("d", 60)
    assert (order, space.used, room.WAIT_SECONDS < 30) == (["b", "d"], 0, True)


# --- headers ---


@given(st.text(), st.text(), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_no_text_breaks_out_of_its_header_and_each_is_read_back(
    name: str, error: str, metadata: dict[str, str]
) -> None:
    result = a_result(a_job(provider_job_id=error), error=error, metadata=metadata, status=JobStatus.FAILED)
    headers = raw_headers(result, name, "netnut")
    for value in headers.values():
        assert value.isascii() and value.isprintable() and not set(value) & {" ", '"'}
    assert unquote(headers.get("relay-webhook-name", "")) == name.encode("utf-8", "replace").decode()
    if metadata:
        assert json.loads(unquote(headers["relay-metadata"])) == metadata
    event = cloudevent_headers(result, name, "netnut", "res_1")
    assert unquote(event.get("ce-error", "")) == error.encode("utf-8", "replace").decode()
    assert all(key.removeprefix("ce-").isalnum() and key == key.lower() for key in event)


def test_what_is_too_long_for_a_header_is_left_out_and_named() -> None:
    result = a_result(a_job(), error="x" * (MAX_HEADER_BYTES + 1), metadata={"a": "y" * 5000})
    headers = raw_headers(result, "n", "p")
    assert headers["relay-omitted"] == "error,metadata"
    assert not {"relay-error", "relay-metadata"} & headers.keys()
    assert cloudevent_headers(result, "n", "p", "res_1")["ce-omitted"] == "error,metadata"
