"""The playground's people: all the seeds' stand-ins and a subscriber, on 127.0.0.1, for a relay in this process.

They take nothing from strangers: the providers want a password that is made anew every time, and have no control
routes; the subscriber listens at a path that nobody can guess. The dashboard steers them by calls, not by HTTP.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

import orjson

from relay.clock import Clock
from relay.demo.knobs import Knobs
from relay.demo.recorder import Called
from relay.demo.scenarios import FREDDY, INFERENCE_NET, NETNUT, SCENARIOS, WORK_SECONDS, Scenario
from relay.demo.seeds import SEEDS, SUBMITS, hand_over, registration, stand_in
from relay.demo.sink import Message, Sink
from relay.model import Secret
from relay.settings import Settings
from relay.signing import standard_webhooks

MARK: Final = "relay-playground"  # in the metadata of all it makes; on a job it names the scenario
NAME: Final = "playground"
POLLS: Final = (2.0, 2.0, 3.0, 5.0)
KEPT_SECONDS: Final = 1.0  # by a provider that is brief
SCHEDULE: Final = (0.0, 1.0, 2.0)  # of deliveries: three attempts in three seconds
REMEMBERED: Final = 100
BY_NAME: Final = {one.name: one for one in SCENARIOS}
REPEATS: Final = (NETNUT, INFERENCE_NET)  # these answer with what they were asked


@dataclass(frozen=True, kw_only=True)
class Ask:
    """The request for work that starts a play."""

    method: str
    path: str
    body: bytes = field(repr=False)
    metadata: Mapping[str, Any]


class Subscriber(Sink):
    """Answers each message as the scenario says that its job was made with."""

    def __init__(self, clock: Clock) -> None:
        self.place = f"/playground/{secrets.token_urlsafe(24)}"
        self.secret = standard_webhooks.generate_secret()
        super().__init__(clock=clock, path=self.place, remembers=REMEMBERED)
        self.trust(self.place, self.secret)

    def status_for(self, headers: Mapping[str, str], body: bytes) -> int:
        answers = BY_NAME.get(str(_data(body).get("metadata", {}).get(MARK)), SCENARIOS[0]).answers
        known = sum(message.message_id == headers.get("webhook-id") for message in self.messages)
        return answers[min(known, len(answers) - 1)]

    def of(self, job_id: str) -> list[Message]:
        """What came of this job, oldest first."""
        return [message for message in self.messages if _data(message.body).get("job_id") == job_id]


class Playground:
    """Everybody on the stage; an asynchronous context manager that listens on 127.0.0.1."""

    def __init__(self, clock: Clock) -> None:
        self._dashboard_id = secrets.token_hex(8)
        self._actors = {
            name: stand_in(name, Secret(secrets.token_hex(16)), clock=clock, controls=False) for name in SEEDS
        }
        self._subscriber = Subscriber(clock)
        self._turns = {name: asyncio.Lock() for name in SEEDS}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            for actor in self._actors.values():
                await self._stack.enter_async_context(actor)
            await self._stack.enter_async_context(self._subscriber)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def plays_for(self, settings: Settings) -> None:
        """The stand-ins call this relay by its port on this machine, whatever its public URL is."""
        public, local = settings.public_url, settings.local_url
        for actor in self._actors.values():
            actor.place_of = lambda url: local + url.removeprefix(public) if url.startswith(public) else url

    # What a relay has to allow.

    @property
    def provider_addresses(self) -> tuple[str, ...]:
        """The exact addresses of the providers and of their object storage."""
        urls = [url for actor in self._actors.values() for url in (actor.url, actor.storage.url)]
        return tuple(f"127.0.0.1/32:{url.rpartition(':')[2]}" for url in urls)

    @property
    def subscriber_addresses(self) -> tuple[str, ...]:
        """The exact address of the subscriber."""
        return (f"127.0.0.1/32:{self._subscriber.port}",)

    # What there is to play.

    @property
    def mark(self) -> str:
        """The name that stands in the metadata of all that it makes; in a job's it says which scenario."""
        return MARK

    @property
    def providers(self) -> tuple[str, ...]:
        """By the names of their profiles."""
        return tuple(self._actors)

    def scenarios(self, provider: str) -> tuple[Scenario, ...]:
        """Those that this provider can play."""
        return tuple(one for one in SCENARIOS if provider in one.providers)

    def calls_back(self, provider: str) -> bool:
        """Whether it ever notifies."""
        return provider != FREDDY

    def repeats(self, provider: str) -> bool:
        """Whether its results hold what it was asked."""
        return provider in REPEATS

    # Playing.

    def registration(self, provider: str, scenario: str) -> dict[str, Any]:
        """The body of `POST /v1/webhooks` for it."""
        is_brief = BY_NAME[scenario].is_brief
        brief = {"retention_seconds": KEPT_SECONDS} if is_brief else {}
        return {
            "name": f"{NAME}-{provider}" + ("-brief" if is_brief else ""),
            "metadata": {MARK: provider},
            "poll_seconds": list(POLLS),
            **registration(self._actors[provider], self._dashboard_id),
            **brief,
        }

    def subscription(self) -> dict[str, Any]:
        """The body of `POST /v1/subscriptions`, but for the webhooks."""
        return {
            "name": NAME,
            "metadata": {MARK: "subscriber"},
            "url": self._subscriber.url + self._subscriber.place,
            "secret": self._subscriber.secret.reveal(),
            "schedule_seconds": list(SCHEDULE),
        }

    @asynccontextmanager
    async def playing(self, provider: str, scenario: str, callback_url: str, prompt: str) -> AsyncIterator[Ask]:
        """What to ask the provider for, within this block: it takes the job as the scenario says."""
        actor = self._actors[provider]
        async with self._turns[provider]:
            hand_over(actor, self._dashboard_id, callback_url)
            actor.next_knobs = Knobs(work_seconds=WORK_SECONDS).changed(BY_NAME[scenario].knobs)
            path, body = SUBMITS[provider]
            wanted = orjson.dumps({**body, **_said(provider, prompt)})
            try:
                yield Ask(method="POST", path=path, body=wanted, metadata={MARK: scenario})
            finally:
                actor.next_knobs = None

    def notified(self, provider: str, provider_job_id: str) -> list[Called]:
        """The notifications that the provider sent for a job, and how each was answered."""
        return [called for called in self._actors[provider].callbacks if called.job_id == provider_job_id]

    def received(self, job_id: str) -> list[Message]:
        """What the subscriber got of a job, oldest first."""
        return self._subscriber.of(job_id)


def _said(provider: str, prompt: str) -> dict[str, Any]:
    if provider == NETNUT:
        return {"prompt": prompt}
    return {"messages": [{"role": "user", "content": prompt}]} if provider == INFERENCE_NET else {}


def _data(body: bytes) -> dict[str, Any]:
    """The `data` of an envelope; empty where it is none."""
    try:
        found = orjson.loads(body)["data"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
