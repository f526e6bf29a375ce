"""One call of an attempt, and what all its calls together may take.

What comes in goes to a spool at once; where its meaning has to be found it is read back, one large body at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from relay.clock import Clock
from relay.errors import TimedOut
from relay.frozen import frozen
from relay.outbound.engine import Timing
from relay.outbound.provider_door import ProviderDoor, ProviderRequest
from relay.pipeline.bindings import Binding
from relay.pipeline.envelope import MAX_ENVELOPE_BYTES
from relay.pipeline.excerpt import redact, safe_excerpt, scrub, url_secrets
from relay.pipeline.payloads import Payloads, Spool
from relay.pipeline.places import Question
from relay.providers.reading import Verdict

EXCERPT_BYTES: Final = 1024
DECODED_TIMES: Final = 4  # as large as it was sent a body may become
GOOD: Final = ("completed", "elsewhere")

Judge = Callable[[int, Mapping[str, str], bytes], Verdict]


@frozen()
class FetchLimits:
    """Bounds of one attempt, all its calls together."""

    timeout_seconds: float
    max_bytes: int  # of the bodies as sent; decoded they may be four times that


@dataclass(slots=True)
class Answered:
    """One answer, whole. `whole` is the body where it is small enough for an envelope."""

    question: Question
    spool: Spool
    verdict: Verdict
    http_status: int
    content_type: str | None
    whole: bytes | None
    excerpt: str | None


class Allowance:
    """What an attempt may still take."""

    def __init__(self, clock: Clock, limits: FetchLimits) -> None:
        self._clock = clock
        self._ends_at = clock.monotonic() + limits.timeout_seconds
        self._sent_bytes = limits.max_bytes
        self._decoded_bytes = limits.max_bytes * DECODED_TIMES
        self.calls = 0
        self.timing: Timing | None = None  # of the first call that was answered
        self.presigned = False  # the last call went away from the provider
        self.http_status: int | None = None  # of the last call, once the head of its answer is there

    def request(self, question: Question) -> ProviderRequest:
        """The next call. Raises TimedOut when there is no time for it."""
        left = self._ends_at - self._clock.monotonic()
        if left <= 0:
            raise TimedOut("the calls before took all the time")
        self.calls += 1
        self.presigned, self.http_status = question.is_presigned, None
        return ProviderRequest(
            method="GET",
            url=question.url,
            authorization=question.authorization,
            allowed_origins=question.origins,
            headers={"accept": "*/*" if question.is_presigned else "application/json, */*;q=0.5"},
            timeout_seconds=left,
            max_bytes=self._sent_bytes,
            max_decoded_bytes=self._decoded_bytes,
        )

    def took(self, headers: Mapping[str, str], decoded: int) -> None:
        """Account for a body that has come."""
        announced = headers.get("content-length", "")
        as_it_is = "content-encoding" not in headers or not announced.isdigit()
        self._decoded_bytes = max(self._decoded_bytes - decoded, 0)
        self._sent_bytes = max(self._sent_bytes - (decoded if as_it_is else int(announced)), 0)


class Calls:
    """The calls of one attempt."""

    def __init__(self, payloads: Payloads, door: ProviderDoor, binding: Binding, allowance: Allowance) -> None:
        self.payloads = payloads
        self.allowance = allowance
        self._door = door
        self._binding = binding

    async def get(self, question: Question, judge: Judge, *, needs_body: bool = True) -> Answered:
        """Ask, and find out what the answer means. Raises OutboundError, and then has kept nothing.

        `judge` is given the body; if it does not need it, the beginning of a large one.
        """
        spool = self.payloads.spool()
        try:
            async with self._door.stream(self.allowance.request(question)) as answer:
                self.allowance.http_status = answer.status
                self.allowance.timing = self.allowance.timing or answer.timing
                async for piece in answer.iter_bytes():
                    await spool.add(piece)
            await spool.finish()
            self.allowance.took(answer.headers, spool.size)
            verdict, whole = await self._judged(spool, answer.status, answer.headers, judge, needs_body)
        except BaseException:
            await spool.discard()
            raise
        excerpt = None
        if verdict.kind not in GOOD:
            verdict, excerpt = self._without_secrets(question, verdict, whole)
        content_type = answer.headers.get("content-type")
        return Answered(question, spool, verdict, answer.status, content_type, whole, excerpt)

    async def _judged(
        self, spool: Spool, status: int, headers: Mapping[str, str], judge: Judge, needs_body: bool
    ) -> tuple[Verdict, bytes | None]:
        if spool.payload_id is None:
            whole = spool.in_memory or b""
            return judge(status, headers, whole), whole
        if not needs_body and spool.size > MAX_ENVELOPE_BYTES:
            return judge(status, headers, await self.payloads.beginning(spool.payload_id)), None
        async with self.payloads.reading:
            body = await self.payloads.read(spool.payload_id)
            return judge(status, headers, body), body if len(body) <= MAX_ENVELOPE_BYTES else None

    def _without_secrets(self, question: Question, verdict: Verdict, whole: bytes | None) -> tuple[Verdict, str | None]:
        secrets = self._binding.confidential()
        if question.is_presigned:
            secrets += url_secrets(question.url)
        if verdict.error is not None:
            verdict = replace(verdict, error=scrub(redact(verdict.error, secrets)))
        return verdict, None if whole is None else safe_excerpt(whole[:EXCERPT_BYTES], secrets)
