"""Jobs submitted through Relay: made before their request is sent on, then taught what the answer said, or ended.

None of these takes the job from whoever fetches it: a callback may have come before the answer, and its fetch is under
way. What is learnt meanwhile is for the next question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, or_, select, update
from sqlalchemy.exc import IntegrityError

from relay.clock import Instant
from relay.errors import Conflict
from relay.frozen import frozen
from relay.model import Job, JobStatus
from relay.store import jobs as job_rows
from relay.store.bulk import insert_many
from relay.store.intake import Key
from relay.store.rows import dump
from relay.store.schema import job_keys, jobs
from relay.store.tracking import CONFLICT, ELSEWHERE


@frozen(kw_only=True)
class Learnt:
    """What the provider's answer said of a job. `due_at` holds unless a notification has come by now."""

    job_id: str
    webhook_id: str
    keys: Sequence[Key]
    sibling_ids: Sequence[str]  # the other webhooks of the account
    provider_job_id: str | None
    response_url: str | None
    result_path: str | None
    status_url: str | None
    cancel_url: str | None
    provider_status: str | None
    due_at: Instant
    now: Instant


@frozen()
class Taught:
    """The job that the answer is about, and what stood in the way: `keys_of_two_jobs`, `job_of_another_webhook`."""

    job_id: str
    conflict: str | None = None


def insert(connection: Connection, job: Job) -> None:
    """A new job, before anybody outside has heard of it."""
    insert_many(connection, jobs, job_rows.COLUMNS, [job_rows.to_row(job)])


def learn(connection: Connection, learnt: Learnt) -> Taught:
    """Write down what the answer said.

    If its id or URL is already that of another job of the webhook (a notification to a shared callback URL was quicker,
    or the provider recognised a repetition), that one is the job: this one makes way for it, unless it has a
    notification of its own. Then both stay as they are, and the conflict is noted. Raises Conflict: try again.
    """
    job = _locked(connection, learnt.job_id)
    if job is None:  # it was deleted meanwhile, with all that belongs to it
        return Taught(learnt.job_id)
    if _is_of_sibling(connection, learnt):
        end(connection, job.id, ELSEWHERE, learnt.now)
        return Taught(job.id, ELSEWHERE)
    owners = _owners(connection, learnt)
    others = sorted(set(owners.values()) - {job.id})
    if not others:
        _teach(connection, job, learnt)
        _add_keys(connection, job.id, learnt, owners)
        return Taught(job.id)
    other = _locked(connection, others[0]) if len(others) == 1 and _is_untouched(job) else None
    if other is None:
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(last_error=CONFLICT))
        return Taught(job.id, CONFLICT)
    connection.execute(delete(jobs).where(jobs.c.id == job.id))
    _teach(connection, replace(other, metadata={**job.metadata, **other.metadata}), learnt)
    held = (jobs.c.id == other.id, jobs.c.due_at > learnt.now, jobs.c.attempts == 0, jobs.c.lease_until.is_(None))
    connection.execute(update(jobs).where(*held).values(due_at=learnt.now))  # it waited for this very answer
    _add_keys(connection, other.id, learnt, owners)
    return Taught(other.id)


def _locked(connection: Connection, job_id: str) -> Job | None:
    row = connection.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).first()
    return None if row is None else job_rows.read(row)


def _is_untouched(job: Job) -> bool:
    """Whether nothing but the submit knows of it."""
    return job.notified_at is None and job.provider_job_id is None and job.response_url is None


def _named(learnt: Learnt) -> ColumnElement[bool]:
    return or_(*((job_keys.c.kind == kind) & (job_keys.c.value == value) for kind, value in learnt.keys))


def _is_of_sibling(connection: Connection, learnt: Learnt) -> bool:
    if not learnt.sibling_ids or not learnt.keys:
        return False
    theirs = select(job_keys.c.job_id).where(job_keys.c.webhook_id.in_(learnt.sibling_ids), _named(learnt))
    tracked = select(jobs.c.id).where(jobs.c.tracked, jobs.c.id.in_(theirs)).limit(1)
    return connection.execute(tracked).first() is not None


def _owners(connection: Connection, learnt: Learnt) -> dict[Key, str]:
    if not learnt.keys:
        return {}
    columns = (job_keys.c.kind, job_keys.c.value, job_keys.c.job_id)
    query = select(*columns).where(job_keys.c.webhook_id == learnt.webhook_id, _named(learnt))
    return {(row.kind, row.value): row.job_id for row in connection.execute(query)}


def _teach(connection: Connection, job: Job, learnt: Learnt) -> None:
    values: dict[str, Any] = {
        "tracked": True,
        "metadata": dump(job.metadata),
        "provider_job_id": job.provider_job_id or learnt.provider_job_id,
        "response_url": job.response_url or learnt.response_url,
        "result_path": job.result_path or learnt.result_path,
        "status_url": job.status_url or learnt.status_url,
        "cancel_url": job.cancel_url or learnt.cancel_url,
    }
    news = job.provider_job_id != values["provider_job_id"] or job.response_url != values["response_url"]
    if not job.status.is_final:
        values["provider_status"] = job.provider_status or learnt.provider_status
        if job.notified_at is None:
            values["due_at"] = learnt.due_at
        elif news:  # whoever was woken by the notification may have found nothing to ask: moved, it is asked again
            values |= {"due_at": learnt.now, "notified_at": learnt.now}
    connection.execute(update(jobs).where(jobs.c.id == job.id).values(values))


def _add_keys(connection: Connection, job_id: str, learnt: Learnt, known: dict[Key, str]) -> None:
    rows = [(learnt.webhook_id, kind, value, job_id) for kind, value in learnt.keys if (kind, value) not in known]
    try:
        insert_many(connection, job_keys, ("webhook_id", "kind", "value", "job_id"), rows)
    except IntegrityError as error:
        raise Conflict("provider_job_id", "a notification makes the same job just now") from error


def end(connection: Connection, job_id: str, error: str, now: Instant) -> None:
    """The provider took no job, or nothing will ever tell of it: failed, and without a result.

    Nothing is delivered: whoever submitted it has been told. One that was notified after all goes on.
    """
    untouched = (jobs.c.id == job_id, jobs.c.status == JobStatus.WAITING.value, jobs.c.notified_at.is_(None))
    ended = {
        "status": JobStatus.FAILED.value,
        "completed_at": now,
        "due_at": None,
        "lease_until": None,
        "claims": jobs.c.claims + 1,
        "last_error": error,
    }
    connection.execute(update(jobs).where(*untouched).values(ended))


def leave_waiting(connection: Connection, job_id: str, error: str, due_at: Instant) -> None:
    """Nobody knows whether there is a job: a notification may still say so."""
    waiting = (jobs.c.id == job_id, jobs.c.status == JobStatus.WAITING.value, jobs.c.notified_at.is_(None))
    connection.execute(update(jobs).where(*waiting).values(last_error=error, due_at=due_at))


def send_again(connection: Connection, job_id: str, due_at: Instant) -> Job | None:
    """The job of an earlier try that nothing has come of; None if something has."""
    job = _locked(connection, job_id)
    if job is None or job.status is not JobStatus.WAITING or not _is_untouched(job):
        return None
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(due_at=due_at, last_error=None))
    return job
