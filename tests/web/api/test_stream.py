"""The stream as HTTP: its form, its filters, its ends. What it tells is tested in tests/pipeline/test_tail.py."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest

from relay.clock import after
from relay.model import JobStatus
from relay.web.api.stream import HEARTBEAT_SECONDS, LOOK_SECONDS
from relay.web.connections import ConnectionLimits
from relay.web.server import Server, Site
from tests.support.clock import FakeClock
from tests.support.management import ADMIN_KEY, Management
from tests.support.noun_rows import job, put_job, put_result, result


@dataclass
class Watched:
    """A stream that was watched until the relay stopped."""

    text: str

    @property
    def events(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Id, name and data of each."""
        found = []
        for block in self.text.split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if "data" in lines:
                found.append((lines.get("id", ""), lines["event"], json.loads(lines["data"])))
        return found

    @property
    def names(self) -> list[str]:
        return [name for _, name, _ in self.events]


async def _store(management: Management, clock: FakeClock, webhook_id: str) -> str:
    one = job(webhook_id, clock.now(), status=JobStatus.COMPLETED, due_at=None)
    stored = result(one.id, webhook_id, clock.now(), b"{}")

    def put(conn: Any) -> None:
        put_job(conn, one)
        put_result(conn, stored, b"{}")

    await management.database.write(put)
    return stored.id


async def _pass(management: Management, clock: FakeClock, seconds: float) -> None:
    """Time passes, look by look."""
    for _ in range(round(seconds / LOOK_SECONDS)):
        while not clock.sleepers:
            await management.database.read(lambda _: None)
        clock.advance(LOOK_SECONDS)


async def _watched(
    management: Management, clock: FakeClock, query: str = "", seconds: float = 2.0, **more: Any
) -> Watched:
    """Watch for so long, while a result of each webhook is stored after the first look; then the relay stops."""
    watching = asyncio.ensure_future(management.client.get(f"/v1/stream{query}", **more))
    await _pass(management, clock, LOOK_SECONDS)
    for webhook in management.services.configuration.current.webhooks.values():
        await _store(management, clock, webhook.id)
    await _pass(management, clock, seconds)
    management.services.stopping.set()
    answer = await watching
    management.services.stopping.clear()
    assert answer.headers["content-type"].startswith("text/event-stream")
    return Watched(answer.text)


async def test_a_stream_tells_resumes_and_says_why_it_ends(on_both: Management, clock: FakeClock) -> None:
    webhook = await on_both.webhook()
    watched = await _watched(on_both, clock)
    assert sorted(watched.names) == ["job.completed", "result.completed", "stream.end"]
    assert watched.names[-1] == "stream.end" and watched.events[-1][2] == {"reason": "stopping"}
    ids = {name: (id, data) for id, name, data in watched.events}
    event_id, told = ids["result.completed"]
    assert told["data"]["webhook_id"] == webhook["id"] and told["type"] == "result.completed"
    missed = await _store(on_both, clock, webhook["id"])
    again = await _watched(on_both, clock, headers={"last-event-id": event_id})
    keys = [data["id"] for _, name, data in again.events if name == "result.completed"]
    assert told["id"] in keys and f"{missed}.completed" in keys
    assert len(set(keys)) == len(keys) == 3


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("types=result", ["result.completed", "result.completed"]),
        ("types=result.failed,job.completed", ["job.completed", "job.completed"]),
        ("webhook_id={0}&types=result", ["result.completed"]),
        ("types=delivery", []),
    ],
)
async def test_a_stream_is_narrowed(management: Management, clock: FakeClock, query: str, names: list[str]) -> None:
    first, _ = (
        await management.webhook(),
        await management.webhook("other", credentials={"username": "o", "password": "p"}),
    )
    watched = await _watched(management, clock, "?" + query.format(first["id"]))
    assert watched.names == [*names, "stream.end"]


async def test_a_quiet_stream_beats_and_ends_when_its_key_is_revoked(management: Management, clock: FakeClock) -> None:
    key = await management.make("/v1/keys", {"name": "watcher", "scope": "read"})
    headers = {"authorization": f"Bearer {key['key']}"}
    watched = await _watched(management, clock, seconds=HEARTBEAT_SECONDS + 1, headers=headers)
    assert ": still here" in watched.text
    watching = asyncio.ensure_future(management.client.get("/v1/stream", headers=headers))
    await _pass(management, clock, LOOK_SECONDS)
    assert (await management.client.delete(f"/v1/keys/{key['id']}")).status_code == 204
    while not watching.done():
        await management.database.read(lambda _: None)
        clock.advance(LOOK_SECONDS)
    assert Watched((await watching).text).events[-1][2] == {"reason": "key_refused"}


async def test_a_gap_is_said_and_nonsense_is_no_place(management: Management, clock: FakeClock) -> None:
    old = after(clock.now(), -7200)
    watched = await _watched(management, clock, headers={"last-event-id": f"{old}-x"})
    assert watched.names[0] == "stream.gap"
    for nonsense in ("x", "", "1" * 400, "١٢٣-a"):
        headers = {"last-event-id": nonsense.encode()}
        assert (await _watched(management, clock, headers=headers)).names == ["stream.end"]


async def test_streams_are_few_and_places_come_back(management: Management, clock: FakeClock) -> None:
    management.services.streams.most = 1
    watching = asyncio.ensure_future(management.client.get("/v1/stream"))
    await _pass(management, clock, LOOK_SECONDS)
    refused = await management.client.get("/v1/stream")
    assert (refused.status_code, refused.json()["code"]) == (503, "too_many_streams")
    management.services.stopping.set()
    await watching
    assert management.services.streams.open == 0
    assert (await management.client.head("/v1/stream")).status_code == 200
    assert (await management.client.get("/v1/stream?types=nonsense")).status_code == 400


async def test_an_idle_stream_is_not_cut_off_and_one_whose_reader_left_ends(
    management: Management, clock: FakeClock
) -> None:
    brief = ConnectionLimits(idle_seconds=0.02, request_seconds=0.02, keep_alive_seconds=0.02, sweep_seconds=0.01)
    server = Server([Site(app=management.app, port=0, limits=brief)], clock)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ports[0])
    writer.write(f"GET /v1/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n\r\n".encode())
    await reader.readuntil(b": watching\n\n")
    sweeps = server.listeners[0].connections
    began = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < began + 0.1:  # ten sweeps
        await management.database.read(lambda _: None)
    await _pass(management, clock, HEARTBEAT_SECONDS + 1)
    await reader.readuntil(b": still here\n\n")
    assert len(sweeps.open) == management.services.streams.open == 1
    writer.close()
    while management.services.streams.open:
        await management.database.read(lambda _: None)
        clock.advance(LOOK_SECONDS)
    await server.stop()
