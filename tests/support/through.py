"""A relay with one provider's stand-in behind it, and a client that sends its requests through the relay."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from relay.clock import Clock, SystemClock
from relay.demo.sink import Sink
from relay.demo.stand_in import StandIn
from relay.model import Secret
from tests.support.journey import ADMIN_KEY, Caller, HurriedClock, Told, running, settings_of
from tests.support.providers.ways import KEY, SHARED, WAYS, Way, listen, start

SIGNING = frozenset({"openai", "pulse", "replicate", "firecrawl", "reducto"})
PARAMETERS: Mapping[str, dict[str, str]] = {"inference-net": {"webhook_id": SHARED}, "runpod": {"endpoint_id": "ep1"}}


@dataclass
class Through:
    """One webhook of one provider, and what it takes to submit to it."""

    caller: Caller
    stand_in: StandIn
    sink: Sink
    webhook: dict[str, Any]

    @property
    def way(self) -> Way:
        return WAYS[self.stand_in.NAME]

    @property
    def base(self) -> str:
        return f"{self.caller.url}/submit/{self.webhook['id']}"

    def own_form(self, key: str = ADMIN_KEY) -> dict[str, str]:
        """Relay's key where the provider's own clients put theirs."""
        name, (value, *_) = self.stand_in.credentials()
        scheme, space, _ = value.rpartition(" ")
        if scheme == "Basic":
            return {name: "Basic " + base64.b64encode(f"anybody:{key}".encode()).decode()}
        return {name: f"{scheme}{space}{key}"}

    async def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, bare: bool = False, **more: Any
    ) -> Told:
        """Any call through the relay; with `bare` it shows no key by itself."""
        given = {} if bare else {"authorization": f"Bearer {ADMIN_KEY}"}
        if self.stand_in.NAME == "assemblyai" and not bare:
            given = {"authorization": ADMIN_KEY}
        given |= dict(headers or {})
        async with self.caller.session.request(
            method, self.base + path, headers=given, allow_redirects=False, **more
        ) as answer:
            return Told(answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read())

    async def submit(self, **more: Any) -> Told:
        """A request for work, as the provider's documents have it, without a callback URL."""
        wanted = self.way.submit(None)
        return await self.send("POST", wanted.path, **{"params": dict(wanted.query), "json": wanted.body} | more)

    async def job(self, told: Told) -> dict[str, Any]:
        """The job that an answer names."""
        return await self.caller.get(f"/v1/jobs/{told.headers['relay-job-id']}")

    async def the_job(self) -> dict[str, Any]:
        """The only job."""
        (job,) = await self.caller.page("/v1/jobs")
        return job


def webhook_of(stand_in: StandIn, **more: Any) -> dict[str, Any]:
    """What registers a webhook of this stand-in."""
    header, (value, *_) = stand_in.credentials()
    credentials: dict[str, str] = {"api_key": KEY}
    if value.startswith("Basic "):
        username, _, password = base64.b64decode(value[6:]).decode().partition(":")
        credentials = {"username": username, "password": password}
    wanted: dict[str, Any] = {
        "name": stand_in.NAME,
        "provider": stand_in.NAME,
        "credentials": credentials,
        "origins": [stand_in.url],
        "parameters": PARAMETERS.get(stand_in.NAME, {}),
    }
    if stand_in.NAME in SIGNING:
        wanted["verification"] = {"secret": stand_in.signing_secret.reveal()}
    return wanted | more


@asynccontextmanager
async def through(
    url: str,
    directory: Path,
    provider: str,
    *,
    hurry: float = 1.0,
    webhook: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Through]:
    """A relay on the database at `url`, subscribed to by a sink, and a webhook of the provider's stand-in."""
    clock: Clock = HurriedClock(hurry) if hurry != 1.0 else SystemClock()
    chosen = settings_of(url, directory, **settings)
    async with AsyncExitStack() as stack:
        stand_in = await stack.enter_async_context(start(provider))
        sink = await stack.enter_async_context(Sink())
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        await stack.enter_async_context(running(chosen, clock))
        caller = Caller(session, chosen.public_url)
        made = await caller.post("/v1/subscriptions", {"name": "billing", "url": f"{sink.url}/billing"})
        sink.trust("/billing", Secret(made["secret"]))
        registered = await caller.post("/v1/webhooks", webhook_of(stand_in, **dict(webhook or {})))
        listen(stand_in, registered["callback_url"])
        yield Through(caller, stand_in, sink, registered)


def payload_of(body: bytes) -> Any:
    """The payload in an envelope."""
    return orjson.loads(body)["data"].get("payload")
