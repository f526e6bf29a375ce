"""Settle: what a fetch or a delivery came to, in one transaction, behind the fence.

A fetch that ended writes its result, one delivery per matching subscription, the attempt and the settled job together.
Whoever lost the lease meanwhile gets LOST back and has changed nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, func, update

from relay.clock import Instant
from relay.frozen import frozen
from relay.model import Attempt, Delivery, DeliveryStatus, JobStatus, Result, SubscriptionStatus
from relay.store import attempts as attempt_rows
from relay.store import deliveries as delivery_rows
from relay.store import events, replays
from relay.store import results as result_rows
from relay.store.bulk import Prepared, chunks, insert_ignoring, insert_many, lookup
from relay.store.configuration import bump, held_version
from relay.store.queue import Held, held
from relay.store.schema import (
    deliveries,
    job_keys,
    jobs,
    payload_chunks,
    results,
    spills,
    subscriptions,
)
from relay.store.writer import Operation

Rows = dict[str, Row[Any]]


class Settled(Enum):
    """What a settlement came to."""

    DONE = "done"
    LOST = "lost"  # the lease went to somebody else, or the payload is gone: nothing was written
    STALE = "stale"  # the configuration changed since it was prepared: refresh, prepare again


@frozen(kw_only=True)
class Postponed:
    """No final answer yet: ask again at `due_at` (None = not again unless a notification comes)."""

    due_at: Instant | None
    status: JobStatus
    deadline: Instant
    step: int
    provider_status: str | None
    last_error: str | None


@frozen(kw_only=True)
class Ended:
    """A result, and what goes out because of it."""

    result: Result
    deliveries: tuple[Delivery, ...]
    payload: bytes | None = None  # small enough to be written here; a large one is there already, under payload_id
    provider_status: str | None = None


@frozen(kw_only=True)
class FetchSettlement:
    job_id: str
    claims: int
    notified_at: Instant | None  # as the claim saw it: a notification since then means "fetch now"
    now: Instant
    outcome: Postponed | Ended
    attempt: Attempt | None  # None: nothing was asked (the notification brought the payload)
    config_version: int = 0  # of the subscriptions that `Ended` was matched against
    learnt_keys: tuple[tuple[str, str, str], ...] = ()  # webhook, kind, value
    provider_job_id: str | None = None  # as the answer named the job; kept if it had no name so far
    taken_notification_id: str | None = None  # whose body was the payload: from now on there is more to ask than that
    due_at: Instant | None = None  # as the claim saw it: moved since then means "fetch now" too


def settle_fetches(connection: Connection, items: list[FetchSettlement]) -> list[Settled]:
    """One outcome per item, in order."""
    version = held_version(connection)
    ours = held(connection, jobs, [(item.job_id, item.claims) for item in items])
    gone = _collected(connection, items)
    unsettled = {job_id for job_id, row in ours.items() if (job_id, row.claims) not in gone}
    outcomes = [_standing(item, version, ours, unsettled) for item in items]
    done = [item for item, outcome in zip(items, outcomes, strict=True) if outcome is Settled.DONE]
    _write_ended(connection, [(item, item.outcome) for item in done if isinstance(item.outcome, Ended)], ours)
    _write_postponed(connection, [(item, item.outcome) for item in done if isinstance(item.outcome, Postponed)], ours)
    attempt_rows.insert(connection, [item.attempt for item in done if item.attempt is not None])
    _learn(connection, [(*key, item.job_id) for item in done for key in item.learnt_keys])
    return outcomes


def _collected(connection: Connection, items: Sequence[FetchSettlement]) -> set[Held]:
    """The claims whose large payload was collected before it could be linked: for a node whose clock was far ahead it
    was an orphan. Its job is fetched again. The others' are locked: they stay until they have an owner."""
    large = {payload_id: (item.job_id, item.claims) for item in items if (payload_id := _linked(item)) is not None}
    if not large:
        return set()
    there = lookup(connection, spills, ("payload_id",), "payload_id", sorted(large), lock=True)
    return {large[payload_id] for payload_id in large.keys() - {row[0] for row in there}}


def _linked(item: FetchSettlement) -> str | None:
    """The payload that is in the store already, if there is one."""
    ended = item.outcome
    return ended.result.payload_id if isinstance(ended, Ended) and ended.payload is None else None


def _weight(item: FetchSettlement) -> int:
    return len(item.outcome.payload or b"") if isinstance(item.outcome, Ended) else 0


SETTLE_FETCH: Final[Operation[FetchSettlement, Settled]] = Operation("settle_fetch", settle_fetches, _weight)


def _standing(item: FetchSettlement, version: int, ours: Rows, unsettled: set[str]) -> Settled:
    """`unsettled` are those of ours that no earlier item of this batch has settled."""
    if not _stands(item.job_id, item.claims, ours, unsettled):
        return Settled.LOST
    if isinstance(item.outcome, Ended) and item.config_version != version:
        return Settled.STALE
    unsettled.discard(item.job_id)
    return Settled.DONE


def _stands(row_id: str, claims: int, ours: Rows, unsettled: set[str]) -> bool:
    return row_id in unsettled and ours[row_id].claims == claims


# A newer one that has come meanwhile is still to be taken.
_NOT_TAKEN: Final = func.nullif(
    jobs.c.inline_notification_id, bindparam("taken", type_=jobs.c.inline_notification_id.type)
)

_END_JOB: Final = Prepared(
    update(jobs)
    .where(jobs.c.id == bindparam("job"), jobs.c.claims == bindparam("mine"))
    .values(
        status=bindparam("new_status"),
        result_id=bindparam("result"),
        completed_at=bindparam("at"),
        provider_status=bindparam("provider"),
        attempts=jobs.c.attempts + bindparam("made"),
        due_at=bindparam("due"),
        lease_until=None,
        claims=jobs.c.claims + 1,  # a settlement that was committed but not confirmed cannot be made twice
        last_error=bindparam("error"),
        provider_job_id=func.coalesce(jobs.c.provider_job_id, bindparam("named", type_=jobs.c.provider_job_id.type)),
        inline_notification_id=_NOT_TAKEN,
    )
)


def _write_ended(connection: Connection, items: Sequence[tuple[FetchSettlement, Ended]], ours: Rows) -> None:
    if not items:
        return
    made_results = [result_rows.to_row(ended.result, len(ended.deliveries)) for _, ended in items]
    insert_many(connection, results, result_rows.COLUMNS, made_results)
    small = [(ended.result.payload_id, 0, ended.payload) for _, ended in items if ended.payload is not None]
    insert_many(connection, payload_chunks, ("payload_id", "seq", "data"), small)
    linked = [payload_id for item, _ in items if (payload_id := _linked(item)) is not None]
    for part in chunks(linked, 500):
        connection.execute(delete(spills).where(spills.c.payload_id.in_(part)))
    made = [delivery_rows.to_row(delivery) for _, ended in items for delivery in ended.deliveries]
    insert_many(connection, deliveries, delivery_rows.COLUMNS, made)
    _END_JOB.run(
        connection,
        [
            {
                "job": item.job_id,
                "mine": item.claims,
                "new_status": ended.result.status.value,
                "result": ended.result.id,
                "at": item.now,
                "provider": ended.provider_status,
                "made": 0 if item.attempt is None else 1,
                "error": ended.result.error,
                "due": _due_again(item, ended, ours[item.job_id]),
                "named": item.provider_job_id,
                "taken": item.taken_notification_id,
            }
            for item, ended in items
        ],
    )


def _due_again(item: FetchSettlement, ended: Ended, row: Row[Any]) -> Instant | None:
    """A job that ended without a payload is looked at again if that was wished for while it was being asked for."""
    better = ended.result.status is JobStatus.COMPLETED
    return None if better or not _was_woken(item, row) else item.now


def _was_woken(item: FetchSettlement, row: Row[Any]) -> bool:
    """Whether a notification came meanwhile, or somebody's wish: what was answered may be older than that."""
    wished = item.due_at is not None and row.due_at != item.due_at
    return wished or bool(row.notified_at != item.notified_at)


_POSTPONE: Final = Prepared(
    update(jobs)
    .where(jobs.c.id == bindparam("job"), jobs.c.claims == bindparam("mine"))
    .values(
        status=bindparam("new_status"),
        provider_status=bindparam("provider"),
        attempts=jobs.c.attempts + bindparam("made"),
        due_at=bindparam("due"),
        deadline=func.coalesce(bindparam("until", type_=jobs.c.deadline.type), jobs.c.deadline),
        step=func.coalesce(bindparam("tries", type_=jobs.c.step.type), jobs.c.step),
        lease_until=None,
        claims=jobs.c.claims + 1,
        last_error=bindparam("error"),
        provider_job_id=func.coalesce(jobs.c.provider_job_id, bindparam("named", type_=jobs.c.provider_job_id.type)),
        inline_notification_id=_NOT_TAKEN,
    )
)


def _write_postponed(connection: Connection, items: Sequence[tuple[FetchSettlement, Postponed]], ours: Rows) -> None:
    if items:
        _POSTPONE.run(connection, [_postponed_values(item, step, ours[item.job_id]) for item, step in items])


def _postponed_values(item: FetchSettlement, postponed: Postponed, row: Row[Any]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "job": item.job_id,
        "mine": item.claims,
        "new_status": postponed.status.value,
        "provider": postponed.provider_status,
        "made": 0 if item.attempt is None else 1,
        "due": postponed.due_at,
        "until": postponed.deadline,
        "tries": postponed.step,
        "error": postponed.last_error,
        "named": item.provider_job_id,
        "taken": item.taken_notification_id,
    }
    if _was_woken(item, row):
        values |= {"new_status": row.status, "due": item.now, "until": None, "tries": None}  # ask again by what it said
    return values


def _learn(connection: Connection, keys: Sequence[tuple[str, str, str, str]]) -> None:
    """Add keys that nobody has; one that belongs to another job stays there (two jobs are never merged)."""
    insert = insert_ignoring(connection, job_keys)
    for webhook_id, kind, value, job_id in keys:
        connection.execute(insert, {"webhook_id": webhook_id, "kind": kind, "value": value, "job_id": job_id})


# --- deliveries ------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class DeliverySettlement:
    delivery_id: str
    claims: int
    now: Instant
    status: DeliveryStatus
    due_at: Instant | None  # when to try again; None = settled
    attempt: Attempt | None  # None: it was not tried (its subscription is gone or paused)
    last_error: str | None = None
    disable_subscription: str | None = None  # its id, when the subscriber said 410 or did nothing but fail for days
    disable_reason: str | None = None
    budget_from: int | None = None  # as the claim saw it: a fresh budget granted since then is not exhausted


def settle_deliveries(connection: Connection, items: list[DeliverySettlement]) -> list[Settled]:
    """One outcome per item, in order."""
    ours = held(connection, deliveries, [(item.delivery_id, item.claims) for item in items])
    unsettled = set(ours)
    outcomes: list[Settled] = []
    done: list[DeliverySettlement] = []
    for item in items:
        stands = _stands(item.delivery_id, item.claims, ours, unsettled)
        outcomes.append(Settled.DONE if stands else Settled.LOST)
        if stands:
            unsettled.discard(item.delivery_id)
            done.append(_with_fresh_budget(item, ours[item.delivery_id]))
    if done:
        for item in done:  # before the counts of replays: who plans one locks the configuration first, too
            if item.disable_subscription is not None:
                asked_at = item.now if item.attempt is None else item.attempt.started_at
                _disable(connection, item.disable_subscription, item.disable_reason, asked_at, item.now)
        held_off = replays.settled(connection, [(ours[item.delivery_id].replay_id, item.status) for item in done])
        values = [_delivery_values(item, ours[item.delivery_id], held_off) for item in done]
        _SETTLE_DELIVERY.run(connection, values)
        attempt_rows.insert(connection, [item.attempt for item in done if item.attempt is not None])
    return outcomes


SETTLE_DELIVERY: Final[Operation[DeliverySettlement, Settled]] = Operation("settle_delivery", settle_deliveries)

_SETTLE_DELIVERY: Final = Prepared(
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery"), deliveries.c.claims == bindparam("mine"))
    .values(
        status=bindparam("new_status"),
        attempts=deliveries.c.attempts + bindparam("made"),
        settled_at=bindparam("at"),
        http_status=bindparam("answer"),
        due_at=bindparam("due"),
        lease_until=None,
        claims=deliveries.c.claims + 1,
        last_error=bindparam("error"),
    )
)


def _with_fresh_budget(item: DeliverySettlement, row: Row[Any]) -> DeliverySettlement:
    """Somebody asked for a retry while the last attempt of the old budget was under way: that is for the next one."""
    fresh = item.budget_from is not None and item.budget_from != row.budget_from
    if not fresh or item.status is not DeliveryStatus.EXHAUSTED:
        return item
    return replace(item, status=DeliveryStatus.PENDING, due_at=item.now)


def _delivery_values(item: DeliverySettlement, row: Row[Any], held_off: Collection[str]) -> dict[str, Any]:
    due_at = item.due_at
    if due_at is not None and row.replay_id in held_off:
        due_at = Instant(due_at + replays.HELD_MILLISECONDS)
    return {
        "delivery": item.delivery_id,
        "mine": item.claims,
        "new_status": item.status.value,
        "made": 0 if item.attempt is None else 1,
        "at": item.now if item.status is not DeliveryStatus.PENDING else None,
        "answer": row.http_status if item.attempt is None else item.attempt.http_status,
        "due": due_at,
        "error": item.last_error,
    }


def _disable(connection: Connection, subscription_id: str, reason: str | None, asked_at: Instant, now: Instant) -> None:
    enabled = (subscriptions.c.id == subscription_id, subscriptions.c.status != SubscriptionStatus.DISABLED.value)
    change = (
        update(subscriptions)
        .where(*enabled, subscriptions.c.updated_at <= asked_at)  # since then it may have another URL
        .values(status=SubscriptionStatus.DISABLED.value, status_reason=reason, updated_at=now)
    )
    if connection.execute(change).rowcount:
        bump(connection)
        events.disabled(connection, subscription_id, reason, now)
