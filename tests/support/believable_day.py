"""A believable day for the dashboard's pictures: a team's webhooks and subscriptions, and what they went through.

The nouns are made by the API. What happened is written where the relay itself writes it, minute by minute: the counts,
the latest deliveries, the jobs whose time runs out, the breaker of a subscriber that is down. The same in every run.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from relay.clock import Instant, after
from relay.ids import new_id
from relay.model import DELIVERY, JOB, RESULT, DeliveryStatus, JobStatus
from relay.pipeline import counters
from relay.store import breakers, rollups
from relay.store.breakers import Breaker
from relay.store.rollups import Key
from relay.store.rows import Connection
from tests.support.noun_rows import delivery, job, put

MINUTES: Final = 24 * 60
NOON_MINUTES: Final = 228  # ago
LATEST: Final = 40  # deliveries of each subscription: as many as a strip shows
FAILING: Final = "crm-sync"
FAILS_MINUTES: Final = 19  # so long it has been down
PAUSED: Final = "archive"
PAUSED_MINUTES: Final = 34  # so long nothing has gone there

BUSY: Final = {"netnut-search": 9.0, "pulse-invoices": 3.0, "llm-summaries": 5.0}  # jobs a minute at noon
WANTED: Final = {
    "search-index": ("netnut-search", "llm-summaries"),
    "billing": ("netnut-search", "pulse-invoices", "llm-summaries"),
    FAILING: ("netnut-search",),
    PAUSED: ("pulse-invoices", "llm-summaries"),
}
STUMBLES: Final = {"billing": 0.004, FAILING: 0.07}  # the share of attempts that fail on a good day
WITHIN: Final = {"0.1": 0.62, "0.25": 0.3, "1": 0.06, "5": 0.02}  # seconds from notified to stored


@dataclass(frozen=True)
class Open:
    """A job that waits for its provider."""

    webhook: str
    provider_job_id: str
    notified_minutes: float  # ago
    left_minutes: float
    last_error: str | None
    attempts: int


OPEN: Final = (
    Open("netnut-search", "9f1c27aa-5d0e-4c1b", 116.1, 3.9, "Not found", 14),
    Open("pulse-invoices", "pulse_7c20d1e4b8", 39.0, 21.0, "server_error", 9),
    Open("llm-summaries", "req_5521c09f", 14.0, 106.0, None, 4),
)


class Day:
    """The day before `now`, of webhooks and subscriptions by name."""

    def __init__(self, ids: dict[str, str], now: Instant) -> None:
        self._ids, self._now = ids, now
        self._chance = random.Random("a believable day")

    def write(self, conn: Connection) -> None:
        """All of it."""
        for ago in range(MINUTES, 0, -1):
            rollups.add(conn, self._minute(ago), self._ago(ago))
        for name in WANTED:
            put(conn, *self._latest(name))
        put(conn, *self._open())
        breakers.put(conn, self._breaker())

    def _ago(self, minutes: float) -> Instant:
        return after(self._now, -60 * minutes)

    def _some(self, mean: float) -> int:
        return max(0, round(self._chance.gauss(mean, math.sqrt(mean))))

    def _minute(self, ago: int) -> Counter[Key]:
        """What was counted in one minute: little at night, most about noon."""
        counted: Counter[Key] = Counter()
        light = 0.2 + 0.8 * (0.5 + 0.5 * math.cos(2 * math.pi * (ago - NOON_MINUTES) / MINUTES)) ** 1.5
        for webhook, most in BUSY.items():
            self._fetched(counted, webhook, self._some(most * light))
        for name in WANTED:
            self._sent(counted, name, ago)
        return counted

    def _fetched(self, counted: Counter[Key], webhook: str, count: int) -> None:
        id = self._ids[webhook]
        errors = sum(self._chance.random() < 0.006 for _ in range(count))
        counted[id, "", "notification.accepted"] = counted[id, "", "result.completed"] = count
        counted[id, "", counters.FETCHES] = count + errors
        counted[id, "", counters.FETCH_ERRORS] = errors
        for bound in self._chance.choices(list(WITHIN), list(WITHIN.values()), k=count):
            counted[id, "", f"stored.within.{bound}"] += 1
        for name, webhooks in WANTED.items():
            if webhook in webhooks:
                counted[id, self._ids[name], counters.FANNED_OUT] = count

    def _sent(self, counted: Counter[Key], name: str, ago: int) -> None:
        id = self._ids[name]
        count = sum(counted[self._ids[webhook], id, counters.FANNED_OUT] for webhook in WANTED[name])
        failed = sum(self._chance.random() < STUMBLES.get(name, 0.0) for _ in range(count))
        if name == FAILING and ago <= FAILS_MINUTES:
            count, failed = 0, 5 if ago > FAILS_MINUTES - 2 else 1  # until the breaker opens; then probes
        if name == PAUSED and ago <= PAUSED_MINUTES:
            count = 0
        counted["", id, counters.DELIVERED], counted["", id, counters.FAILED] = count, failed

    def _latest(self, name: str) -> Iterator[Any]:
        """The deliveries of the last minutes, oldest first: those that no longer go wait."""
        stuck = {FAILING: 22, PAUSED: 9}.get(name, 0)
        for left in range(LATEST, 0, -1):
            made = self._ago(0.9 * left)
            if left > stuck:
                attempts = 2 if self._chance.random() < STUMBLES.get(name, 0.0) * 2 else 1
                more: dict[str, Any] = {"status": DeliveryStatus.DELIVERED, "due_at": None, "settled_at": made}
                more |= {"attempts": attempts, "http_status": 200}
            elif name == FAILING and left > stuck - 8:
                more = {"attempts": 4, "last_error": "http_503", "http_status": 503, "due_at": self._ago(-8)}
            else:
                more = {"due_at": self._ago(-8)}
            yield delivery(new_id(RESULT, made), self._ids[name], made, **({"id": new_id(DELIVERY, made)} | more))

    def _open(self) -> Iterator[Any]:
        for one in OPEN:
            notified = self._ago(one.notified_minutes)
            yield job(
                self._ids[one.webhook], notified, id=new_id(JOB, notified), status=JobStatus.FETCHING,
                provider_job_id=one.provider_job_id, notified_at=notified, deadline=self._ago(-one.left_minutes),
                attempts=one.attempts, step=one.attempts, due_at=self._ago(-1.5), last_error=one.last_error,
            )  # fmt: skip

    def _breaker(self) -> Breaker:
        since = self._ago(FAILS_MINUTES)
        return Breaker(
            subscription_id=self._ids[FAILING], failing_since=since, opened_at=after(since, 60),
            next_probe_at=self._ago(-3.4), probes=6, last_error="http_503",
        )  # fmt: skip
