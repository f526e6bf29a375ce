"""Providers and subscribers that misbehave in every way: what is recorded, and that nothing is lost once they are well.

Each misbehaves on every call until it is healed. Time runs twenty times faster than the machine's.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from relay.clock import parse_rfc3339
from relay.model import Secret
from tests.support.journey import World, travelling
from tests.support.outbound import RawServer, Reader, Script, Writer, always, drip, raw_server, response, silent

MIB: Final = 1024 * 1024
LIMIT_SECONDS: Final = 0.4  # of the machine's own time, for who is to be too slow
PATIENT_SECONDS: Final = 20.0  # for all others: a busy machine is slow too
GOOD: Final = b'{"traceID": "1", "response": {"text": "tea"}}'
JSON: Final = "Content-Type: application/json"


@pytest.fixture
async def world(request: pytest.FixtureRequest, sqlite_stage_url: str, tmp_path: Path) -> AsyncIterator[World]:
    ill = request.node.callspec.params.get("name") if hasattr(request.node, "callspec") else None
    limit = LIMIT_SECONDS if ill in TOO_SLOW else PATIENT_SECONDS
    settings: dict[str, Any] = {
        "fetch_timeout_seconds": limit,
        "delivery_timeout_seconds": limit,
        "max_result_bytes": MIB,
        "delivery_schedule_seconds": (0, 10, 3600),
    }
    async with travelling(sqlite_stage_url, tmp_path, hurry=20, **settings) as opened:
        yield opened


class Patient:
    """A server that plays a script until it is well, and then answers as it should."""

    def __init__(self, ill: Script, good: bytes) -> None:
        self._ill, self._good = ill, good
        self.is_well = False
        self.bodies: list[bytes] = []

    async def serve(self, server: RawServer, reader: Reader, writer: Writer) -> None:
        if not self.is_well:
            await self._ill(server, reader, writer)
            return
        request = await server.read_request(reader)
        self.bodies.append(request.partition(b"\r\n\r\n")[2])
        writer.write(self._good)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def patient(ill: Script, good: bytes) -> AsyncIterator[tuple[Patient, str]]:
    patient = Patient(ill, good)
    async with raw_server(patient.serve) as server:
        yield patient, f"http://127.0.0.1:{server.port}"


def answering(body: bytes, status: str = "200 OK", *headers: str) -> Script:
    """Always this answer, on a connection that is closed after it."""
    return always(response(body, status=status, headers=[JSON, "Connection: close", *headers]), close=True)


async def reset(server: RawServer, reader: Reader, writer: Writer) -> None:
    """Read the request, then reset the connection."""
    await server.read_request(reader)
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED: Final = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS: Final = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


@dataclass(frozen=True)
class Ill:
    """One way to misbehave, and what a first attempt makes of it."""

    script: Script
    http_status: int | None
    error_code: str | None = None
    last_error: str | None = None


BOMB: Final = gzip.compress(b"0" * (16 * MIB), 1)
PROVIDERS: Final = {
    "202": Ill(answering(b"", "202 Accepted"), 202),
    "200 and pending": Ill(answering(b'{"status": "processing"}'), 200),
    "200 and nothing to tell": Ill(answering(b'{"message": "Request received"}'), 200, last_error="pending: no_marker"),
    "200 and HTML": Ill(answering(b"<html>Sign in</html>"), 200, last_error="pending: not_json"),
    "200 and broken JSON": Ill(answering(b'{"response": {"a"'), 200, last_error="pending: not_json"),
    "404": Ill(answering(b"{}", "404 Not Found"), 404, last_error="not_found"),
    "301": Ill(answering(b"", "301 Moved", "Location: /elsewhere"), 301, last_error="unexpected"),
    "429, come back in 30 years": Ill(
        answering(b"{}", "429 Too Many", "Retry-After: 999999999"), 429, last_error="throttled"
    ),
    "429, come back yesterday": Ill(answering(b"{}", "429 Too Many", "Retry-After: -1"), 429, last_error="throttled"),
    "500": Ill(answering(b"oops", "500 Internal Server Error"), 500, last_error="server_error"),
    "503": Ill(answering(b"", "503 Unavailable", "Retry-After: nonsense"), 503, last_error="server_error"),
    "a gzip bomb": Ill(
        answering(BOMB, "200 OK", "Content-Encoding: gzip"), 200, "body_too_large", last_error="body_too_large"
    ),
    "gzip that is none": Ill(
        answering(b"plain", "200 OK", "Content-Encoding: gzip"), 200, "decode_failed", last_error="decode_failed"
    ),
    "an endless body": Ill(drip(CHUNKED, ENDLESS, every=0), 200, "body_too_large", last_error="body_too_large"),
    "a byte now and then": Ill(
        drip(HEAD + b"Content-Length: 100\r\n\r\n", b" ", every=0.1), 200, "timed_out", last_error="timed_out"
    ),
    "fewer bytes than promised": Ill(
        always(HEAD + b"Content-Length: 100\r\n\r\n{}", close=True), 200, "interrupted", last_error="interrupted"
    ),
    "more bytes than promised": Ill(
        always(HEAD + b"Content-Length: 12\r\n\r\n" + GOOD, close=True), None, "interrupted", last_error="interrupted"
    ),
    "silence": Ill(silent, None, "timed_out", last_error="timed_out"),
    "not HTTP": Ill(always(b"SSH-2.0-OpenSSH\r\n\r\n", close=True), None, "interrupted", last_error="interrupted"),
    "a reset": Ill(reset, None, "interrupted", last_error="interrupted"),
}


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_provider_that_misbehaves_is_asked_again_and_its_result_is_had(world: World, name: str) -> None:
    ill = PROVIDERS[name]
    async with patient(ill.script, response(GOOD, headers=[JSON, "Connection: close"])) as (provider, origin):
        webhook = await world.webhook(origins=[origin])
        await world.subscribe()
        told = await world.notify(webhook["callback_url"], {"traceID": "1", "response_url": f"{origin}/results/1"})
        assert (told.status, told.body["status"]) == (200, "accepted")
        job_id = told.body["job_id"]
        job = await world.until(f"/v1/jobs/{job_id}", lambda job: job["attempts"] > 0)
        assert job["status"] == "fetching"
        assert job["last_error"] == ill.last_error
        assert parse_rfc3339(job["next_attempt_at"]) <= parse_rfc3339(job["deadline"])
        first = (await world.attempts(job_id))[0]
        assert (first["http_status"], first["error_code"]) == (ill.http_status, ill.error_code)
        assert await world.page("/v1/results") == []
        provider.is_well = True
        asked = await world.call("POST", f"/v1/jobs/{job_id}/fetch")
        assert asked.status in (202, 409), asked.raw  # 409: it was asked again in its own time, and has ended
        ended = await world.ended(job_id)
        stored = await world.call("GET", f"/v1/results/{ended['result_id']}/payload")
        assert stored.raw == GOOD
        assert (await world.sink.wait_for(1))[0].verified


async def test_a_401_marks_the_webhook_and_keeps_its_job(world: World) -> None:
    async with patient(answering(b"{}", "401 Unauthorized"), response(GOOD, headers=[JSON])) as (provider, origin):
        webhook = await world.webhook(origins=[origin])
        told = await world.notify(webhook["callback_url"], {"traceID": "1", "response_url": f"{origin}/results/1"})
        path = f"/v1/webhooks/{webhook['id']}"
        await world.until(path, lambda webhook: webhook["status"] == "credentials_rejected")
        job = await world.get(f"/v1/jobs/{told.body['job_id']}")
        assert (job["status"], job["last_error"]) == ("fetching", "rejected_credentials")
        provider.is_well = True
        await world.patch(path, {"credentials": {"username": "u", "password": "another one"}})
        await world.ended(job["id"])


SUBSCRIBERS: Final = {
    "silence": Ill(silent, None, "timed_out"),
    "a redirect": Ill(answering(b"", "307 Temporary Redirect", "Location: /elsewhere"), 307),
    "410": Ill(answering(b"", "410 Gone"), 410),
    "429": Ill(answering(b"", "429 Too Many", "Retry-After: 100000"), 429),
    "429, come back in 30 years": Ill(answering(b"", "429 Too Many", "Retry-After: 999999999"), 429),
    "503": Ill(answering(b"", "503 Unavailable", "Retry-After: 1"), 503),
    "500 and an endless body": Ill(
        drip(CHUNKED.replace(b"200 OK", b"500 Oops"), ENDLESS, every=0), 500
    ),
    "a reset": Ill(reset, None, "interrupted"),
    "not HTTP": Ill(always(b"SSH-2.0-OpenSSH\r\n\r\n", close=True), None, "interrupted"),
}  # fmt: skip


TOO_SLOW: Final = {name for name, ill in (PROVIDERS | SUBSCRIBERS).items() if ill.error_code == "timed_out"}


@pytest.mark.parametrize("name", SUBSCRIBERS)
async def test_a_subscriber_that_misbehaves_gets_its_result_once_it_is_well(world: World, name: str) -> None:
    ill = SUBSCRIBERS[name]
    webhook = await world.webhook()
    async with patient(ill.script, response(b"ok", headers=["Connection: close"])) as (subscriber, origin):
        subscription = await world.post("/v1/subscriptions", {"name": "ill", "url": f"{origin}/hooks"})
        trace = await world.finished_trace(webhook)
        page = await world.until("/v1/deliveries", lambda page: any(d["last_error"] for d in page["data"]))
        delivery = await world.get(f"/v1/deliveries/{page['data'][0]['id']}")
        first = delivery["attempts"][0]
        assert (first["http_status"], first["error_code"]) == (ill.http_status, ill.error_code)
        assert len(first["response_excerpt"] or "") <= 16 * 1024
        assert delivery["status"] == "pending"
        subscriber.is_well = True
        if ill.http_status == 410:
            path = f"/v1/subscriptions/{subscription['id']}"
            assert (await world.until(path, lambda found: found["status"] != "active"))["status"] == "disabled"
            await world.post(f"{path}/enable")
        else:
            await world.call("POST", f"/v1/deliveries/{delivery['id']}/retry")
        await world.until(f"/v1/deliveries/{delivery['id']}", lambda found: found["status"] == "delivered")
        assert world.netnut.result_bytes(world.netnut.traces[trace]) in subscriber.bodies[-1]


async def test_a_2xx_with_an_endless_body_is_delivered(world: World) -> None:
    webhook = await world.webhook()
    async with raw_server(drip(CHUNKED, ENDLESS, every=0)) as server:
        await world.post("/v1/subscriptions", {"name": "chatty", "url": f"http://127.0.0.1:{server.port}/hooks"})
        await world.finished_trace(webhook)
        await world.until("/v1/deliveries", lambda page: [d["status"] for d in page["data"]] == ["delivered"])


async def test_one_that_hangs_holds_nobody_else_up(world: World) -> None:
    webhook = await world.webhook()
    async with raw_server(silent) as server:
        await world.post("/v1/subscriptions", {"name": "hangs", "url": f"http://127.0.0.1:{server.port}/hooks"})
        made = await world.post("/v1/subscriptions", {"name": "well", "url": f"{world.sink.url}/well"})
        world.sink.trust("/well", Secret(made["secret"]))
        await asyncio.gather(*(world.finished_trace(webhook) for _ in range(30)))
        messages = await world.sink.wait_for(30, seconds=20)  # a delivery that hangs does so for 30
        assert all(message.verified for message in messages)
