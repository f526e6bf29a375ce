"""What happens, counted in memory, and added to the rollups every few seconds in one write.

Counting costs a dictionary's look-up, so every stage may do it. A crash loses the last seconds of these numbers and
nothing else. All numbers on the dashboard and in its pictures come from here; no table is ever counted for them.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Final

from relay.clock import Clock
from relay.errors import StoreUnavailable
from relay.model import Attempt, DeliveryStatus, Result
from relay.store import rollups
from relay.store.database import Database
from relay.store.rollups import Key

FLUSH_SECONDS: Final = 3.0

# By webhook: `notification.{status}`, `{result type}`, and
FETCHES: Final = "fetch.attempts"
FETCH_ERRORS: Final = "fetch.errors"
BYTES: Final = "result.bytes"
# By webhook and subscription:
FANNED_OUT: Final = "deliveries"
# By subscription:
DELIVERED: Final = "delivered"
FAILED: Final = "delivery.failed"
EXHAUSTED: Final = "delivery.exhausted"
# From notification to stored result, by webhook: `stored.within.{seconds}`, the smallest that holds
WITHIN_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
LATER: Final = "later"


class Counters:
    """The counts of this process since they were last written."""

    __slots__ = ("_counted",)

    def __init__(self) -> None:
        self._counted: defaultdict[Key, int] = defaultdict(int)

    def add(self, webhook_id: str, subscription_id: str, counter: str, amount: int = 1) -> None:
        """Count `amount` more."""
        self._counted[webhook_id, subscription_id, counter] += amount

    def notified(self, webhook_id: str, status: str) -> None:
        """A notification was answered with `status`."""
        self.add(webhook_id, "", f"notification.{status}")

    def fetched(self, webhook_id: str, attempt: Attempt | None) -> None:
        """A provider was asked; None = there was nothing to ask for."""
        if attempt is not None:
            self.add(webhook_id, "", FETCHES)
            if attempt.error_code is not None or (attempt.http_status or 0) >= 400:
                self.add(webhook_id, "", FETCH_ERRORS)

    def stored(self, result: Result, subscription_ids: list[str], took_ms: int | None) -> None:
        """A result was stored and fans out; `took_ms` after its notification, if there was one."""
        self.add(result.webhook_id, "", result.type)
        if result.size_bytes:
            self.add(result.webhook_id, "", BYTES, result.size_bytes)
        if took_ms is not None:
            self.add(result.webhook_id, "", f"stored.within.{_within(took_ms / 1000)}")
        for subscription_id in subscription_ids:
            self.add(result.webhook_id, subscription_id, FANNED_OUT)

    def attempted(self, subscription_id: str, status: DeliveryStatus) -> None:
        """A delivery was tried and is `status` now."""
        if status is DeliveryStatus.DELIVERED:
            self.add("", subscription_id, DELIVERED)
            return
        self.add("", subscription_id, FAILED)
        if status is DeliveryStatus.EXHAUSTED:
            self.add("", subscription_id, EXHAUSTED)

    def acknowledged(self, subscription_id: str, count: int) -> None:
        """So many messages of a pull subscription were handled."""
        if count:
            self.add("", subscription_id, DELIVERED, count)

    def take(self) -> dict[Key, int]:
        """What was counted since the last time."""
        taken, self._counted = self._counted, defaultdict(int)
        return taken

    def give_back(self, taken: dict[Key, int]) -> None:
        """It could not be written: count it again."""
        for key, amount in taken.items():
            self.add(*key, amount)


def _within(seconds: float) -> str:
    for bound in WITHIN_SECONDS:
        if seconds <= bound:
            return f"{bound:g}"
    return LATER


async def flush(counters: Counters, database: Database, clock: Clock) -> int:
    """Write what was counted. Raises StoreUnavailable, and then it is still counted. Always 0: it need not hurry."""
    taken = counters.take()
    if taken:
        try:
            await database.write(partial(rollups.add, counted=taken, now=clock.now()))
        except StoreUnavailable:
            counters.give_back(taken)
            raise
    return 0
