"""Every format over real sockets: what a subscriber verifies, reads, and opens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
import standardwebhooks
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event

from relay.demo.sink import Message
from tests.support.journey import World, travelling
from tests.support.ports import free_port

MIB = 1024 * 1024
FORMATS = ("envelope", "raw", "thin", "cloudevents")


@pytest.fixture
def stage_url(sqlite_first: str) -> str:
    """What is told here is above the store: PostgreSQL is in `make proofs`."""
    return sqlite_first


@pytest.fixture
async def world(stage_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with travelling(stage_url, tmp_path, delivery_schedule_seconds=(0, 0.1)) as opened:
        yield opened


async def delivered(world: World, padding: int, **webhook: Any) -> tuple[dict[str, Message], bytes]:
    """One result in every format, verified by the official library; and the bytes as the provider has them."""
    made = await world.webhook(**webhook)
    secrets = {format: (await world.subscribe(format, format=format))["secret"] for format in FORMATS}
    world.netnut.knobs.padding = padding
    trace_id = await world.finished_trace(made)
    found = {message.path.strip("/"): message for message in await world.sink.wait_for(len(FORMATS))}
    for format, message in found.items():
        assert message.verified, format
        standardwebhooks.Webhook(secrets[format]).verify(message.body, dict(message.headers))
    return found, world.netnut.result_bytes(world.netnut.traces[trace_id])


async def test_a_result_in_every_format(world: World) -> None:
    found, payload = await delivered(world, 0, name="netnut prod ü")
    data = orjson.loads(found["envelope"].body)["data"]
    assert payload in found["envelope"].body
    raw = found["raw"]
    assert (raw.body, raw.headers["content-type"]) == (payload, "application/json")
    assert raw.headers["relay-result-id"] == raw.headers["webhook-id"] == data["result_id"]
    assert unquote(raw.headers["relay-webhook-name"]) == "netnut prod ü"
    event = from_binary_event(HTTPMessage(dict(found["cloudevents"].headers), found["cloudevents"].body))
    assert (event.get_data(), event.get_id()) == (orjson.loads(payload), data["result_id"])
    assert event.get_extension("webhookname") == "netnut prod ü"
    thin = orjson.loads(found["thin"].body)["data"]
    assert "payload" not in thin and {name: thin[name] for name in ("result_id", "status")} == {
        "result_id": data["result_id"], "status": "completed",
    }  # fmt: skip
    await _opens(world, thin["payload_url"], payload)


async def _opens(world: World, url: str, payload: bytes) -> None:
    """Without a key: the exact bytes, a part of them, and nothing to whoever changed the address."""
    async with world.session.get(url) as answer:
        assert (answer.status, await answer.read()) == (200, payload)
        etag = answer.headers["etag"]
        assert answer.headers["content-security-policy"].startswith("sandbox")
    async with world.session.get(url, headers={"range": "bytes=1-9"}) as answer:
        assert (answer.status, await answer.read()) == (206, payload[1:10])
    async with world.session.get(url, headers={"if-none-match": etag}) as answer:
        assert answer.status == 304
    unknown = url.replace(url.partition("/results/")[2][:36], "res_" + "0" * 32)
    for other in (unknown, url[:-1] + ("A" if url[-1] != "A" else "B"), url.replace("token=", "token=x")):
        async with world.session.get(other) as answer:
            assert (answer.status, (await answer.json())["code"]) == (404, "not_found")


async def test_a_large_result_in_every_format(world: World) -> None:
    found, payload = await delivered(world, 3 * MIB)
    assert len(payload) > 3 * MIB
    assert found["raw"].body == found["cloudevents"].body == payload
    for format in ("envelope", "thin"):
        await _opens(world, orjson.loads(found[format].body)["data"]["payload_url"], payload)


async def test_filters_route_each_result_and_say_so(world: World) -> None:
    fal = {"data.provider": "fal"}
    await world.subscribe("fal", filter=fal)
    wanted = await world.subscribe("netnut", filter={"data.payload.response.prompt": {"$startsWith": "tea"}})
    webhook = await world.webhook()
    await world.ask(webhook, "tea, please")
    (message,) = await world.sink.wait_for(1)
    assert (message.path, message.verified) == ("/netnut", True)
    await world.ask(webhook, "coffee")
    page = await world.until("/v1/results?unrouted=true", lambda page: len(page["data"]) == 1)
    (unrouted,) = page["data"]
    told = await world.post(f"/v1/subscriptions/{wanted['id']}/test", {"result_id": unrouted["id"]})
    assert (told["matches"], told["failed"][0]["found"]) == (False, '"coffee"')
    judged = {"result_id": unrouted["id"], "filter": {"data.payload.response.prompt": "coffee"}}
    assert (await world.post(f"/v1/subscriptions/{wanted['id']}/test", judged))["matches"] is True
    assert world.sink.received == 1


async def test_where_management_has_a_port_of_its_own_links_lead_there(sqlite_stage_url: str, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with travelling(sqlite_stage_url, tmp_path, management_port=port) as world:
        public, world.url = world.url, url
        webhook = await world.webhook()
        await world.subscribe(format="thin")
        await world.finished_trace(webhook)
        (message,) = await world.sink.wait_for(1)
        link = orjson.loads(message.body)["data"]["payload_url"]
        assert link.startswith(url) and webhook["callback_url"].startswith(public)
        async with world.session.get(link) as answer:
            assert answer.status == 200
