"""A whole relay between the stand-in NetNut and a subscriber, over real sockets: what the journeys travel through.

async with travelling(url, directory) as world:
    webhook = await world.webhook()
    await world.subscribe("billing")
    await world.ask(webhook, "tea")
    (message,) = await world.sink.wait_for(1)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from relay.app import Relay
from relay.clock import Clock, Instant, SystemClock
from relay.demo.netnut import NetNut
from relay.demo.playground import Playground
from relay.demo.sink import Sink
from relay.model import Secret
from relay.settings import Settings
from tests.crash.rig import Program, ended
from tests.support.ports import free_port

ADMIN_KEY: Final = "journey-admin-key-of-more-than-32-characters"
SECRET_KEY: Final = "journey-secret-key-of-more-than-32-characters"
PASSWORD: Final = "open sesame"
LOOPBACK: Final = "127.0.0.0/8"
PATIENCE_SECONDS: Final = 60.0  # only what fails takes so long
LOOK_AGAIN_SECONDS: Final = (0.02, 0.5)  # at first and at most
LOOK_AGAIN_PART: Final = 0.1  # of the wait so far: what takes long is not looked at the oftener for it


class HurriedClock(SystemClock):
    """The machine's time, but faster: the waits between attempts are over sooner. For SQLite only: PostgreSQL has a
    clock of its own, and a node that disagrees with it does not work."""

    def __init__(self, times: float) -> None:
        self._times = times
        self._wall, self._began = super().now(), time.monotonic()

    def now(self) -> Instant:
        return Instant(self._wall + round((time.monotonic() - self._began) * self._times * 1000))

    def monotonic(self) -> float:
        return time.monotonic() * self._times

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._times)


@dataclass(frozen=True)
class Told:
    """One answer over HTTP."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        value: dict[str, Any] = orjson.loads(self.raw)
        return value


class Caller:
    """A management API and its callback URLs, asked over a real socket."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str = ADMIN_KEY) -> None:
        self.session = session
        self.url = url
        self._headers = {"authorization": f"Bearer {key}"}

    async def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Told:
        """Whatever is answered."""
        given = self._headers | dict(headers or {})
        if body is not None:
            given["content-type"] = "application/json"
        data = None if body is None else orjson.dumps(body)
        async with self.session.request(
            method, self.url + path, data=data, headers=given, allow_redirects=False
        ) as answer:
            return Told(answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read())

    async def get(self, path: str) -> dict[str, Any]:
        """What is at `path`; anything but a 2xx fails the test."""
        return _good("GET", path, await self.call("GET", path))

    async def page(self, path: str) -> list[dict[str, Any]]:
        """The first page of a list, newest first."""
        found: list[dict[str, Any]] = (await self.get(path))["data"]
        return found

    async def post(self, path: str, body: Any = None) -> dict[str, Any]:
        """Create or start something; anything but a 2xx fails the test."""
        return _good("POST", path, await self.call("POST", path, {} if body is None else body))

    async def patch(self, path: str, body: Any) -> dict[str, Any]:
        """Change something; anything but a 2xx fails the test."""
        return _good("PATCH", path, await self.call("PATCH", path, body))

    async def notify(self, callback_url: str, body: Any, **headers: str) -> Told:
        """Call a callback URL as a provider would; `body` may be bytes or something for JSON."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        given = {"content-type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
        async with self.session.post(callback_url, data=data, headers=given) as answer:
            return Told(answer.status, dict(answer.headers), await answer.read())

    async def until(
        self, path: str, holds: Callable[[dict[str, Any]], bool], *, seconds: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        """What is at `path`, once it is as wanted; what it is instead fails the test after `seconds`."""
        return await eventually(lambda: self.get(path), holds, seconds=seconds)

    async def ended(self, job_id: str, status: str = "completed") -> dict[str, Any]:
        """The job, once it is final; it must be so as `status` says."""
        job = await self.until(f"/v1/jobs/{job_id}", lambda job: job["status"] not in ("waiting", "fetching"))
        assert job["status"] == status, job
        return job

    async def attempts(self, job_id: str) -> list[dict[str, Any]]:
        """The attempts to fetch a job's result, oldest first."""
        return sorted(await self.page(f"/v1/jobs/{job_id}/attempts"), key=lambda attempt: int(attempt["number"]))


def _good(method: str, path: str, told: Told) -> dict[str, Any]:
    assert 200 <= told.status < 300, f"{method} {path} answered {told.status}: {told.raw[:1000]!r}"
    return told.body if told.raw else {}


async def eventually(
    ask: Callable[[], Awaitable[dict[str, Any]]],
    holds: Callable[[dict[str, Any]], bool],
    *,
    seconds: float = PATIENCE_SECONDS,
) -> dict[str, Any]:
    """Ask until what is found is as wanted."""
    began = time.monotonic()
    least, most = LOOK_AGAIN_SECONDS
    while True:
        found = await ask()
        if holds(found):
            return found
        waited = time.monotonic() - began
        assert waited < seconds, f"after {seconds} s it is still {found}"
        await asyncio.sleep(min(most, max(least, waited * LOOK_AGAIN_PART)))


class World(Caller):
    """A caller of a relay, with the stand-ins on both sides of it."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, netnut: NetNut, sink: Sink, key: str = ADMIN_KEY
    ) -> None:
        super().__init__(session, url, key)
        self.netnut = netnut
        self.sink = sink

    async def webhook(self, name: str = "netnut-prod", **more: Any) -> dict[str, Any]:
        """A webhook that fetches from the stand-in."""
        credentials = {"username": self.netnut.username, "password": PASSWORD}
        wanted = {"name": name, "provider": "netnut", "credentials": credentials, "origins": [self.netnut.url]}
        return await self.post("/v1/webhooks", wanted | more)

    async def subscribe(self, name: str = "billing", **more: Any) -> dict[str, Any]:
        """A subscription at the sink, which checks the signatures that come to it."""
        made = await self.post("/v1/subscriptions", {"name": name, "url": f"{self.sink.url}/{name}"} | more)
        self.sink.trust(f"/{name}", Secret(made["secret"]))
        return made

    async def ask(self, webhook: Mapping[str, Any], prompt: str = "tea", *, later: bool = True) -> Told:
        """Ask the stand-in for something, with the callback URL in it; without `later` it is told in the callback."""
        body: dict[str, Any] = {"prompt": prompt, "callback_url": webhook["callback_url"]}
        headers = {
            "authorization": aiohttp.encode_basic_auth(self.netnut.username, PASSWORD),
            "content-type": "application/json",
        }
        data = orjson.dumps(body | ({"async": True} if later else {}))
        async with self.session.post(f"{self.netnut.url}/search", data=data, headers=headers) as answer:
            return Told(answer.status, dict(answer.headers), await answer.read())

    async def finished_trace(self, webhook: Mapping[str, Any]) -> str:
        """A job that is complete at the stand-in, and was notified."""
        trace = self.netnut.open()
        assert await self.netnut.notify(webhook["callback_url"], trace.id) == 200
        return trace.id

    async def job_of(self, trace_id: str) -> dict[str, Any]:
        """The job that has the provider's id."""
        (job,) = await self.page(f"/v1/jobs?provider_job_id={trace_id}")
        return job


def settings_of(url: str, directory: Path, **more: Any) -> Settings:
    """Settings of a relay for a journey: both kinds of outsiders may live on loopback."""
    port = free_port()
    return Settings.model_validate(
        {
            "database_url": url,
            "data_dir": directory / "data",
            "port": port,
            "public_url": f"http://127.0.0.1:{port}",
            "secret_keys": (SECRET_KEY,),
            "admin_key": ADMIN_KEY,
            "egress_allow": (LOOPBACK,),
            "provider_egress_allow": (LOOPBACK,),
            "shutdown_seconds": 1,
        }
        | more
    )


@asynccontextmanager
async def running(
    settings: Settings,
    clock: Clock | None = None,
    *,
    serves: bool = True,
    works: bool = True,
    playground: Playground | None = None,
) -> AsyncIterator[Relay]:
    """A relay in this process."""
    relay = Relay(settings, clock=clock, serves=serves, works=works, playground=playground)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()


@asynccontextmanager
async def stand_ins(clock: Clock | None = None) -> AsyncIterator[tuple[NetNut, Sink, aiohttp.ClientSession]]:
    """The provider, the subscriber, and a client for the test itself."""
    async with (
        NetNut(password=Secret(PASSWORD), clock=clock) as netnut,
        Sink(clock=clock) as sink,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        yield netnut, sink, session


@asynccontextmanager
async def travelling(
    url: str,
    directory: Path,
    *,
    hurry: float = 1.0,
    clock: Clock | None = None,
    plays: bool = False,
    **settings: Any,
) -> AsyncIterator[World]:
    """A relay on the database at `url` with its stand-ins; with `hurry` all waits are that many times shorter.

    With `plays` the dashboard has its playground.
    """
    clock = clock or (HurriedClock(hurry) if hurry != 1.0 else SystemClock())
    chosen = settings_of(url, directory, **settings)
    async with AsyncExitStack() as stack:
        netnut, sink, session = await stack.enter_async_context(stand_ins(clock))
        playground = await stack.enter_async_context(Playground(clock)) if plays else None
        await stack.enter_async_context(running(chosen, clock, playground=playground))
        yield World(session, chosen.public_url, netnut, sink)


def process_environment(url: str, directory: Path, port: int, **more: str) -> dict[str, str]:
    """Variables of a relay in a process of its own, on loopback with its stand-ins."""
    return {
        "RELAY_DATABASE_URL": url,
        "RELAY_DATA_DIR": str(directory / "data"),
        "RELAY_PORT": str(port),
        "RELAY_SECRET_KEYS": SECRET_KEY,
        "RELAY_ADMIN_KEY": ADMIN_KEY,
        "RELAY_EGRESS_ALLOW": LOOPBACK,
        "RELAY_PROVIDER_EGRESS_ALLOW": LOOPBACK,
        "RELAY_SHUTDOWN_SECONDS": "1",
    } | more


@asynccontextmanager
async def processes(directory: Path, **commands: tuple[list[str], Mapping[str, str]]) -> AsyncIterator[list[Program]]:
    """Programs by name, each a command with its environment, from their ready lines on; none outlives the block."""
    programs = [Program(name, command, directory / f"{name}.log", env) for name, (command, env) in commands.items()]
    with ended(*programs):
        for program in programs:
            await asyncio.to_thread(program.await_ready)
        yield programs
