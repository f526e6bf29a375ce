"""What follows from a provider's answer. Pure: no clock, no chance, no database."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from relay.clock import Instant, after
from relay.frozen import frozen
from relay.model import Job, JobStatus
from relay.pipeline.bindings import Binding
from relay.pipeline.gate import Outcome
from relay.pipeline.schedule import next_attempt
from relay.providers.reading import Notice, Verdict
from relay.store.settlement import Postponed

REJECTED_SECONDS: Final = 60.0  # the least wait while credentials are refused
TOO_LARGE_SECONDS: Final = 600.0  # asking again costs a download, and hardly helps
NOT_READABLE_SECONDS: Final = 120.0  # after a notification "not found" means "not yet", whatever the deadline says
REFUSED_BY_US: Final = frozenset({"url_refused", "foreign_origin", "address_refused"})
ENDLESS: Final = frozenset({"page_loop", "too_many_pages"})
# An answer came, though nothing could be made of it: too large, badly encoded, pages that do not add up.
ANSWERED: Final = ENDLESS | {"body_too_large", "decode_failed", "page_failed"}
SAID_IN_SO_MANY_WORDS: Final = frozenset({"status", "removed"})


@frozen()
class Reading:
    """What came of a call: a verdict on an answer, or the code of what went wrong before there was one."""

    verdict: Verdict | None = None
    error_code: str | None = None
    retry_after_seconds: float | None = None
    of_provider: bool = True  # False: what went wrong did so elsewhere, behind a presigned URL


@frozen()
class Conclusion:
    """The job is over."""

    status: JobStatus
    error: str | None = None
    partial: bool = False
    with_payload: bool = True
    provider_status: str | None = None
    provider_job_id: str | None = None


def call_outcome(reading: Reading) -> Outcome | None:
    """What the call says about the provider; None = nothing (we did not even try)."""
    if not reading.of_provider:
        return Outcome.FINE  # it said that the job is completed
    if reading.verdict is None:
        if reading.error_code in REFUSED_BY_US:
            return None
        return Outcome.FINE if reading.error_code in ANSWERED else Outcome.DOWN
    if reading.verdict.kind == "throttled":
        return Outcome.THROTTLED
    return Outcome.DOWN if reading.verdict.kind == "server_error" else Outcome.FINE


def decide(job: Job, binding: Binding, reading: Reading, now: Instant, chance: float) -> Postponed | Conclusion:
    """The job is over, or it is asked again, and when."""
    verdict = reading.verdict
    if verdict is not None and names_another_job(job, verdict):
        reading = Reading(error_code="job_id_mismatch", retry_after_seconds=reading.retry_after_seconds)
    elif verdict is not None:
        deadline = _deadline_after(job, binding, verdict, now)
        job = job if deadline == job.deadline else replace(job, deadline=deadline)
        conclusion = _conclusion(job, binding, verdict, now)
        if conclusion is not None:
            return conclusion
        if job.status.is_final and verdict.kind in ("failed", "cancelled", "gone", "not_found"):
            return _as_it_was(job, verdict.provider_status)
    if now >= job.give_up_at and not job.status.is_final:
        why = f"gave up: {_error_of(reading) or 'still pending'}"
        return Conclusion(JobStatus.EXPIRED, why, with_payload=False, provider_status=job.provider_status)
    return _again(job, binding, reading, now, chance)


def names_another_job(job: Job, verdict: Verdict) -> bool:
    """Whether the payload is about another job than the one that was asked for: then it is not this job's."""
    named = verdict.provider_job_id
    return named is not None and job.provider_job_id is not None and named != job.provider_job_id


def decide_inline(job: Job, notice: Notice) -> Postponed | Conclusion:
    """What a notification makes of the job whose own body is the payload."""
    conclusion = conclude_inline(notice)
    if job.status.is_final and conclusion.status is not JobStatus.COMPLETED:
        return _as_it_was(job, notice.provider_status)
    return conclusion


def conclude_inline(notice: Notice) -> Conclusion:
    """A notification whose own body is the payload."""
    status = notice.status if notice.status is not None and notice.status.is_final else JobStatus.COMPLETED
    return Conclusion(
        status,
        error=None if status is JobStatus.COMPLETED else notice.error,
        partial=notice.partial,
        provider_status=notice.provider_status,
        provider_job_id=notice.provider_job_id,
    )


def postpone(job: Job, now: Instant, *, seconds: float, error: str) -> Postponed:
    """Nothing could be asked: look again later; at a job that has ended, for as long as the provider keeps anything."""
    due_at = after(now, seconds)
    return Postponed(
        due_at=None if _is_past_looking(job, due_at) else due_at,
        status=job.status,
        deadline=job.deadline,
        step=job.step,
        provider_status=job.provider_status,
        last_error=error,
    )


def _conclusion(job: Job, binding: Binding, verdict: Verdict, now: Instant) -> Conclusion | None:
    if verdict.kind == "completed" or (
        verdict.reason == "incomplete" and _has_had_its_time(job, binding, verdict, now)
    ):
        status = JobStatus.COMPLETED
    elif job.status.is_final:
        return None  # it has ended already; only a completed result supersedes that
    elif verdict.kind in ("failed", "cancelled"):
        status = JobStatus(verdict.kind)
    elif verdict.kind in ("gone", "not_found") and (_is_certain(verdict) or now >= _readable_until(job)):
        return Conclusion(
            JobStatus.EXPIRED,
            "the provider no longer has the result",
            with_payload=False,
            provider_status=verdict.provider_status or job.provider_status,
            provider_job_id=verdict.provider_job_id,
        )
    else:
        return None
    return Conclusion(
        status,
        error=None if verdict.reason == "incomplete" else verdict.error,
        partial=verdict.partial,
        provider_status=verdict.provider_status,
        provider_job_id=verdict.provider_job_id,
    )


def _has_had_its_time(job: Job, binding: Binding, verdict: Verdict, now: Instant) -> bool:
    """Whether a result that is called completed and does not look it would hardly become so any more.

    Taken as it is it is worth more than an expired job: a site without pages has no documents.
    """
    patience = binding.profile.fetch.complete_within_seconds
    since = [instant for instant in (job.notified_at, verdict.completed_at) if instant is not None]
    last = after(job.deadline, -patience)
    return now >= min(last, after(max(since), patience) if since else last)


def _is_certain(verdict: Verdict) -> bool:
    """Whether the answer itself says that the result was dropped; an HTTP status alone may also mean "not yet"."""
    return verdict.kind == "gone" and verdict.reason in SAID_IN_SO_MANY_WORDS


def _readable_until(job: Job) -> Instant:
    """Gone before this is "not readable yet"; after it, the provider has dropped the result."""
    if job.notified_at is None:
        return job.deadline
    return max(job.deadline, after(job.notified_at, NOT_READABLE_SECONDS))


def _as_it_was(job: Job, provider_status: str | None) -> Postponed:
    """A job that had ended was looked at again, and nothing better was found."""
    return Postponed(
        due_at=None,
        status=job.status,
        deadline=job.deadline,
        step=job.step,
        provider_status=provider_status or job.provider_status,
        last_error=job.last_error,
    )


def _again(job: Job, binding: Binding, reading: Reading, now: Instant, chance: float) -> Postponed:
    verdict = reading.verdict
    waits = binding.waits_of(job, now)
    due_at = next_attempt(
        now,
        step=job.step + 1,
        waits=waits,
        deadline=job.deadline,
        chance=chance,
        at_least=_at_least(reading),
    )
    return Postponed(
        due_at=None if _is_past_looking(job, due_at) else due_at,
        status=job.status,
        deadline=job.deadline,
        step=job.step + 1,
        provider_status=(verdict.provider_status if verdict else None) or job.provider_status,
        last_error=_error_of(reading),
    )


def _is_past_looking(job: Job, due_at: Instant) -> bool:
    """Looking at an ended job again ends with what the provider keeps."""
    return job.status.is_final and due_at > min(job.deadline, job.give_up_at)


def _deadline_after(job: Job, binding: Binding, verdict: Verdict, now: Instant) -> Instant:
    """Until when the provider keeps the result, by what it says: an expiry, or a completion to count from.

    A job that is pending now completes later than now, so it is kept at least the retention from now.
    """
    if verdict.expires_at is not None:
        return verdict.expires_at
    if binding.profile.retention.anchor == "submitted":
        return job.deadline
    if verdict.completed_at is not None and verdict.completed_at <= now:
        return after(verdict.completed_at, binding.retention_seconds)
    is_pending = verdict.kind == "pending" and verdict.reason != "incomplete"
    return max(job.deadline, after(now, binding.retention_seconds)) if is_pending else job.deadline


def _at_least(reading: Reading) -> float | None:
    verdict = reading.verdict
    if verdict is not None and verdict.kind == "rejected_credentials":
        return max(REJECTED_SECONDS, reading.retry_after_seconds or 0.0)
    if reading.error_code == "body_too_large" or reading.error_code in ENDLESS:
        return TOO_LARGE_SECONDS
    return reading.retry_after_seconds


def _error_of(reading: Reading) -> str | None:
    """A word for people; a pending answer is no error."""
    verdict = reading.verdict
    if verdict is None:
        return reading.error_code
    if verdict.kind == "pending":
        return None if verdict.reason in ("http_status", "status") else f"pending: {verdict.reason}"
    return verdict.error or verdict.kind
