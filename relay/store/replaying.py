"""Replays: which stored results are meant, and planning their new deliveries page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from relay.clock import Instant
from relay.frozen import frozen
from relay.ids import lowest_id
from relay.model import DELIVERY, JOB, RESULT, Delivery, DeliveryStatus, Replay, ReplayStatus, Result
from relay.store import deliveries as delivery_rows
from relay.store import replays as replay_rows
from relay.store import results as result_rows
from relay.store.bulk import insert_many
from relay.store.configuration import held_version
from relay.store.schema import deliveries, jobs, replays, results
from relay.store.writer import Operation

PAGE: Final = 200
ROW_BYTES: Final = 2048  # what a planned delivery counts as: some 250 are quick enough for the event loop's own thread
LOOK_AT: Final = 1000  # results that one look goes through, however few of them are wanted

ABOUT_DELIVERIES: Final = ("delivery_status", "http_status", "delivery_created_after", "delivery_created_before")


class Standing(NamedTuple):
    """How a delivery stands."""

    status: DeliveryStatus
    http_status: int | None  # of its latest attempt
    id: str


@frozen()
class Candidates:
    """A page of results, and what the subscriptions asked about have of them already."""

    results: list[Result]
    standings: Mapping[tuple[str, str], list[Standing]]  # result, subscription
    looked_to: str  # everything up to this id has been looked at
    is_last: bool


def conditions(filter: Mapping[str, Any], subscription_ids: Sequence[str], own: str) -> list[ColumnElement[bool]]:
    """The filter of a replay, as the contract has it, over `results`, but for its webhook and times."""
    column = results.c
    wanted: list[ColumnElement[bool]] = []
    if (result_ids := filter.get("result_ids")) is not None:
        wanted.append(column.id.in_(list(result_ids)))
    if (types := filter.get("types")) is not None:
        wanted.append(column.status.in_([name.removeprefix("result.") for name in types]))
    if (statuses := filter.get("job_status")) is not None:
        ended = (jobs.c.id == column.job_id, jobs.c.result_id == column.id, jobs.c.status.in_(list(statuses)))
        wanted.append(select(jobs.c.id).where(*ended).exists())
    wanted += _made(column.job_id, JOB, filter.get("job_created_after"), filter.get("job_created_before"))
    if any(filter.get(name) is not None for name in ABOUT_DELIVERIES):
        mine = (deliveries.c.result_id == column.id, deliveries.c.subscription_id.in_(list(subscription_ids)))
        wanted.append(select(deliveries.c.id).where(*mine, *_not_of(own), *_standing(filter)).exists())
    return wanted


def _standing(filter: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    column = deliveries.c
    wanted = _made(column.id, DELIVERY, filter.get("delivery_created_after"), filter.get("delivery_created_before"))
    if (statuses := filter.get("delivery_status")) is not None:
        wanted.append(column.status.in_(list(statuses)))
    if (answers := filter.get("http_status")) is not None:
        wanted.append(column.http_status.in_(list(answers)))
    return wanted


def _made(
    id: ColumnElement[str], prefix: str, after: Instant | None, before: Instant | None
) -> list[ColumnElement[bool]]:
    """That the row with this id was made in this time."""
    earliest = [] if after is None else [id >= lowest_id(prefix, after)]
    return earliest if before is None else [*earliest, id < lowest_id(prefix, before)]


def _place(filter: Mapping[str, Any], after_id: str | None, upper_id: str) -> list[ColumnElement[bool]]:
    """Where in `results` to look: what an index answers by itself. Times are Instants."""
    column = results.c
    place = [column.id <= upper_id]
    if (webhook_id := filter.get("webhook_id")) is not None:
        place.append(column.webhook_id == webhook_id)
    if (created_before := filter.get("created_before")) is not None:
        place.append(column.id < lowest_id(RESULT, created_before))
    if after_id is not None:
        place.append(column.id > after_id)
    elif (created_after := filter.get("created_after")) is not None:
        place.append(column.id >= lowest_id(RESULT, created_after))
    return place


def candidates(
    connection: Connection,
    filter: Mapping[str, Any],
    subscription_ids: Sequence[str],
    *,
    after_id: str | None,
    upper_id: str,
    limit: int = PAGE,
    own: str = "",
    standings: bool = True,
) -> Candidates:
    """The next results after `after_id`, oldest first: at most `limit`, out of so many that a look is never long.

    Deliveries of the replay `own` count as not made. How deliveries stand is looked at only where it matters.
    """
    column = results.c
    place = _place(filter, after_id, upper_id)
    end = None
    if filter.get("result_ids") is None:
        far = select(column.id).where(*place).order_by(column.id).limit(1).offset(LOOK_AT - 1)
        end = connection.execute(far).scalar()
    bound = [] if end is None else [column.id <= end]
    query = select(results).where(*place, *bound, *conditions(filter, subscription_ids, own))
    found = [result_rows.read(row) for row in connection.execute(query.order_by(column.id).limit(limit))]
    full = len(found) == limit
    looked_to = found[-1].id if full else end or upper_id
    stand = _standings(connection, found, subscription_ids, own) if standings else {}
    return Candidates(found, stand, looked_to, end is None and not full)


def _standings(
    connection: Connection, found: Sequence[Result], subscription_ids: Sequence[str], own: str
) -> dict[tuple[str, str], list[Standing]]:
    standings: dict[tuple[str, str], list[Standing]] = {}
    if found:
        column = deliveries.c
        wanted = (column.result_id, column.subscription_id, column.status, column.http_status, column.id)
        had = select(*wanted).where(
            column.result_id.in_([result.id for result in found]),
            column.subscription_id.in_(list(subscription_ids)),
            *_not_of(own),
        )
        for row in connection.execute(had):
            standing = Standing(DeliveryStatus(row.status), row.http_status, row.id)
            standings.setdefault((row.result_id, row.subscription_id), []).append(standing)
    return standings


def _not_of(replay_id: str) -> list[ColumnElement[bool]]:
    return [deliveries.c.replay_id != replay_id] if replay_id else []


def due_counts(connection: Connection, subscription_ids: Sequence[str], now: Instant, most: int) -> Iterator[int]:
    """How many deliveries of each subscription are due (or under way), counted up to `most`."""
    for subscription_id in subscription_ids:
        waiting = select(deliveries.c.id).where(
            deliveries.c.subscription_id == subscription_id, deliveries.c.due_at <= now
        )
        yield connection.execute(select(func.count()).select_from(waiting.limit(most).subquery())).scalar() or 0


def locked(connection: Connection, replay_id: str) -> Replay | None:
    """A replay that nobody else plans while this transaction is open."""
    row = connection.execute(select(replays).where(replays.c.id == replay_id).with_for_update()).first()
    return None if row is None else replay_rows.read(row)


@frozen(kw_only=True)
class Advance:
    """A page's deliveries, and where the replay stands after it."""

    replay: Replay
    page: Candidates
    new: Sequence[Delivery]
    config_version: int
    next_due_at: Instant | None


def advance(connection: Connection, items: list[Advance]) -> list[bool]:
    """Insert each page's deliveries and move on, together. False: the configuration changed, nothing was done.

    A page that another process has planned meanwhile, or one of a replay that does not run any more, is left out.
    """
    return [_advance(connection, item) for item in items]


def _advance(connection: Connection, item: Advance) -> bool:
    replay, page = item.replay, item.page
    if held_version(connection) != item.config_version:
        return False
    now = locked(connection, replay.id)
    if now is None or now.status is not ReplayStatus.RUNNING or now.planned or now.cursor != replay.cursor:
        return True
    insert_many(connection, deliveries, delivery_rows.COLUMNS, [delivery_rows.to_row(new) for new in item.new])
    values: dict[str, Any] = {
        "total": replays.c.total + len(item.new),
        "planned": page.is_last,
        "cursor": page.looked_to,
        "next_due_at": item.next_due_at if now.rate_per_second == replay.rate_per_second else None,
    }
    connection.execute(update(replays).where(replays.c.id == replay.id).values(values))
    return True


# An operation, so that a page that is not large goes quickly with what is live, not on a thread that has to win the
# interpreter for each statement: everything that shared its transaction took 20 ms.
ADVANCE: Final[Operation[Advance, bool]] = Operation("advance", advance, lambda item: len(item.new) * ROW_BYTES)


def living(connection: Connection) -> list[Replay]:
    """Replays that are not over, and cancelled ones of which something may still be pending; oldest first."""
    left = and_(replays.c.total > replays.c.delivered + replays.c.failed, replays.c.next_due_at.is_(None))
    cancelled = and_(replays.c.status == ReplayStatus.CANCELLED.value, left)
    query = select(replays).where(or_(replays.c.status.in_(replay_rows.LIVING), cancelled)).order_by(replays.c.id)
    return [replay_rows.read(row) for row in connection.execute(query)]


def is_over(connection: Connection) -> bool:
    """Whether there is something for `finish` to do."""
    return connection.execute(select(replays.c.id).where(*_over()).limit(1)).first() is not None


def finish(connection: Connection, now: Instant) -> int:
    """Mark as done what is planned and has nothing pending; how many."""
    done = {"status": ReplayStatus.DONE.value, "finished_at": now}
    return connection.execute(update(replays).where(*_over()).values(done)).rowcount


def _over() -> list[ColumnElement[bool]]:
    pending = select(deliveries.c.id).where(
        deliveries.c.replay_id == replays.c.id,
        deliveries.c.replay_id != "",
        deliveries.c.status == DeliveryStatus.PENDING.value,
    )
    return [replays.c.status == ReplayStatus.RUNNING.value, replays.c.planned, ~pending.exists()]


def expect(connection: Connection, replay_id: str, count: int) -> None:
    """Keep how many deliveries will come of it."""
    connection.execute(update(replays).where(replays.c.id == replay_id).values(expected=count))


def newest_result_id(connection: Connection, now: Instant) -> str:
    """Where a replay that begins now ends: results stored later are none of its business."""
    found = connection.execute(select(func.max(results.c.id))).scalar()
    return found or lowest_id(RESULT, now)
