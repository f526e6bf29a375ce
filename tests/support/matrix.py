"""One provider on one database, with everything that can happen to its jobs played in one relay at the same time.

Jobs have knobs of their own, so the situations (`tests.support.situations`) do not disturb each other. What came of a
job is looked at when all is over (`Play.check`), so that whatever comes once too often has had the time to come.
"""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import aiohttp
import orjson

from relay.clock import Clock, SystemClock
from relay.demo.jobs import Job
from relay.demo.knobs import Knobs
from relay.demo.sink import Message, Sink
from relay.model import Secret
from tests.support.journey import PATIENCE_SECONDS, Caller, HurriedClock, eventually
from tests.support.providers import Apify
from tests.support.providers.customer import Customer, customer_of
from tests.support.providers.ways import SHARED, start
from tests.support.raw_provider import RawProvider
from tests.support.trip import INLINE, named, truth_of, webhook_body

QUIET: Final = Knobs(work_seconds=None, calls_back=False)
POLL_SECONDS: Final = 0.3  # of the machine's own time
SELDOM_SECONDS: Final = 3600.0
CELL_SECONDS: Final = 90.0
FINAL: Final = ("completed", "failed", "cancelled", "expired")


def same(what: str, found: object, expected: object) -> None:
    """Fail, in words, if they differ."""
    assert found == expected, f"{what}: {found!r:.600} instead of {expected!r:.600}"


@dataclass(frozen=True, kw_only=True)
class End:
    """How a job is to stand when all is over. `payload` None = there is none, "any" = whatever it is."""

    job_id: str
    status: str = "completed"
    payload: bytes | Literal["any"] | None = "any"
    accepted: int | None = None  # notifications that are stored as about it


class Play:
    """The webhooks `main`, which polls all the time, and `quiet`, which hardly does, on one account of the provider."""

    def __init__(self, caller: Caller, customer: Customer, sink: Sink, foreign: RawProvider, times: float) -> None:
        self.caller, self.customer, self.sink, self.foreign = caller, customer, sink, foreign
        self.stand_in, self.way, self.name = customer.stand_in, customer.way, customer.stand_in.NAME
        self.times = times
        self.main: dict[str, Any] = {}
        self.quiet: dict[str, Any] = {}

    @property
    def notifies(self) -> bool:
        return self.way.notified is not None

    @property
    def inline(self) -> bool:
        """Whether a notification is the result."""
        return self.name in INLINE

    async def register(self) -> None:
        """Two webhooks and a subscription."""
        more: dict[str, Any] = {}
        if isinstance(self.stand_in, Apify):
            more = {"verification": {"secret": SHARED}}
        for name, waits in (("main", POLL_SECONDS * self.times), ("quiet", SELDOM_SECONDS)):
            body = webhook_body(self.stand_in, name=name, poll_seconds=[waits], fetch_max_in_flight=32, **more)
            setattr(self, name, await self.caller.post("/v1/webhooks", body))
        made = await self.caller.post("/v1/subscriptions", {"name": "billing", "url": f"{self.sink.url}/billing"})
        self.sink.trust("/billing", Secret(made["secret"]))

    # --- the provider's side ---

    async def begin(self, webhook: Mapping[str, Any] | None = None, **knobs: Any) -> Job:
        """Ask the provider for work that ends when the situation says so; with a webhook, notifications go there."""
        url = None if webhook is None or not self.notifies else str(webhook["callback_url"])
        job = self.stand_in.jobs[await self.customer.submit(url)]
        job.knobs = Knobs(work_seconds=None, calls_back=url is not None).changed(knobs)
        job.callback_url = url  # which a dashboard would hold
        self.show(job, SHARED)
        return job

    def show(self, job: Job, secret: str | None) -> None:
        """Apify's notifications prove themselves by headers that the customer's template asks for."""
        if isinstance(self.stand_in, Apify):
            shown = {} if secret is None else {"x-relay-secret": secret}
            job.extra["headers"] = orjson.dumps(shown).decode()

    async def looked(self, job: Job, times: int) -> None:
        """Return once the provider was asked for the job so many times."""
        await eventually(lambda: _done({"looks": job.looks}), lambda found: found["looks"] >= times)

    def asked(self, job: Job) -> int:
        """How often the provider was asked how the job is."""
        path = self.way.status.format(id=job.id)
        return sum(one.path == path for one in self.stand_in.asked("GET", path))

    async def truth(self, job: Job) -> bytes:
        """The result as the provider serves it."""
        return await truth_of(self.customer, job.id)

    def told(self, job: Job) -> bytes:
        """The body of the job's last notification."""
        return [called.body for called in self.stand_in.callbacks if called.job_id == job.id][-1]

    # --- Relay's side ---

    async def track(self, job: Job, webhook: Mapping[str, Any] | None = None, **more: Any) -> str:
        """Have Relay follow the job; its id there."""
        wanted = {"webhook_id": (webhook or self.main)["id"], **named(self.customer, job.id), **more}
        return str((await self.caller.post("/v1/jobs", wanted))["id"])

    async def known(self, job: Job) -> str:
        """Relay's id of a job that it was notified of."""
        path = f"/v1/jobs?provider_job_id={job.id}"
        page = await self.caller.until(path, lambda page: bool(page["data"]))
        same("jobs that the notification made", len(page["data"]), 1)
        return str(page["data"][0]["id"])

    async def ended(
        self, job_id: str, status: str = "completed", *, seconds: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        """The job, once it is final; it must be so as `status` says."""
        job = await self.caller.until(f"/v1/jobs/{job_id}", lambda job: job["status"] in FINAL, seconds=seconds)
        same("status of the job", job["status"], status)
        return job

    async def still_open(self, job_id: str) -> dict[str, Any]:
        """The job, which must not have ended or brought anything."""
        job = await self.caller.get(f"/v1/jobs/{job_id}")
        assert job["status"] in ("waiting", "fetching"), f"it has ended: {job}"
        same("results", await self.caller.page(f"/v1/results?job_id={job_id}"), [])
        return job

    # --- when all is over ---

    async def check(self, end: End) -> None:
        """Everything that there is of a job, down to what the subscriber got."""
        job = await self.caller.get(f"/v1/jobs/{end.job_id}")
        same("status of the job", job["status"], end.status)
        results = await self.caller.page(f"/v1/results?job_id={end.job_id}")
        same("types of the results", [one["type"] for one in results], [f"result.{end.status}"])
        same("result of the job", job["result_id"], results[0]["id"])
        await self._check_payload(results[0]["id"], end)
        path = f"/v1/deliveries?job_id={end.job_id}"
        page = await self.caller.until(path, lambda page: all(one["status"] != "pending" for one in page["data"]))
        same(
            "deliveries", [(one["status"], one["result_id"]) for one in page["data"]], [("delivered", results[0]["id"])]
        )
        self._check_messages(end, results[0]["id"])
        if end.accepted is not None:
            notes = await self.caller.page(f"/v1/notifications?job_id={end.job_id}")
            same("notifications", [note["status"] for note in notes], ["accepted"] * end.accepted)

    async def _check_payload(self, result_id: str, end: End) -> None:
        found = await self.caller.call("GET", f"/v1/results/{result_id}/payload")
        if end.payload is None:
            assert found.status in (404, 410), f"there is a payload: {found.raw!r:.200}"
        elif isinstance(end.payload, bytes):
            same("status of the payload", found.status, 200)
            same("payload", _settled(found.raw), _settled(end.payload))

    def _check_messages(self, end: End, result_id: str) -> None:
        mine = [message for message in self.sink.messages if _data(message)["job_id"] == end.job_id]
        same("deliveries that arrived", len(mine), 1)
        envelope = orjson.loads(mine[0].body)
        same("signature and id", (mine[0].verified, mine[0].message_id), (True, result_id))
        same("delivered", (envelope["type"], envelope["data"]["status"]), (f"result.{end.status}", end.status))
        if isinstance(end.payload, bytes) and "payload" in envelope["data"]:
            same("delivered payload", _tidy(envelope["data"]["payload"]), _tidy(orjson.loads(end.payload)))


Cell = Callable[[Play], Awaitable[list[End]]]


async def played(play: Play, cells: Mapping[str, Cell]) -> dict[str, str]:
    """Play all at once; what went wrong, by situation. Leaves out none for the failure of another."""
    ends = await asyncio.gather(*(_tried(cell, play) for cell in cells.values()))
    wrong: dict[str, str] = {}
    for name, end in zip(cells, ends, strict=True):
        wrong |= {name: end} if isinstance(end, str) else {}
        for one in end if isinstance(end, list) else []:
            try:
                await play.check(one)
            except (AssertionError, LookupError) as error:
                wrong[name] = _in_a_line(error)
    return wrong


async def _tried(cell: Cell, play: Play) -> list[End] | str:
    try:
        async with asyncio.timeout(CELL_SECONDS):
            return await cell(play)
    except Exception as error:
        return _in_a_line(error)


def _in_a_line(error: Exception) -> str:
    """What went wrong and where in the tests."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/tests/" in frame.filename]
    at = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames[1:][-3:]))
    return f"{type(error).__name__}: {error!s:.900} ({at})"


async def _done(found: dict[str, Any]) -> dict[str, Any]:
    return found


def _data(message: Message) -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(message.body)["data"]
    return data


def _settled(body: bytes) -> bytes:
    """AssemblyAI's transcript says how its notification was answered, which happens while it is fetched."""
    return re.sub(rb'"webhook_status_code":(null|\d+)', b"", body)


def _tidy(payload: Any) -> Any:
    if isinstance(payload, dict):
        return {name: value for name, value in payload.items() if name != "webhook_status_code"}
    return payload


@asynccontextmanager
async def playing(
    provider: str, times: float, arrange: Callable[[Customer], None]
) -> AsyncIterator[tuple[Customer, Sink, aiohttp.ClientSession, RawProvider, Clock]]:
    """Everybody but the relay; all clocks run as fast. `arrange` is given the customer before anything is asked."""
    clock: Clock = SystemClock() if times == 1 else HurriedClock(times)
    stand_in = start(provider, clock=clock)
    stand_in.knobs = QUIET
    async with AsyncExitStack() as stack:
        customer = await stack.enter_async_context(customer_of(stand_in))
        sink = await stack.enter_async_context(Sink(clock=clock))
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        foreign = await stack.enter_async_context(RawProvider())
        arrange(customer)
        yield customer, sink, session, foreign, clock
