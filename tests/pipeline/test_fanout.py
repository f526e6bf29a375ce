"""One result, one delivery per matching subscription."""

from __future__ import annotations

import pytest

from relay.model import JobStatus, SubscriptionStatus
from relay.pipeline.fanout import DeliveryWork, Fanout
from relay.pipeline.routing import matches
from relay.store.configuration import Configuration
from tests.support.clock import FakeClock
from tests.support.store import NOW, OTHER_WEBHOOK_ID, WEBHOOK_ID, a_job, a_result, a_subscription

RESULT = a_result(a_job())


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, True),
        ({"webhook_ids": (WEBHOOK_ID,)}, True),
        ({"webhook_ids": (OTHER_WEBHOOK_ID,)}, False),
        ({"webhook_ids": ()}, False),
        ({"event_types": ("result.completed",)}, True),
        ({"event_types": ("result.failed",)}, False),
        ({"event_types": ("job.expiring",)}, False),
        ({"status": SubscriptionStatus.PAUSED}, True),
        ({"status": SubscriptionStatus.DISABLED}, True),
        ({"deleted_at": NOW}, False),
    ],
)
def test_who_gets_a_result(changes: dict[str, object], wanted: bool) -> None:
    assert matches(a_subscription(**changes), RESULT) is wanted


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED])
def test_without_types_all_four_ends_are_wanted(status: JobStatus) -> None:
    assert matches(a_subscription(), a_result(a_job(), status=status))


class Hands:
    """Hands with so many free slots."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.started: list[DeliveryWork] = []
        self.hints = 0

    def reserve(self, lane: str) -> bool:
        self.free -= 1
        return self.free >= 0

    def release(self, lane: str) -> None:
        self.free += 1

    def start(self, work: DeliveryWork) -> None:
        self.started.append(work)

    def hint(self) -> None:
        self.hints += 1


def test_deliveries_are_claimed_where_a_slot_is_free(clock: FakeClock) -> None:
    hands = Hands(2)
    plan = Fanout(clock, hands, 30.0).plan(RESULT, _three())
    assert [delivery.claims for delivery in plan.deliveries] == [1, 1, 0]
    assert [delivery.lease_until for delivery in plan.deliveries] == [NOW + 30_000, NOW + 30_000, None]
    assert {delivery.message_id for delivery in plan.deliveries} == {RESULT.id}
    plan.start("job", b"body")
    assert [work.body for work in hands.started] == [b"body", b"body"]
    assert hands.hints == 1, "one waits in the database"


def test_what_was_not_written_gives_its_slots_back(clock: FakeClock) -> None:
    hands = Hands(2)
    Fanout(clock, hands, 30.0).plan(RESULT, _three()).release()
    assert hands.free == 1, "two of two, and one that was never there"


def test_without_claims_somebody_is_told_that_they_are_due(clock: FakeClock) -> None:
    hands = Hands(0)
    Fanout(clock, hands, 30.0).plan(RESULT, _three()).start("job", None)
    assert hands.hints == 1 and not hands.started


def _three() -> Configuration:
    items = {item.id: item for item in (a_subscription(), a_subscription(), a_subscription())}
    return Configuration(1, {}, items, {})
