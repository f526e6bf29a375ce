"""Accept: notification + job + the keys it can be found by, one transaction, before the provider gets its 2xx.

Many notifications share a transaction. They are decided one after the other against what the database holds and what
the earlier ones of the batch have just made, then everything is written with a few statements.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import Connection, delete, select, update

from relay.clock import Instant
from relay.errors import NotFound
from relay.frozen import frozen
from relay.ids import ID_LENGTH
from relay.model import Job, JobStatus, Notification, NotificationStatus
from relay.store import jobs as job_rows
from relay.store import rejected
from relay.store.bulk import chunks, insert_many, lookup
from relay.store.configuration import current_version
from relay.store.rows import dump
from relay.store.schema import job_keys, jobs, notifications, spills
from relay.store.writer import Operation

Key = tuple[str, str]  # kind (id | url | ref), value

JOB_CONFLICT: Final = "keys_of_two_jobs"
FOREIGN_JOB: Final = "job_of_another_webhook"
UNTRACKED: Final = "untracked_job"
_NO_JOB: Final[Set[str]] = frozenset()


@frozen(kw_only=True)
class Accept:
    """One notification as it was read, and what it would make or change."""

    config_version: int
    notification: Notification
    body: bytes | None
    payload_id: str | None = None  # of a body that is already stored in chunks
    headers_sealed: bytes | None = None
    body_sealed: bool = False
    dedupe_key: bytes | None = None
    about_one_job: bool = False  # whatever has this `dedupe_key` has these `keys`, so it is about the same job
    keys: tuple[Key, ...] = ()  # empty: about no job (ignored, unprocessable, rejected)
    job_id: str | None = None  # from the callback token; kept with a notification that comes to nothing, too
    new_job: Job | None = None  # inserted if no key is known; None = only tracked jobs are taken
    changes: Job | None = None  # what the notification says of the job, for one that is known already
    inline: bool = False  # the body is the payload, if the job has nothing to fetch
    ended_badly: bool = False  # the body says so: it does not take the place of another that nobody has read yet
    keeps_deadline: bool = False  # a known job's: what the provider drops it by began before this notification
    sibling_ids: tuple[str, ...] = ()  # other webhooks on the same provider account
    stored_before: bool = False  # a reprocessed one: its row is there


@frozen(kw_only=True)
class Accepted:
    """What became of it. `job` is set when this transaction made or woke it."""

    status: NotificationStatus
    notification_id: str
    job_id: str | None = None
    reason: str | None = None
    job: Job | None = None


class Stale:
    """The configuration changed since the item was prepared: refresh, prepare again."""


STALE: Final = Stale()


def accept(connection: Connection, items: list[Accept]) -> list[Accepted | Stale]:
    """One outcome per item, in order."""
    version = current_version(connection)
    current = [item for item in items if item.config_version == version]
    batch = _Batch(connection, current)
    rejected.make_room(connection, [item.notification for item in current if not item.stored_before])
    outcomes: list[Accepted | Stale] = []
    for item in items:
        outcomes.append(batch.decide(item) if item.config_version == version else STALE)
    batch.flush()
    return outcomes


def _weight(item: Accept) -> int:
    return 0 if item.body is None else len(item.body)


ACCEPT: Final[Operation[Accept, Accepted | Stale]] = Operation("accept", accept, _weight, inserts_last=True)


@dataclass(slots=True)
class _Batch:
    connection: Connection
    items: list[Accept]
    seen: dict[bytes, tuple[str, str | None]] = field(default_factory=dict)  # stored dedupe key -> notification, job
    known: dict[tuple[str, str, str], str] = field(default_factory=dict)  # webhook, kind, value -> job
    jobs: dict[str, Job] = field(default_factory=dict)
    new_notifications: list[tuple[Any, ...]] = field(default_factory=list)
    new_jobs: dict[str, Job] = field(default_factory=dict)
    new_keys: list[tuple[str, str, str, str]] = field(default_factory=list)
    woken: dict[str, Job] = field(default_factory=dict)
    linked: list[str] = field(default_factory=list)  # payloads that have an owner now

    def __post_init__(self) -> None:
        self._read_keys()
        self._read_jobs()
        self._read_duplicates()

    def _read_duplicates(self) -> None:
        wanted = [item.dedupe_key for item in self.items if item.dedupe_key is not None]
        if self.jobs:
            for item in self.items:
                if item.dedupe_key is not None and item.about_one_job:
                    wanted += [within_job(item.dedupe_key, job_id) for job_id in self._matches(item)]
        columns = ("dedupe_key", "id", "job_id")
        for key, notification_id, job_id in lookup(self.connection, notifications, columns, "dedupe_key", wanted):
            self.seen[bytes(key)] = (notification_id, job_id)

    def _read_keys(self) -> None:
        wanted: dict[tuple[str, str], set[str]] = {}
        for item in self.items:
            for kind, value in item.keys:
                for webhook_id in (item.notification.webhook_id, *item.sibling_ids):
                    wanted.setdefault((webhook_id, kind), set()).add(value)
        for (webhook_id, kind), values in wanted.items():
            where = {"webhook_id": webhook_id, "kind": kind}
            found = lookup(self.connection, job_keys, ("value", "job_id"), "value", sorted(values), where)
            for value, job_id in found:
                self.known[(webhook_id, kind, value)] = job_id

    def _read_jobs(self) -> None:
        wanted = set(self.known.values()) | {item.job_id for item in self.items if item.job_id is not None}
        for part in chunks(sorted(wanted), 500):
            query = select(jobs).where(jobs.c.id.in_(part)).order_by(jobs.c.id).with_for_update()
            for row in self.connection.execute(query):
                self.jobs[row.id] = job_rows.read(row)
        # a job that was deleted between the two looks took its keys along
        self.known = {key: job_id for key, job_id in self.known.items() if job_id in self.jobs}

    # --- deciding ---

    def decide(self, item: Accept) -> Accepted:
        matches = self._matches(item)
        first = self._first_of(item, matches)
        if first is not None and first[0] != item.notification.id:
            return Accepted(status=NotificationStatus.DUPLICATE, notification_id=first[0], job_id=first[1])
        outcome = self._outcome(item, matches)
        self._keep_notification(item, outcome)
        return outcome

    def _first_of(self, item: Accept, matches: Set[str]) -> tuple[str, str | None] | None:
        """Notification and job of an earlier copy, which was about one of `matches` or about no job."""
        key = item.dedupe_key
        if key is None:
            return None
        first = self.seen.get(key)
        if first is None and item.about_one_job:
            for job_id in matches:
                first = first or self.seen.get(within_job(key, job_id))
        return first

    def _outcome(self, item: Accept, matches: Set[str]) -> Accepted:
        given = item.notification
        if given.status is not NotificationStatus.ACCEPTED:  # nothing comes of it
            return Accepted(status=given.status, notification_id=given.id, reason=given.reason)
        if self._belongs_to_sibling(item):
            return self._unprocessable(item, FOREIGN_JOB)
        if len(matches) > 1:
            return self._unprocessable(item, JOB_CONFLICT)
        if matches:
            return self._wake(item, self.jobs[next(iter(matches))])
        if item.new_job is None:
            return Accepted(status=NotificationStatus.IGNORED, notification_id=given.id, reason=UNTRACKED)
        return self._make(item, item.new_job)

    def _unprocessable(self, item: Accept, reason: str) -> Accepted:
        return Accepted(status=NotificationStatus.UNPROCESSABLE, notification_id=item.notification.id, reason=reason)

    def _belongs_to_sibling(self, item: Accept) -> bool:
        if not self.known:
            return False
        for webhook_id in item.sibling_ids:
            for kind, value in item.keys:
                job_id = self.known.get((webhook_id, kind, value))
                if job_id is not None and job_id in self.jobs and self.jobs[job_id].tracked:
                    return True
        return False

    def _matches(self, item: Accept) -> Set[str]:
        """The jobs that it names."""
        if not self.jobs:
            return _NO_JOB
        webhook_id, matches = item.notification.webhook_id, set[str]()
        for kind, value in item.keys:
            job_id = self.known.get((webhook_id, kind, value))
            if job_id is not None:
                matches.add(job_id)
        if item.job_id is not None and item.job_id in self.jobs:
            matches.add(item.job_id)
        return matches

    def _make(self, item: Accept, job: Job) -> Accepted:
        if item.inline and job.response_url is None:
            job = replace(job, inline_notification_id=item.notification.id)
        self.jobs[job.id] = self.new_jobs[job.id] = job
        self._learn(item, job.id)
        return self._accepted(item, job.id, job)

    def _wake(self, item: Accept, job: Job) -> Accepted:
        self._learn(item, job.id)
        if job.status is JobStatus.COMPLETED:
            return self._accepted(item, job.id, None)
        woken = woken_job(job, item)
        self.jobs[job.id] = woken
        if job.id in self.new_jobs:
            self.new_jobs[job.id] = woken
        else:
            self.woken[job.id] = woken
        return self._accepted(item, job.id, woken)

    def _accepted(self, item: Accept, job_id: str, job: Job | None) -> Accepted:
        return Accepted(
            status=NotificationStatus.ACCEPTED, notification_id=item.notification.id, job_id=job_id, job=job
        )

    def _learn(self, item: Accept, job_id: str) -> None:
        webhook_id = item.notification.webhook_id
        for kind, value in item.keys:
            key = (webhook_id, kind, value)
            if key not in self.known:
                self.known[key] = job_id
                self.new_keys.append((webhook_id, kind, value, job_id))

    def _keep_notification(self, item: Accept, outcome: Accepted) -> None:
        given = item.notification
        job_id = outcome.job_id or (item.job_id if item.job_id in self.jobs else None)
        key = stored_dedupe_key(item, job_id)
        if key is not None:
            self.seen[key] = (given.id, job_id)
        if item.stored_before:
            self._update_notification(item, outcome, job_id, key)
            return
        self.new_notifications.append(notification_row(item, outcome, job_id, key))
        if item.payload_id is not None:
            self.linked.append(item.payload_id)

    def _update_notification(self, item: Accept, outcome: Accepted, job_id: str | None, key: bytes | None) -> None:
        mine = update(notifications).where(notifications.c.id == item.notification.id)
        changed: dict[str, Any] = {"status": outcome.status, "reason": outcome.reason, "job_id": job_id}
        if key is not None:
            changed["dedupe_key"] = key
        self.connection.execute(mine.values(changed))
        if not item.body_sealed:  # it verified after all: from now on it is read like any other
            opened = {"body": item.body, "body_sealed": False, "headers_sealed": None}
            self.connection.execute(mine.where(notifications.c.body_sealed).values(opened))

    # --- writing ---

    def flush(self) -> None:
        insert_many(self.connection, notifications, NOTIFICATION_COLUMNS, self.new_notifications)
        for part in chunks(self.linked, 500):
            linked = self.connection.execute(delete(spills).where(spills.c.payload_id.in_(part))).rowcount
            if linked != len(part):  # for a node whose clock is far ahead it was an orphan
                raise NotFound("a body was collected before it could be linked")
        insert_many(self.connection, jobs, job_rows.COLUMNS, [job_rows.to_row(job) for job in self.new_jobs.values()])
        insert_many(self.connection, job_keys, ("webhook_id", "kind", "value", "job_id"), self.new_keys)
        for job in self.woken.values():
            self.connection.execute(update(jobs).where(jobs.c.id == job.id).values(wake_values(job)))


def woken_job(job: Job, item: Accept) -> Job:
    """The job after another notification for it.

    If it is not final it is fetched now; if it failed, expired or was cancelled it is looked at again, and keeps its
    state until something better is fetched.
    """
    template = item.changes
    now: Instant = item.notification.received_at
    inline = item.inline and job.response_url is None
    if item.ended_badly and job.inline_notification_id is not None and (job.lease_until or 0) <= now:
        inline = False
    return replace(
        job,
        status=job.status if job.status.is_final else JobStatus.FETCHING,
        response_url=job.response_url or (template.response_url if template else None),
        provider_job_id=job.provider_job_id or (template.provider_job_id if template else None),
        inline_notification_id=item.notification.id if inline else job.inline_notification_id,
        result_path=job.result_path or (template.result_path if template else None),
        notified_at=now,
        deadline=template.deadline if template and not item.keeps_deadline else job.deadline,
        give_up_at=max(job.give_up_at, template.give_up_at) if template else job.give_up_at,
        due_at=now,
        step=0,
    )


def wake_values(job: Job) -> dict[str, Any]:
    """What a notification changes. Not the lease: whoever fetches right now sees `notified_at` moved when settling."""
    return {
        "status": job.status,
        "response_url": job.response_url,
        "provider_job_id": job.provider_job_id,
        "inline_notification_id": job.inline_notification_id,
        "result_path": job.result_path,
        "notified_at": job.notified_at,
        "deadline": job.deadline,
        "give_up_at": job.give_up_at,
        "due_at": job.due_at,
        "step": job.step,
    }


NOTIFICATION_COLUMNS: Final = (
    "id", "webhook_id", "job_id", "status", "reason", "dedupe_key", "method", "suffix", "query", "content_type",
    "headers", "headers_sealed", "body", "body_sealed", "body_size", "payload_id", "received_at",
)  # fmt: skip


def within_job(dedupe_key: bytes, job_id: str) -> bytes:
    """A dedupe key as it is stored with a job.

    Hashes lie anywhere in their index, so each would cost a page of its own in every transaction: nearly half of all
    that is synced. Ids of jobs grow with time, so keys that begin with them share the index's last pages.
    """
    return bytes.fromhex(job_id[-ID_LENGTH:]) + dedupe_key


def stored_dedupe_key(item: Accept, job_id: str | None) -> bytes | None:
    """By what copies of a notification are recognised that came to this job, or to none."""
    key = item.dedupe_key
    return within_job(key, job_id) if key is not None and job_id is not None and item.about_one_job else key


def notification_row(item: Accept, outcome: Accepted, job_id: str | None, dedupe_key: bytes | None) -> tuple[Any, ...]:
    """The row of a new notification, in the order of NOTIFICATION_COLUMNS."""
    given = item.notification
    return (
        given.id, given.webhook_id, job_id, str(outcome.status), outcome.reason, dedupe_key,
        given.method, given.suffix, given.query, given.content_type, dump(dict(given.headers)), item.headers_sealed,
        item.body, item.body_sealed, given.body_size, item.payload_id, given.received_at,
    )  # fmt: skip
