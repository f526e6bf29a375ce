"""Jobs: reading them, and finding one by what a notification or a caller can name it by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, select

from relay.model import JOB, Job, JobStatus
from relay.store.rows import Connection, Page, Row, Window, dump, in_states, load, newest_of, one, page_of_states
from relay.store.schema import job_keys, jobs, webhooks

USUAL: Final = (JobStatus.COMPLETED, JobStatus.FETCHING)  # what `ix_jobs_odd` leaves out


def get(conn: Connection, id: str) -> Job | None:
    """One job."""
    return one(conn, select(jobs).where(jobs.c.id == id), read)


def find_by_key(conn: Connection, webhook_id: str, kind: str, value: str) -> Job | None:
    """The job of this webhook that is known by `value`; `kind` is id, url or ref."""
    key = select(job_keys.c.job_id).where(
        job_keys.c.webhook_id == webhook_id, job_keys.c.kind == kind, job_keys.c.value == value
    )
    return one(conn, select(jobs).where(jobs.c.id == key.scalar_subquery()), read)


def page(
    conn: Connection,
    *,
    webhook_id: str | None = None,
    status: Sequence[JobStatus] = (),
    provider_job_id: str | None = None,
    window: Window | None = None,
) -> Page[Job]:
    """Newest first; `status` names the states that are wanted, none meaning all."""
    where: list[ColumnElement[bool]] = []
    if webhook_id is not None:
        where.append(jobs.c.webhook_id == webhook_id)
    if provider_job_id is not None:
        where.append(jobs.c.id.in_(list(conn.execute(_known_as(provider_job_id, webhook_id)).scalars())))
    window = window or Window()
    states = in_states(jobs.c.status, status, USUAL)
    if JobStatus.FETCHING in status and provider_job_id is None:  # else its few ids serve, newest or not
        fetching = states[list(dict.fromkeys(status)).index(JobStatus.FETCHING)]
        due = select(jobs.c.id, jobs.c.webhook_id, jobs.c.status).where(jobs.c.due_at.is_not(None))  # all of them are
        equal = {"webhook_id": webhook_id, "status": JobStatus.FETCHING.value}
        fetching.append(jobs.c.id.in_(newest_of(due, JOB, window, equal)))
    return page_of_states(conn, jobs, JOB, window, where, states, read)


def _known_as(provider_job_id: str, webhook_id: str | None) -> Select[str]:
    """Job ids by a provider's id. Without a webhook it asks for each one in turn: the key begins with it."""
    owners = select(webhooks.c.id) if webhook_id is None else [webhook_id]
    return select(job_keys.c.job_id).where(
        job_keys.c.webhook_id.in_(owners), job_keys.c.kind == "id", job_keys.c.value == provider_job_id
    )


def read(row: Row) -> Job:
    """A row of `jobs` as a Job."""
    return Job(
        id=row.id,
        webhook_id=row.webhook_id,
        provider_job_id=row.provider_job_id,
        response_url=row.response_url,
        status=JobStatus(row.status),
        provider_status=row.provider_status,
        metadata=load(row.metadata),
        deadline=row.deadline,
        give_up_at=row.give_up_at,
        created_at=row.created_at,
        notified_at=row.notified_at,
        completed_at=row.completed_at,
        result_id=row.result_id,
        inline_notification_id=row.inline_notification_id,
        attempts=row.attempts,
        step=row.step,
        tracked=bool(row.tracked),
        due_at=row.due_at,
        lease_until=row.lease_until,
        claims=row.claims,
        last_error=row.last_error,
        submitted=bool(row.submitted),
        result_path=row.result_path,
        status_url=row.status_url,
        cancel_url=row.cancel_url,
    )


COLUMNS: Final = (
    "id", "webhook_id", "provider_job_id", "response_url", "status", "provider_status", "metadata", "deadline",
    "give_up_at", "created_at", "notified_at", "completed_at", "result_id", "inline_notification_id", "tracked",
    "attempts", "step", "due_at", "lease_until", "claims", "last_error",
    "submitted", "result_path", "status_url", "cancel_url",
)  # fmt: skip


def to_row(job: Job) -> tuple[Any, ...]:
    """A Job as a row of `jobs`, in the order of COLUMNS."""
    return (
        job.id, job.webhook_id, job.provider_job_id, job.response_url, str(job.status), job.provider_status,
        dump(job.metadata), job.deadline, job.give_up_at, job.created_at, job.notified_at, job.completed_at,
        job.result_id, job.inline_notification_id, job.tracked, job.attempts, job.step, job.due_at, job.lease_until,
        job.claims, job.last_error, job.submitted, job.result_path, job.status_url, job.cancel_url,
    )  # fmt: skip
