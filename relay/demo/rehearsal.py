"""A rehearsal: one of the seeds' stand-ins takes jobs through a relay that runs already, and calls it back.

Everything goes the way that it goes in earnest: a webhook of its own, submits through `/submit/`, notifications to its
callback URL, results fetched with its credentials. The relay's API is blocking, so its calls are made on threads.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from relay.client.http import Api, ApiError
from relay.clock import Clock
from relay.demo.knobs import Knobs, Outcome
from relay.demo.seeds import SUBMITS, hand_over, registration, stand_in
from relay.demo.stand_in import StandIn
from relay.errors import RelayError
from relay.model import Secret

PORT: Final = 7431  # always the same, so that a relay can be told once that it may call there
AT_ONCE: Final = 8
DASHBOARD_ID: Final = "rehearsal"
LOOK_AGAIN_SECONDS: Final = 0.3
GONE_SECONDS: Final = 1.0  # how long a webhook is told that results are kept, if they are to be gone
POLL_SECONDS: Final = 2.0  # without a notification
FINAL: Final = ("completed", "failed", "cancelled", "expired")

# Which ends each has. Not every provider has a word for every end, or tells a result that
# is gone from one that is not there yet, before a day has passed.
EVENTS: Final[Mapping[str, tuple[Outcome, ...]]] = MappingProxyType(
    {
        "netnut": (Outcome.COMPLETED, Outcome.FAILED, Outcome.EXPIRED),
        "pulse": (Outcome.COMPLETED, Outcome.FAILED, Outcome.CANCELLED, Outcome.EXPIRED),
        "inference-net": (Outcome.COMPLETED, Outcome.FAILED),
        "freddy": (Outcome.COMPLETED, Outcome.FAILED, Outcome.CANCELLED),
    }
)
SIGNED: Final = ("pulse", "inference-net")  # the others show no proof that could be wrong
CALLS_BACK: Final = ("netnut", "pulse", "inference-net")


class RehearsalFailed(RelayError):
    """It could not be played; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What is to be played."""

    provider: str
    outcome: Outcome
    count: int
    knobs: Knobs
    port: int = PORT
    keep: bool = False  # the webhook stays


@dataclass(frozen=True, kw_only=True)
class Came:
    """What came of one job. `status` is the relay's, None where there is no job; `answers` are those to its calls."""

    job_id: str | None
    provider_job_id: str | None
    status: str | None
    attempts: int
    answers: tuple[int, ...]
    error: str | None

    def as_json(self) -> dict[str, Any]:
        """One row."""
        return {
            "job_id": self.job_id,
            "provider_job_id": self.provider_job_id,
            "status": self.status,
            "attempts": self.attempts,
            "notified": " ".join(map(str, self.answers)) or None,
            "error": self.error,
        }


Tell = Callable[[int, int], None]  # so many of so many have ended


class Rehearsal:
    """One piece on one relay."""

    def __init__(self, piece: Piece, api: Api, clock: Clock) -> None:
        self._piece = piece
        self._api = api
        self._clock = clock

    async def play(self, seconds: float, tell: Tell) -> list[Came]:
        """Submit all, wait until they are final or the time is over. Raises RehearsalFailed and what `Api` does."""
        piece = self._piece
        secret = Secret(secrets.token_hex(16))
        actor = stand_in(piece.provider, secret, port=piece.port)
        actor.knobs = piece.knobs
        try:
            await actor.__aenter__()
        except OSError:
            await actor.__aexit__()
            raise RehearsalFailed(f"port {piece.port} of 127.0.0.1 is taken: give another one with --port") from None
        try:
            async with self._webhook(actor) as webhook:
                began = self._clock.monotonic()
                submitted = await self._submit_all(webhook["id"])
                tell(0, piece.count)
                jobs = await self._ended(webhook["id"], submitted, began + seconds, tell)
        finally:
            await actor.__aexit__()
        return [self._came(actor, jobs.get(job_id or ""), job_id, error) for job_id, error in submitted]

    @asynccontextmanager
    async def _webhook(self, actor: StandIn) -> AsyncIterator[dict[str, Any]]:
        """A webhook for the occasion; callbacks get 410 afterwards, what it brought stays."""
        body: dict[str, Any] = {
            "name": f"rehearsal-{self._piece.provider}-{secrets.token_hex(4)}",
            "poll_seconds": [POLL_SECONDS],
            **registration(actor, DASHBOARD_ID),
        }
        if self._piece.outcome is Outcome.EXPIRED:
            body["retention_seconds"] = GONE_SECONDS
        made = await self._call("POST", "/v1/webhooks", body)
        hand_over(actor, DASHBOARD_ID, made["callback_url"])
        try:
            yield made
        finally:
            if not self._piece.keep:
                await self._call("DELETE", f"/v1/webhooks/{made['id']}")

    async def _call(self, method: str, path: str, body: object = None, **params: object) -> Any:
        return await asyncio.to_thread(self._api.call, method, path, params=params, body=body)

    async def _submit_all(self, webhook_id: str) -> list[tuple[str | None, str | None]]:
        """The relay's ids of the jobs, and what went wrong with the others."""
        free = asyncio.Semaphore(AT_ONCE)

        async def one() -> tuple[str | None, str | None]:
            async with free:
                return await asyncio.to_thread(self._submit, webhook_id)

        return await asyncio.gather(*(one() for _ in range(self._piece.count)))

    def _submit(self, webhook_id: str) -> tuple[str | None, str | None]:
        path, body = SUBMITS[self._piece.provider]
        try:
            return self._api.submit(f"/submit/{webhook_id}{path}", body), None
        except ApiError as error:
            self._explain(error)
            return None, error.code

    def _explain(self, error: ApiError) -> None:
        """Raise RehearsalFailed where every job would meet the same."""
        where = f"127.0.0.1:{self._piece.port}"
        if error.code == "provider_not_reached" and ("_refused" in str(error) or "foreign" in str(error)):
            setting = f"RELAY_PROVIDER_EGRESS_ALLOW=127.0.0.1/32:{self._piece.port}"
            raise RehearsalFailed(
                f"the relay may not call the stand-in at {where}: start it with {setting} (if it is set already, "
                "add this with a comma)"
            ) from None
        if error.code == "provider_not_reached":
            raise RehearsalFailed(
                f"the relay does not reach the stand-in at {where}: a rehearsal needs a relay on the same machine"
            ) from None
        if error.status in (401, 403):
            raise error

    async def _ended(
        self, webhook_id: str, submitted: list[tuple[str | None, str | None]], until: float, tell: Tell
    ) -> dict[str, dict[str, Any]]:
        """The jobs by id, when all are final or the time is over."""
        wanted = {job_id for job_id, _ in submitted if job_id is not None}
        while True:
            found = await asyncio.to_thread(lambda: list(self._api.pages("/v1/jobs", {"webhook_id": webhook_id})))
            jobs = {job["id"]: job for job in found}
            ended = sum(jobs.get(job_id, {}).get("status") in FINAL for job_id in wanted)
            tell(ended, self._piece.count)
            if ended == len(wanted) or self._clock.monotonic() >= until:
                return jobs
            await self._clock.sleep(LOOK_AGAIN_SECONDS)

    def _came(self, actor: StandIn, job: Mapping[str, Any] | None, job_id: str | None, error: str | None) -> Came:
        if job is None:
            return Came(job_id=job_id, provider_job_id=None, status=None, attempts=0, answers=(), error=error)
        answers = tuple(called.status for called in actor.callbacks if called.job_id == job["provider_job_id"])
        return Came(
            job_id=job["id"],
            provider_job_id=job["provider_job_id"],
            status=job["status"],
            attempts=job["attempts"],
            answers=answers,
            error=job["last_error"],
        )
