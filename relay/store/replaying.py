"""Replays: which stored results are meant, and planning their new deliveries page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, select, update

from relay.clock import Instant
from relay.frozen import frozen
from relay.model import RESULT, Delivery, DeliveryStatus, Replay, ReplayStatus, Result, lowest_id
from relay.store import deliveries as delivery_rows
from relay.store import replays as replay_rows
from relay.store import results as result_rows
from relay.store.bulk import insert_many
from relay.store.configuration import held_version
from relay.store.schema import deliveries, replays, results

PAGE: Final = 200


@frozen()
class Candidates:
    """A page of results, and what the subscriptions asked about have of them already."""

    results: list[Result]
    statuses: Mapping[tuple[str, str], set[DeliveryStatus]]  # result, subscription


def conditions(filter: Mapping[str, Any], subscription_ids: Sequence[str]) -> list[ColumnElement[bool]]:
    """The filter of a replay, as the contract has it, over `results`. Times are Instants."""
    column = results.c
    wanted: list[ColumnElement[bool]] = []
    if (webhook_id := filter.get("webhook_id")) is not None:
        wanted.append(column.webhook_id == webhook_id)
    if (created_after := filter.get("created_after")) is not None:
        wanted.append(column.id >= lowest_id(RESULT, created_after))
    if (created_before := filter.get("created_before")) is not None:
        wanted.append(column.id < lowest_id(RESULT, created_before))
    if (result_ids := filter.get("result_ids")) is not None:
        wanted.append(column.id.in_(list(result_ids)))
    if (types := filter.get("types")) is not None:
        wanted.append(column.status.in_([name.removeprefix("result.") for name in types]))
    if (statuses := filter.get("delivery_status")) is not None:
        has = select(deliveries.c.id).where(
            deliveries.c.result_id == column.id,
            deliveries.c.subscription_id.in_(list(subscription_ids)),
            deliveries.c.status.in_(list(statuses)),
        )
        wanted.append(has.exists())
    return wanted


def candidates(
    connection: Connection,
    filter: Mapping[str, Any],
    subscription_ids: Sequence[str],
    *,
    after_id: str | None,
    upper_id: str,
) -> Candidates:
    """The next page of results after `after_id`, oldest first."""
    column = results.c
    query = select(results).where(column.id <= upper_id, *conditions(filter, subscription_ids))
    if after_id is not None:
        query = query.where(column.id > after_id)
    found = [result_rows.read(row) for row in connection.execute(query.order_by(column.id).limit(PAGE))]
    had = select(deliveries.c.result_id, deliveries.c.subscription_id, deliveries.c.status).where(
        deliveries.c.result_id.in_([result.id for result in found]),
        deliveries.c.subscription_id.in_(list(subscription_ids)),
    )
    statuses: dict[tuple[str, str], set[DeliveryStatus]] = {}
    for row in connection.execute(had):
        statuses.setdefault((row.result_id, row.subscription_id), set()).add(DeliveryStatus(row.status))
    return Candidates(found, statuses)


def locked(connection: Connection, replay_id: str) -> Replay | None:
    """A replay that nobody else plans while this transaction is open."""
    row = connection.execute(select(replays).where(replays.c.id == replay_id).with_for_update()).first()
    return None if row is None else replay_rows.read(row)


def advance(
    connection: Connection, replay: Replay, page: Candidates, new: Sequence[Delivery], *, config_version: int
) -> bool:
    """Insert a page's deliveries and move on, together. False: the configuration changed, nothing was done."""
    if held_version(connection) != config_version:
        return False
    insert_many(connection, deliveries, delivery_rows.COLUMNS, [delivery_rows.to_row(delivery) for delivery in new])
    values: dict[str, Any] = {"total": replays.c.total + len(new), "planned": len(page.results) < PAGE}
    if page.results:
        values["cursor"] = page.results[-1].id
    connection.execute(update(replays).where(replays.c.id == replay.id).values(values))
    return True


def unplanned(connection: Connection) -> list[str]:
    """Replays that still have pages to plan, oldest first."""
    query = select(replays.c.id).where(replays.c.status == ReplayStatus.RUNNING.value, ~replays.c.planned)
    return list(connection.execute(query.order_by(replays.c.id)).scalars())


def finish(connection: Connection) -> int:
    """Mark as done what is planned and has nothing pending; how many."""
    pending = select(deliveries.c.id).where(
        deliveries.c.replay_id == replays.c.id,
        deliveries.c.replay_id != "",
        deliveries.c.status == DeliveryStatus.PENDING.value,
    )
    over = (replays.c.status == ReplayStatus.RUNNING.value, replays.c.planned, ~pending.exists())
    return connection.execute(update(replays).where(*over).values(status=ReplayStatus.DONE.value)).rowcount


def has_running(connection: Connection) -> bool:
    """Whether any replay is running."""
    query = select(func.count()).select_from(replays).where(replays.c.status == ReplayStatus.RUNNING.value)
    return bool(connection.execute(query).scalar())


def newest_result_id(connection: Connection, now: Instant) -> str:
    """Where a replay that begins now ends: results stored later are none of its business."""
    found = connection.execute(select(func.max(results.c.id))).scalar()
    return found or lowest_id(RESULT, now)
