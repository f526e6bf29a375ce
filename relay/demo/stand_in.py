"""What all stand-ins for providers share: a server, the jobs, the record of requests, notifications, knobs.

A stand-in says how its provider looks from outside: doors (where work is asked for, read and cancelled), words for
the states, and the notification with its proof. It is written from the provider's documents, never from Relay's
profile of it, so that the two can disagree.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import uuid
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Self

import orjson
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import Response

from relay.clock import Clock, SystemClock, after, seconds_between
from relay.demo import control
from relay.demo.doors import Doors
from relay.demo.jobs import Cancel, Job
from relay.demo.knobs import Knobs, Proof
from relay.demo.local import LocalServer
from relay.demo.manners import Manners
from relay.demo.recorder import Asked, Caller, Recorder
from relay.demo.storage import Storage
from relay.model import Secret

STALE_SECONDS: Final = 600.0
SIGNING_SECRET: Final = Secret("whsec_" + base64.b64encode(b"a stand-in's own signing secret!").decode())
WRONG_SECRET: Final = Secret("whsec_" + base64.b64encode(b"not the secret of this webhook!!").decode())


class StandIn(Manners):
    """A provider on 127.0.0.1; an asynchronous context manager.

    `callback_url` is what the provider's dashboard holds, where it has one. With a `seed` the ids are the same in
    every run; without it no other stand-in has them. Without `controls` no other process can play it.
    """

    def __init__(
        self,
        *,
        api_key: Secret,
        signing_secret: Secret = SIGNING_SECRET,
        callback_url: str | None = None,
        knobs: Knobs | None = None,
        clock: Clock | None = None,
        port: int = 0,
        seed: str | None = None,
        controls: bool = True,
    ) -> None:
        self.knobs = knobs or Knobs()
        self.next_knobs: Knobs | None = None  # of the jobs taken while they are set, which follow no others then
        self.clock: Clock = clock or SystemClock()
        self.api_key = api_key
        self.signing_secret = signing_secret
        self.callback_url = callback_url
        self.registered: dict[str, str] = {}  # callback URLs by their id, where the dashboard keeps several
        self.jobs: dict[str, Job] = {}
        self.recorder = Recorder(self.clock)
        self.requests, self.callbacks = self.recorder.requests, self.recorder.callbacks
        # Requests by status, `unauthorized`, `submitted`, `cancelled`, `notified`, `notify_failed`.
        self.counts = self.recorder.counts
        self.storage = Storage(self.clock)
        self._caller = Caller(self.clock)
        self._seed = seed or str(uuid.uuid4())
        self.place_of: Callable[[str], str] = str  # where a callback URL is really called
        self._ids = 0
        self._work: set[asyncio.Task[Any]] = set()
        doors = Doors(self)
        steered = control.routes(self) if controls else []
        app = Starlette(routes=[*steered, *self.routes(doors), doors.nowhere()])
        self.server = LocalServer(app, port=port)

    # Its life.

    @property
    def url(self) -> str:
        """Its origin, where requests for work go and results are fetched from."""
        return self.server.url

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def held(self) -> asyncio.Event:
        """Set once an answer has been held back by a knob."""
        return self.server.held

    async def __aenter__(self) -> Self:
        await self._caller.start()
        await self.storage.start()
        await self.server.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self.server.stop()
        await self.storage.stop()
        await self._caller.stop()

    # Jobs.

    def new_id(self) -> str:
        """32 hexadecimal digits."""
        self._ids += 1
        return hashlib.sha256(f"{self._seed}/{self._ids}".encode()).hexdigest()[:32]

    def new_uuid(self) -> str:
        """The same as a UUID is written."""
        return str(uuid.UUID(hex=self.new_id()))

    def job_id(self) -> str:
        """A new id in the provider's own form."""
        return self.new_id()

    def take(
        self,
        wanted: Any,
        callback_url: str | None = None,
        *,
        knobs: Knobs | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> Job:
        """Note a request for work; `knobs` are this job's own, else it follows the next or the stand-in's."""
        job = Job(
            id=self.job_id(),
            wanted=wanted,
            created_at=self.clock.now(),
            knobs=knobs or self.next_knobs or self.knobs,
            retention_seconds=self.RETENTION_SECONDS,
            callback_url=callback_url,
            extra=dict(extra or {}),
        )
        self.jobs[job.id] = job
        return job

    def rename(self, job: Job, job_id: str) -> None:
        """Give it another id, for work whose ids look different."""
        del self.jobs[job.id]
        job.id = job_id
        self.jobs[job_id] = job

    def open(self, *, completed: bool = True) -> Job:
        """A job without a request: what a test starts from when the request is not its subject."""
        job = self.take(self.example(), self.callback_url)
        if completed:
            self.complete(job.id)
        return job

    def example(self) -> Any:
        """A request as somebody might send it."""
        return {"prompt": "coffee"}

    def complete(self, job_id: str) -> None:
        """The work is done; what there is can be read from now on, and nobody is told."""
        self.jobs[job_id].completed_at = self.clock.now()

    async def finish(self, job_id: str) -> list[int]:
        """The work is done, and who wants to know is told: the statuses of the answers."""
        job = self.jobs[job_id]
        self.complete(job_id)
        if job.knobs.callback_seconds > 0:
            await self.clock.sleep(job.knobs.callback_seconds)
        return await self.tell(job)

    def cancel(self, job: Job) -> Cancel:
        """What a request to cancel does."""
        if job.completed_at is not None:
            return Cancel.TOO_LATE
        if not job.knobs.cancels:
            return Cancel.ASKED
        job.cancelled = True
        self.complete(job.id)
        self.recorder.count("cancelled")
        return Cancel.TOOK

    async def begin(self, job: Job, answer: Response) -> Response:
        """Start the work that was asked for, in the order of events that its knobs say."""
        self.recorder.count("submitted")
        knobs = job.knobs
        if knobs.calls_back_first:
            self.complete(job.id)
            await self.tell(job)
        elif knobs.submit_seconds != 0:
            self.start(self._worked(job))
            await self.server.pause(knobs.submit_seconds)
        else:
            answer.background = BackgroundTask(self._begun, job)
        return answer

    async def _begun(self, job: Job) -> None:
        self.start(self._worked(job))

    async def _worked(self, job: Job) -> None:
        if job.knobs.calls_back_early:
            await self.tell(job)
        if job.knobs.work_seconds is None:
            return
        passed = seconds_between(job.created_at, self.clock.now())
        await self.clock.sleep(max(0.0, job.knobs.work_seconds - passed))
        if job.completed_at is not None:
            return
        if job.knobs.calls_back_early:
            self.complete(job.id)
        else:
            await self.finish(job.id)

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do it beside everything else; the end of the stand-in ends it."""
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    # Notifications.

    async def tell(self, job: Job) -> list[int]:
        """Send what its knobs say to where it wants it: the statuses of the answers."""
        if job.callback_url is None or not job.knobs.calls_back or job.told not in self.NOTIFIES:
            return []
        return await self.call_back(job, job.callback_url)

    async def call_back(self, job: Job, url: str) -> list[int]:
        """Send the notification as often as its knobs say, and its chatter before."""
        if job.knobs.chatter:
            for idle in self.chatter(job):
                await self.send(job, url, orjson.dumps(idle))
        body = orjson.dumps(self.notification(job))
        return [await self.send(job, url, body) for _ in range(job.knobs.notifications)]

    async def notify(self, callback_url: str, job_id: str) -> int:
        """Send one notification and return the HTTP status of the answer; 0 when there was none."""
        job = self.jobs[job_id]
        return await self.send(job, callback_url, orjson.dumps(self.notification(job)))

    async def send(self, job: Job, url: str, body: bytes) -> int:
        """Send these bytes with their proof; the HTTP status of the answer."""
        now, secret, shown = self.clock.now(), self.secret_of(job), job.knobs.proof
        if shown is Proof.WRONG:
            secret = WRONG_SECRET
        elif shown is Proof.STALE:
            now = after(now, -STALE_SECONDS)
        proof = {} if shown is Proof.MISSING else self.proof(job, body, now, secret)
        called = await self._caller.post(self.place_of(url), job.id, body, {**self.headers(job, body), **proof})
        self.recorder.called(called)
        return called.status

    async def wait_for(self, name: str, number: int) -> None:
        """Return once `counts[name]` is so high; at most ten seconds of the machine's own time. Raises TimeoutError."""
        await self.recorder.wait_for(name, number)

    def asked(self, method: str, path_starts: str = "/") -> list[Asked]:
        """The requests so far with this method and beginning of the path."""
        return [a for a in self.requests if a.method == method and a.path.startswith(path_starts)]
