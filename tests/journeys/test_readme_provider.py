"""The guide's provider that nobody has: its file, its commands, and Acme itself, which does what the guide says."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from aiohttp import web

from tests.crash.rig import Program, ended
from tests.journeys.test_readme import COMMAND_SECONDS, Shell, reader, replaced, texts
from tests.support.journey import LOOPBACK, Caller
from tests.support.ports import free_port

API_KEY: Final = "acme-key"
SECRET: Final = "acme-signing-secret"
FIELD: Final = """field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }"""


class Acme:
    """What the guide says of Acme: asked for a transcript, it is done at once and calls back."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.answers: list[int] = []  # to its notifications
        self.calling: list[asyncio.Task[None]] = []

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/transcripts", self.take)
        app.router.add_get("/v1/transcripts/{id}", self.tell)
        return app

    def _may(self, request: web.Request) -> None:
        if request.headers.get("authorization") != f"Bearer {API_KEY}":
            raise web.HTTPUnauthorized

    async def take(self, request: web.Request) -> web.Response:
        self._may(request)
        self.asked.append(await request.json())
        self.calling.append(asyncio.create_task(self.call_back(self.asked[-1]["callback_url"])))
        return web.json_response({"id": "tr_1", "state": "queued"}, status=201)

    async def tell(self, request: web.Request) -> web.Response:
        self._may(request)
        return web.json_response({"id": request.match_info["id"], "state": "done", "text": "Hello?"})

    async def call_back(self, url: str) -> None:
        async with aiohttp.ClientSession() as session:
            for event, secret in (
                ("transcript.started", SECRET),
                ("transcript.ready", "forged"),
                ("transcript.ready", SECRET),
            ):
                body = json.dumps({"event": f"transcript.{event}", "transcript": {"id": "tr_1"}}).encode()
                signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
                async with session.post(url, data=body, headers={"X-Acme-Signature": signature}) as answer:
                    self.answers.append(answer.status)


@pytest.mark.acceptance
async def test_a_provider_that_nobody_has_works_with_the_file_in_the_guide(tmp_path: Path) -> None:
    acme, port, env = Acme(), free_port(), reader(tmp_path)
    runner = web.AppRunner(acme.application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    (file,), (check, rest) = texts("acme.toml"), texts("acme")
    profile = tmp_path / ".relay/providers/acme.toml"
    profile.parent.mkdir(parents=True)
    profile.write_text(file)
    served = env | {"RELAY_PORT": str(port), "RELAY_PROVIDER_EGRESS_ALLOW": LOOPBACK}
    relay = Program("relay", ["bash", "-c", f"cd {tmp_path}; relay serve"], tmp_path / "log", served)
    here = {"RELAY_URL": f"http://127.0.0.1:{port}", "ACME_API_KEY": API_KEY, "ACME_SECRET": SECRET}
    with ended(relay):
        await asyncio.to_thread(relay.await_ready)
        key = (tmp_path / ".relay/admin-key").read_text().strip()
        shell = Shell(tmp_path, env | here | {"RELAY_API_KEY": key})
        try:
            async with asyncio.timeout(COMMAND_SECONDS), aiohttp.ClientSession() as session:
                await asyncio.to_thread(shell.run, f"{FIELD}\n{check}")
                said = await asyncio.to_thread(
                    shell.run, replaced(rest, {"--provider acme": f"--provider acme --origin {origin}"})
                )
                api = Caller(session, here["RELAY_URL"], key)
                await api.until("/v1/jobs", lambda page: page["data"][0]["status"] == "completed")
                await asyncio.gather(*acme.calling)
                jobs = (await api.get("/v1/jobs"))["data"]
                result = await api.get(f"/v1/results/{jobs[0]['result_id']}")
        finally:
            shell.end()
    await runner.cleanup()
    assert '{"id": "tr_1", "state": "queued"}' in said
    assert len(jobs) == 1
    assert acme.asked[0]["recording"] == "https://files.example/call.mp3"
    assert acme.answers == [200, 401, 200]
    assert result["payload"] == {"id": "tr_1", "state": "done", "text": "Hello?"}
