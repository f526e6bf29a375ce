"""One submit at its provider: the request, the answer, and what the answer changes.

The job is in the database before the first byte is sent. An answer that a client has seen is written down already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import structlog

from relay.clock import after
from relay.errors import Conflict, OutboundError, StoreUnavailable
from relay.frozen import frozen
from relay.model import Job
from relay.outbound.provider_door import ProviderDoor, ProviderRequest
from relay.pipeline.bindings import Binding
from relay.pipeline.calls import ClientCall, Forwarded, Rejected
from relay.pipeline.excerpt import redact, scrub
from relay.pipeline.floor import Floor
from relay.pipeline.forwarding import body_to_return, headers_to_return
from relay.pipeline.prepare import job_keys, origin_problem
from relay.pipeline.receive import FetchHands
from relay.pipeline.repeats import AGAIN, UNKNOWN, Once, Repeats
from relay.pipeline.waiting import first_poll
from relay.providers.submitting import Submitted, read_submit
from relay.store import submitting
from relay.store.rows import Connection

log = structlog.get_logger(__name__)

T = TypeVar("T")

NEVER_SENT: Final = frozenset({"url_refused", "foreign_origin", "address_refused", "resolve_failed", "connect_failed"})
LOOK_AGAIN_SECONDS: Final = 600.0
WRITE_WAITS: Final = (0.0, 0.2, 1.0, 2.0, 5.0, 10.0, 20.0)  # an answer is worth some patience with the database
MAX_ERROR_CHARS: Final = 500


@frozen()
class Answered:
    """The provider's whole answer."""

    http_status: int
    headers: dict[str, str]
    body: bytes


@frozen()
class Unanswered:
    """What went wrong instead, as the code of an OutboundError."""

    code: str


@dataclass(slots=True)
class Exchange:
    """One submit under way. `outcome` and what follows it are for its log line."""

    binding: Binding
    call: ClientCall
    job: Job
    once: Once | None
    outcome: str = ""
    conflict: str | None = None
    error_code: str | None = None
    http_status: int | None = None
    answer_bytes: int = 0
    began: float = field(default=0.0)

    @property
    def may_be_repeated(self) -> bool:
        """Whether the provider itself would recognise the request, should it have taken it already."""
        submit = self.binding.profile.submit
        return self.once is not None and submit is not None and submit.idempotent


class Exchanges:
    """Sends submits on and settles them."""

    def __init__(self, floor: Floor, door: ProviderDoor, hands: FetchHands, repeats: Repeats) -> None:
        self._floor = floor
        self._door = door
        self._hands = hands
        self._repeats = repeats

    async def run(self, exchange: Exchange, request: ProviderRequest) -> Forwarded | Rejected:
        """Send the request and settle its job by the answer."""
        exchange.began = self._floor.clock.monotonic()
        answered = await self._ask(request)
        told: Forwarded | Rejected
        if isinstance(answered, Unanswered):
            told = await self._without_answer(exchange, answered.code)
        else:
            exchange.http_status, exchange.answer_bytes = answered.http_status, len(answered.body)
            told = await self._by_answer(exchange, answered)
        self._hands.hint()
        self._write_line(exchange)
        return told

    async def _ask(self, request: ProviderRequest) -> Answered | Unanswered:
        try:
            async with self._door.stream(request) as answer:
                body = b"".join([piece async for piece in answer.iter_bytes()])
                return Answered(answer.status, dict(answer.headers), body)
        except OutboundError as error:
            return Unanswered(error.code)

    async def _by_answer(self, exchange: Exchange, answered: Answered) -> Forwarded:
        call, profile = exchange.call, exchange.binding.profile
        said = read_submit(profile, call.method, call.path, answered.http_status, answered.headers, answered.body)
        headers = headers_to_return(answered.http_status, answered.headers)
        told = Forwarded(answered.http_status, headers, answered.body, exchange.job.id)
        if said.kind == "accepted":
            told = replace(told, body=body_to_return(exchange.binding, call.reached_at, answered.body))
            return await self._accepted(exchange, said, told)
        error = self._error(exchange, said, answered.http_status)
        if said.kind == "unclear" and exchange.job.submitted:
            await self._left_waiting(exchange, error, AGAIN)
        else:
            await self._ended(exchange, said.kind, error)
        return told

    async def _accepted(self, exchange: Exchange, said: Submitted, told: Forwarded) -> Forwarded:
        learnt = self._learnt(exchange, said)

        def write(connection: Connection) -> submitting.Taught:
            taught = submitting.learn(connection, learnt)
            answer = Forwarded(told.http_status, told.headers, told.body, taught.job_id)
            self._repeats.keep(connection, exchange.once, answer)
            return taught

        taught = await self._write(exchange, write)
        exchange.outcome, exchange.conflict = "accepted", taught.conflict if taught else None
        job_id = taught.job_id if taught else exchange.job.id
        return Forwarded(told.http_status, told.headers, told.body, job_id)

    def _learnt(self, exchange: Exchange, said: Submitted) -> submitting.Learnt:
        """What may be believed of the answer: of its URLs only those that are on the webhook's own origins."""
        binding, job, now = exchange.binding, exchange.job, self._floor.clock.now()

        def own(url: str | None) -> str | None:
            return url if url is not None and origin_problem(binding, url) is None else None

        response_url = own(said.response_url)
        is_over = said.status is not None and said.status.is_final
        webhooks = self._floor.configuration.current.webhooks
        return submitting.Learnt(
            job_id=job.id,
            webhook_id=job.webhook_id,
            keys=job_keys(said.provider_job_id, response_url),
            sibling_ids=self._floor.bindings.siblings(binding.webhook, webhooks),
            provider_job_id=said.provider_job_id,
            response_url=response_url,
            result_path=said.result_path,
            status_url=own(said.status_url),
            cancel_url=own(said.cancel_url),
            provider_status=said.provider_status,
            due_at=now if is_over else first_poll(binding, now, expects_notification=job.submitted),
            now=now,
        )

    async def _without_answer(self, exchange: Exchange, code: str) -> Rejected:
        """No answer: the provider has no job if nothing was sent, else nobody knows."""
        job, exchange.error_code = exchange.job, code
        if code in NEVER_SENT:
            await self._ended(exchange, "not_sent", code)
            return Rejected(502, "provider_not_reached", f"The provider could not be reached: {code}.", job_id=job.id)
        error = f"submit unclear: {code}"
        again = exchange.may_be_repeated
        if job.submitted or again:
            await self._left_waiting(exchange, error, AGAIN if again else UNKNOWN)
        else:
            await self._ended(exchange, "unclear", error, UNKNOWN)
        status = 504 if code == "timed_out" else 502
        detail = f"The provider gave no complete answer ({code}); whether it took the job is not known."
        if again:
            detail += " It takes a repetition once: send the request again with the same Idempotency-Key."
        return Rejected(status, "submit_outcome_unknown", detail, job_id=job.id)

    async def _ended(self, exchange: Exchange, outcome: str, error: str, mark: int | None = None) -> None:
        """There is no job at the provider, or none that anything could ever be heard of."""
        exchange.outcome, job, once, now = outcome, exchange.job, exchange.once, self._floor.clock.now()

        def write(connection: Connection) -> None:
            submitting.end(connection, job.id, error, now)
            if mark is None:
                self._repeats.forget(connection, once)
            else:
                self._repeats.mark(connection, once, job.id, mark)

        await self._write(exchange, write)

    async def _left_waiting(self, exchange: Exchange, error: str, mark: int) -> None:
        exchange.outcome, job, once = "unclear", exchange.job, exchange.once
        due_at = after(self._floor.clock.now(), LOOK_AGAIN_SECONDS)

        def write(connection: Connection) -> None:
            submitting.leave_waiting(connection, job.id, error, due_at)
            self._repeats.mark(connection, once, job.id, mark)

        await self._write(exchange, write)

    async def _write(self, exchange: Exchange, write: Callable[[Connection], T]) -> T | None:
        """Write it down, even if the database is away for a moment; None if it stays away.

        The client gets its answer all the same: the job is there, and a notification will find it.
        """
        for wait in WRITE_WAITS:
            if wait:
                await self._floor.clock.sleep(wait)
            try:
                return await self._floor.database.write(write)
            except (StoreUnavailable, Conflict):
                continue
        log.error("submit.not_written", job_id=exchange.job.id, webhook_id=exchange.job.webhook_id)
        return None

    def _error(self, exchange: Exchange, said: Submitted, http_status: int) -> str:
        secrets = [*exchange.binding.confidential(), exchange.call.key]
        text = f"submit {said.kind}: HTTP {http_status}" + (f": {said.error}" if said.error else "")
        return scrub(redact(text, secrets))[:MAX_ERROR_CHARS]

    def _write_line(self, exchange: Exchange) -> None:
        log.info(
            "submit.forwarded",
            webhook_id=exchange.job.webhook_id,
            job_id=exchange.job.id,
            method=exchange.call.method,
            http_status=exchange.http_status,
            error_code=exchange.error_code,
            outcome=exchange.outcome,
            conflict=exchange.conflict,
            request_bytes=len(exchange.call.body),
            answer_bytes=exchange.answer_bytes,
            duration_ms=round((self._floor.clock.monotonic() - exchange.began) * 1000),
        )
