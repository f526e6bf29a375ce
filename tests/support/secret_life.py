"""The life of a relay that is full of known secrets: who takes part, and what it wrote and said."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import orjson

from relay.demo.netnut import NetNut
from relay.demo.sink import Sink
from relay.model import Secret
from tests.crash.rig import Program, ended, module
from tests.support.journey import Caller, Told, World, process_environment
from tests.support.needles import Needles
from tests.support.outbound import RawServer, Reader, Writer, response
from tests.support.ports import free_port

ON_PURPOSE: Final = ("callback_url", "secret", "key")  # what the API shows to whom it may, by contract
NAMES: Final = ("username", "password", "wrong password", "api key", "knock", "header value", "admin key", "secret key")

KNOCKS: Final = """
name = "knocks"
title = "Knocks"
origins = ["https://knocks.example"]

[auth]
kind = "bearer"

[callback]
job_id = ["id"]
response_url = ["url"]

[callback.verification]
kind = "header_equals"
header = "x-knock"
required = true
authenticates = true

[fetch]
kind = "url"
done_present = ["output"]

[retention]
seconds = 600
anchor = "completed"

[poll]
waits = [1]
"""


def made_up() -> str:
    """A secret that is nowhere by chance, with something in it that has to be escaped in a URL."""
    return f"{secrets.token_urlsafe(18)}/+{secrets.token_urlsafe(18)}"


@dataclass
class Life:
    """Everything that is planted, everybody who takes part, and what the API answered."""

    world: World
    reader: Caller
    relay: Program
    needles: Needles
    planted: Mapping[str, str]
    answers: list[tuple[str, bytes]] = field(default_factory=list)

    async def say(self, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """Call the API with the admin key, keep what it answered, and plant the secrets that are its to tell."""
        told = await self.world.call(method, path, body, headers)
        return self._keep(f"{method} {path} for an admin", told)

    async def read(self, path: str) -> dict[str, Any]:
        """The same with a key that may only read."""
        return self._keep(f"GET {path} for a reader", await self.reader.call("GET", path))

    def _keep(self, place: str, told: Told) -> dict[str, Any]:
        value: Any = orjson.loads(told.raw) if told.headers.get("content-type", "").endswith("json") else None
        shown = told.raw if value is None else orjson.dumps(self._without_purpose(place, value))
        self.answers.append((place, b"%d %a %b" % (told.status, dict(told.headers), shown)))
        return value if isinstance(value, dict) else {}

    def _without_purpose(self, place: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._without_purpose(place, item) for item in value]
        if not isinstance(value, dict) or "openapi" in value:
            return value
        for name in ON_PURPOSE:
            if isinstance(text := value.get(name), str):
                self.needles.plant(f"{name} of {place}", text.rpartition(".")[2].removeprefix("whsec_"))
        return {n: self._without_purpose(place, item) for n, item in value.items() if n not in ON_PURPOSE}


async def echo(server: RawServer, reader: Reader, writer: Writer) -> None:
    """`/echo/STATUS/OFFSET/KIND`: what came in, sent back in an error page that begins with so many other bytes."""
    request = await server.read_request(reader)
    head, _, _ = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    _, _, status, offset, kind = lines[0].split(" ")[1].split("/")[:5]
    text = "x" * int(offset) + " ".join(lines[1:])
    body = f"<pre>{text}</pre>".encode()
    if kind == "json":
        body = orjson.dumps({"error": text, "message": text, "status": "processing"})
    headers = ["Content-Type: text/plain", "Connection: close", "Retry-After: 1"]
    writer.write(response(body, status=f"{status} Echo", headers=headers))
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def _with_password(url: str, password: str) -> str:
    """The server trusts everybody from here and does not ask for it; Relay does not know that."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"relay:{password}@{parts.hostname}:{parts.port}").geturl()


@asynccontextmanager
async def secret_life(url: str, directory: Path) -> AsyncIterator[Life]:
    """A faulty relay in a process of its own, with everything planted, in debug mode."""
    planted, needles, port = {name: made_up() for name in NAMES}, Needles(), free_port()
    needles.plant_all(planted)
    if url.startswith("postgresql:"):
        url = _with_password(url, needles.plant("database password", secrets.token_urlsafe(24)))
    (directory / "providers").mkdir()
    (directory / "providers/knocks.toml").write_text(KNOCKS)
    env = process_environment(url, directory, port) | {
        "RELAY_ADMIN_KEY": planted["admin key"],
        "RELAY_SECRET_KEYS": planted["secret key"],
        "RELAY_LOG_LEVEL": "debug",
        "RELAY_PROVIDERS_DIR": str(directory / "providers"),
        "RELAY_DELIVERY_SCHEDULE_SECONDS": "0,0.1",
    }
    relay = Program("relay", module("tests.support.faulty_relay", "serve"), directory / "relay.log", env)
    async with (
        NetNut(username=planted["username"], password=Secret(planted["password"])) as netnut,
        Sink() as sink,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        with ended(relay):
            await asyncio.to_thread(relay.await_ready)
            world = World(session, f"http://127.0.0.1:{port}", netnut, sink, planted["admin key"])
            made = await world.post("/v1/keys", {"name": "reader", "scope": "read"})
            reader = Caller(session, world.url, made["key"])
            needles.plant("read key", made["key"].rpartition("_")[2])
            yield Life(world, reader, relay, needles, planted)


async def stored(url: str) -> dict[str, bytes]:
    """Everything in the database as bytes: of SQLite its files, of PostgreSQL every value of every table."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        return {file.name: file.read_bytes() for file in path.parent.glob(f"{path.name}*") if file.is_file()}
    connection = await asyncpg.connect(url)
    try:
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {
            name: b"\n".join(
                value if isinstance(value, bytes) else str(value).encode()
                for row in await connection.fetch(f'SELECT * FROM "{name}"')
                for value in row.values()
            )
            for (name,) in names
        }
    finally:
        await connection.close()
