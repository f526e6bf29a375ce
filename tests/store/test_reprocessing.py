from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import update

from relay.model import NotificationStatus
from relay.store.database import Database
from relay.store.intake import ACCEPT, Accept, Accepted, Stale
from relay.store.schema import jobs, notifications
from tests.support.store import (
    LATER,
    NOW,
    a_notification,
    an_accept,
    count,
    job_of,
    rows_of,
)


async def _accept(database: Database, item: Accept) -> Accepted:
    outcome = await database.submit(ACCEPT, item)
    assert isinstance(outcome, Accepted)
    return outcome


async def _together(database: Database, *items: Accept) -> list[Accepted]:
    """One batch, whatever else happens: they are handed over in one turn of the loop."""
    outcomes = await database.write(lambda connection: ACCEPT.apply(connection, list(items)))
    assert not any(isinstance(outcome, Stale) for outcome in outcomes)
    return [outcome for outcome in outcomes if isinstance(outcome, Accepted)]


async def _settle(database: Database, job_id: str, **values: Any) -> None:
    await database.write(lambda c: c.execute(update(jobs).where(jobs.c.id == job_id).values(values)))


def _rejected() -> Accept:
    notification = a_notification(status=NotificationStatus.REJECTED, reason="signature")
    return Accept(
        config_version=1, notification=notification, body=b"sealed", body_sealed=True, headers_sealed=b"sealed"
    )


async def test_a_rejected_one_that_verifies_after_all_is_taken_and_opened(database: Database) -> None:
    rejected = _rejected()
    await _accept(database, rejected)
    renewed = replace(a_notification(id=rejected.notification.id), received_at=LATER)
    item = an_accept("p-1", notification=renewed, stored_before=True, dedupe_key=b"d", body=b"plain")
    outcome = await _accept(database, item)
    assert outcome.status is NotificationStatus.ACCEPTED and outcome.job_id is not None
    (row,) = await rows_of(database, notifications)
    assert (row["status"], row["reason"], row["job_id"]) == ("accepted", None, outcome.job_id)
    assert (bytes(row["body"]), bool(row["body_sealed"]), row["headers_sealed"]) == (b"plain", False, None)
    assert bytes(row["dedupe_key"]) == b"d"


async def test_rejected_ones_shadow_nobody(database: Database) -> None:
    await _together(database, _rejected(), _rejected())
    assert (await _accept(database, an_accept("p-1", dedupe_key=b"d"))).status is NotificationStatus.ACCEPTED
    assert await count(database, notifications) == 3


async def test_a_rejected_one_whose_twin_was_accepted_meanwhile_is_a_duplicate(database: Database) -> None:
    rejected = _rejected()
    await _accept(database, rejected)
    first = await _accept(database, an_accept("p-1", dedupe_key=b"d"))
    renewed = a_notification(id=rejected.notification.id)
    outcome = await _accept(database, an_accept("p-1", notification=renewed, stored_before=True, dedupe_key=b"d"))
    assert (outcome.status, outcome.notification_id) == (NotificationStatus.DUPLICATE, first.notification_id)
    row = [row for row in await rows_of(database, notifications) if row["id"] == renewed.id][0]
    assert row["status"] == "rejected"


async def test_an_accepted_one_can_be_reprocessed_and_is_no_repeat_of_itself(database: Database) -> None:
    item = an_accept("p-1", dedupe_key=b"d", body=b"plain")
    first = await _accept(database, item)
    await _settle(database, first.job_id or "", status="failed", due_at=None)
    again = await _accept(database, replace(item, stored_before=True))
    assert (again.status, again.job_id) == (NotificationStatus.ACCEPTED, first.job_id)
    assert (await job_of(database, first.job_id or "")).due_at == NOW
    (row,) = await rows_of(database, notifications)
    assert bytes(row["body"]) == b"plain"
