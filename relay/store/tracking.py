"""Jobs that somebody follows: made or found by what they are known by, and made due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection, case, or_, select, update
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

ELSEWHERE: Final = "job_of_another_webhook"
CONFLICT: Final = "keys_of_two_jobs"


@frozen()
class Followed:
    """The job, and whether it is new; or why it cannot be followed."""

    job: Job | None
    created: bool = False
    refused: str | None = None


def follow(connection: Connection, job: Job, keys: Sequence[Key], siblings: Sequence[str]) -> Followed:
    """Find the job by any of `keys`, or make it as given. `siblings` are the other webhooks of the account.

    Raises Conflict when another node makes the same job at the same moment: try again and find it.
    """
    named = or_(*((job_keys.c.kind == kind) & (job_keys.c.value == value) for kind, value in keys))
    if siblings:
        mine_elsewhere = select(jobs.c.id).where(
            jobs.c.tracked,
            jobs.c.id.in_(select(job_keys.c.job_id).where(job_keys.c.webhook_id.in_(siblings), named)),
        )
        if connection.execute(mine_elsewhere.limit(1)).first() is not None:
            return Followed(None, refused=ELSEWHERE)
    known = select(job_keys.c.kind, job_keys.c.value, job_keys.c.job_id).where(
        job_keys.c.webhook_id == job.webhook_id, named
    )
    found = list(connection.execute(known))
    if len({row.job_id for row in found}) > 1:
        return Followed(None, refused=CONFLICT)
    if found:
        followed = _follow_known(connection, found[0].job_id, job)
    else:
        followed = job
        insert_many(connection, jobs, job_rows.COLUMNS, [job_rows.to_row(job)])
    new = [key for key in keys if key not in {(row.kind, row.value) for row in found}]
    rows = [(job.webhook_id, kind, value, followed.id) for kind, value in new]
    try:
        insert_many(connection, job_keys, ("webhook_id", "kind", "value", "job_id"), rows)
    except IntegrityError as error:
        raise Conflict("provider_job_id", "another node makes the same job just now") from error
    return Followed(followed, created=not found)


def _follow_known(connection: Connection, job_id: str, given: Job) -> Job:
    row = connection.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).first()
    if row is None:
        # its keys are gone with it: the next try makes the job anew
        raise Conflict("provider_job_id", "the job was deleted just now")
    known = job_rows.read(row)
    followed = replace(
        known,
        tracked=True,
        response_url=known.response_url or given.response_url,
        provider_job_id=known.provider_job_id or given.provider_job_id,
        metadata={**given.metadata, **known.metadata},
    )
    if _can_be_asked_now(known, followed) and given.due_at is not None:
        followed = replace(followed, due_at=min(known.due_at or given.due_at, given.due_at))
        if known.lease_until is not None and known.lease_until > given.created_at:  # who has it does not know that yet
            followed = replace(followed, due_at=_moved(known.due_at, given.created_at))
    changed = {
        "tracked": True,
        "response_url": followed.response_url,
        "provider_job_id": followed.provider_job_id,
        "metadata": dump(followed.metadata),
        "due_at": followed.due_at,
    }
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(changed))
    return followed


def _moved(due_at: Instant | None, now: Instant) -> Instant:
    """Due now, and not as before: whoever has the job is to see that."""
    return now if due_at != now else Instant(now - 1)


def _can_be_asked_now(before: Job, now: Job) -> bool:
    """Whether the caller brought what a job needs that waited for something to ask by."""
    learnt = (before.response_url, before.provider_job_id) != (now.response_url, now.provider_job_id)
    return learnt and not before.status.is_final


def make_due(connection: Connection, job_id: str, now: Instant) -> Job | None:
    """Have a job fetched now, unless it is completed. Whoever works on it keeps its claim and comes back at once.

    That one sees `due_at` moved when settling, for what it is being answered may be older than the wish.
    """
    wanted = (jobs.c.id == job_id, jobs.c.status != JobStatus.COMPLETED.value)
    due_at = case((jobs.c.due_at == now, Instant(now - 1)), else_=now)
    connection.execute(update(jobs).where(*wanted).values(due_at=due_at))
    return job_rows.get(connection, job_id)


def make_all_due(connection: Connection, webhook_id: str, now: Instant) -> int:
    """Have every waiting job of a webhook fetched now; how many that moved."""
    wanted = (jobs.c.webhook_id == webhook_id, jobs.c.due_at > now)
    return connection.execute(update(jobs).where(*wanted).values(due_at=now, step=0)).rowcount


def ask_by(connection: Connection, job_id: str, due_at: Instant) -> Job | None:
    """Have an unfinished job asked for at `due_at` at the latest."""
    ended = [status.value for status in JobStatus if status.is_final]
    wanted = (jobs.c.id == job_id, jobs.c.status.not_in(ended), or_(jobs.c.due_at.is_(None), jobs.c.due_at > due_at))
    connection.execute(update(jobs).where(*wanted).values(due_at=due_at))
    return job_rows.get(connection, job_id)


def take(connection: Connection, job_id: str, lease_until: Instant) -> Job | None:
    """Claim an unfinished job from whoever works on it; one that has ended is left as it is."""
    job = _locked(connection, job_id)
    return job if job is None or job.status.is_final else _taken(connection, job, lease_until)


def take_for_result(connection: Connection, job_id: str, lease_until: Instant) -> Job | None:
    """Claim a job from whoever works on it, for a completed result that is at hand; None when it has one already, or
    was cancelled, or is gone. What it ended as without one, a completed result supersedes."""
    job = _locked(connection, job_id)
    if job is None or job.status in (JobStatus.COMPLETED, JobStatus.CANCELLED):
        return None
    return _taken(connection, job, lease_until)


def _locked(connection: Connection, job_id: str) -> Job | None:
    row = connection.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).first()
    return None if row is None else job_rows.read(row)


def _taken(connection: Connection, job: Job, lease_until: Instant) -> Job:
    claim = {"claims": job.claims + 1, "lease_until": lease_until}
    connection.execute(update(jobs).where(jobs.c.id == job.id).values(claim))
    return replace(job, claims=job.claims + 1, lease_until=lease_until)
