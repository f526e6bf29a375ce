"""A breaker per subscription, the same on all nodes: who is down is left alone, probed, and taken up again gently.

    closed      everything goes. After OPENS_AFTER attempts in a row that found nobody (no connection, no answer, 5xx):
    open        nothing goes, the deliveries wait, their attempts unspent. A probe becomes due, and one node takes it:
    half-open   one delivery goes. It fails: open, twice as long. It is answered: closed,
    ramp        and for some seconds the pace doubles from one a second.

In the database there are only those that fail (`relay.store.breakers`), and they change only from one state to another.
The gate's own books are in memory; `refresh` tells it what the other nodes found out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Final

import structlog

from relay.clock import Clock, Instant, after
from relay.errors import StoreUnavailable
from relay.outbound.deliveries import Reply
from relay.store import breakers
from relay.store.breakers import Breaker
from relay.store.database import Database
from relay.store.rows import Connection

log = structlog.get_logger(__name__)

OPENS_AFTER: Final = 5  # attempts in a row that found nobody
NOTED_AFTER: Final = 3  # failures of any kind: since when there is nothing else is worth remembering
FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 300.0
PROBE_SECONDS: Final = 60.0  # a probe that brought no news in this time may be made again, by any node
RAMP_SECONDS: Final = 7.0  # 2 ** 7 deliveries have been let through then


class Health(Enum):
    """What an attempt says about the subscriber."""

    FINE = "fine"
    REFUSES = "refuses"  # it answered, and did not take it
    DOWN = "down"


def health_of(reply: Reply) -> Health:
    """By the answer, or that there is none."""
    if reply.error_code == "internal_error":  # our own doing
        return Health.REFUSES
    if reply.error_code is not None or reply.status is None or reply.status >= 500:
        return Health.DOWN
    return Health.FINE if 200 <= reply.status < 300 else Health.REFUSES


@dataclass(slots=True)
class _Lane:
    """A subscription that is not simply healthy."""

    down: int = 0  # in a row
    failures: int = 0  # in a row, of any kind
    since: Instant | None = None  # the first of them
    row: Breaker | None = None  # as it is in the database
    changed: int = 0  # when `row` was last changed here, in writes
    granted_at: Instant | None = None  # the probe is ours to make
    probing: bool = False  # it is being made
    ramp_at: float | None = None  # monotonic
    ramped: int = 0


Write = Callable[[Connection], None]


class Breakers:
    """The gate of the deliver stage. Lanes are subscription ids."""

    def __init__(self, database: Database, clock: Clock, hint: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._clock = clock
        self.hint = hint  # that something may go
        # How long a probe of this lane may take here; None: this node's part of the lane's limits is none at all.
        self.probe_seconds: Callable[[str], float | None] = lambda lane: PROBE_SECONDS
        self._lanes: dict[str, _Lane] = {}
        self._succeeded: set[str] = set()
        self._writes = 0

    # --- what the slots ask ---

    def enter(self, lane: str) -> bool:
        """Whether a delivery may go now."""
        known = self._lanes.get(lane)
        if known is None:
            return True
        if known.row is not None and known.row.opened_at is not None:
            if known.granted_at is None or known.probing:
                return False
            known.probing = True
            return True
        if self._ramp_wait(lane, known) > 0:
            return False
        known.ramped += known.ramp_at is not None
        return True

    def leave(self, lane: str, *, used: bool = True) -> None:
        """A delivery is over, or was not made after all."""
        known = self._lanes.get(lane)
        if known is not None and not used:
            known.probing = False
            known.ramped = max(0, known.ramped - 1)

    def opens_in(self, lane: str) -> float | None:
        """Seconds until `enter` may say yes by the passing of time alone."""
        known = self._lanes.get(lane)
        if known is None:
            return 0.0
        if self.is_open(lane):
            return 0.0 if known.granted_at is not None and not known.probing else None
        return self._ramp_wait(lane, known)

    def is_open(self, lane: str) -> bool:
        """Whether deliveries are held back."""
        known = self._lanes.get(lane)
        return known is not None and known.row is not None and known.row.opened_at is not None

    def holds(self, lane: str) -> bool:
        """Whether nothing of this subscription can go now: it is open, and no probe is ours to make."""
        return self.is_open(lane) and (self._lanes[lane].granted_at is None or self._lanes[lane].probing)

    def next_probe_at(self, lane: str) -> Instant | None:
        """When an open one is tried again."""
        known = self._lanes.get(lane)
        return None if known is None or known.row is None else known.row.next_probe_at

    def _ramp_wait(self, lane: str, known: _Lane) -> float:
        if known.ramp_at is None:
            return 0.0
        elapsed = self._clock.monotonic() - known.ramp_at
        if elapsed >= RAMP_SECONDS:
            known.ramp_at = None
            self._forget_if_healthy(lane, known)
            return 0.0
        return max(0.0, math.log2(known.ramped + 1) - elapsed - 1e-9)

    # --- what the stage reports ---

    def failing_since(self, lane: str) -> Instant | None:
        """Since when there was nothing but failures, as far as that is known; None = it takes what it gets."""
        known = self._lanes.get(lane)
        if known is None:
            return None
        return known.since if known.row is None else known.row.failing_since

    def report(self, lane: str, reply: Reply, *, made: int, started_at: Instant) -> Write | None:
        """What an attempt came to; `made` counts the attempts of its delivery. What is to be written, if anything."""
        health = health_of(reply)
        known = self._lanes.get(lane)
        if health is Health.FINE:
            return None if known is None and lane in self._succeeded else self._fine(lane, known)
        if known is None:
            known = self._lanes[lane] = _Lane()
        was_probe = known.probing and known.granted_at is not None and started_at >= known.granted_at
        known.failures += 1
        known.since = known.since or started_at
        known.down = known.down + 1 if health is Health.DOWN else 0
        error = reply.error_code or f"http_{reply.status}"
        if self.is_open(lane):
            if not was_probe:
                return None  # from before it opened: nothing new
            return self._probe_failed(lane, known, error) if health is Health.DOWN else self._answered(lane, known)
        if known.down >= OPENS_AFTER:
            return self._open(lane, known, error)
        never_fine = made >= NOTED_AFTER and lane not in self._succeeded
        if known.row is None and (known.failures >= NOTED_AFTER or never_fine):
            return self._put(lane, known, Breaker(subscription_id=lane, failing_since=known.since, last_error=error))
        return None

    def skipped(self, lane: str) -> None:
        """A delivery was set aside without an attempt: if it was the probe, the next one is."""
        known = self._lanes.get(lane)
        if known is not None:
            known.probing = False

    def _fine(self, lane: str, known: _Lane | None) -> Write | None:
        self._succeeded.add(lane)
        if known is None:
            return None
        had = known.row
        known.down = known.failures = 0
        known.since = known.granted_at = None
        known.probing = False
        if had is None:
            self._forget_if_healthy(lane, known)
            return None
        if had.opened_at is not None:
            self._ramp(known)
            log.info("breaker.closed", subscription_id=lane, opened_at=had.opened_at)
        self._set(known, None)
        return partial(breakers.clear, subscription_id=lane)

    def _answered(self, lane: str, known: _Lane) -> Write:
        assert known.row is not None
        known.granted_at, known.probing = None, False
        self._set(known, replace(known.row, opened_at=None, next_probe_at=None, probe_until=None, probes=0))
        self._ramp(known)
        return partial(breakers.close, subscription_id=lane)

    def _open(self, lane: str, known: _Lane, error: str) -> Write:
        now = self._clock.now()
        since = known.row.failing_since if known.row is not None else (known.since or now)
        log.warning("breaker.opened", subscription_id=lane, error_code=error)
        opened = Breaker(subscription_id=lane, failing_since=since, opened_at=now, last_error=error)
        known.ramp_at = None
        return self._put(lane, known, replace(opened, next_probe_at=self._next_probe(0)))

    def _probe_failed(self, lane: str, known: _Lane, error: str) -> Write:
        assert known.row is not None
        known.granted_at, known.probing = None, False
        probes = known.row.probes + 1
        row = replace(
            known.row, probes=probes, next_probe_at=self._next_probe(probes), probe_until=None, last_error=error
        )
        self._set(known, row)
        return partial(breakers.probe_failed, breaker=row)

    def _put(self, lane: str, known: _Lane, row: Breaker) -> Write:
        self._set(known, row)
        return partial(breakers.put, breaker=row)

    def _next_probe(self, failed: int) -> Instant:
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(failed, 10), LONGEST_PAUSE_SECONDS)
        return after(self._clock.now(), pause * (0.8 + 0.4 * self._clock.random()))

    def _ramp(self, known: _Lane) -> None:
        known.ramp_at, known.ramped = self._clock.monotonic(), 0

    def _set(self, known: _Lane, row: Breaker | None) -> None:
        self._writes += 1
        known.row, known.changed = row, self._writes

    def _forget_if_healthy(self, lane: str, known: _Lane) -> None:
        if known.row is None and not known.failures and known.ramp_at is None:
            del self._lanes[lane]

    # --- what all nodes know ---

    async def write(self, change: Write) -> None:
        """Tell the others. Should it fail, the next change of state does."""
        try:
            await self._database.write(change)
        except StoreUnavailable as error:
            log.warning("breaker.not_written", reason=str(error))

    async def refresh(self) -> None:
        """Take over what the other nodes, or people, have changed. Raises StoreUnavailable."""
        seen = self._writes
        rows = await self._database.read(breakers.load)
        opened = False
        for lane in {*self._lanes, *rows}:
            known, row = self._lanes.get(lane), rows.get(lane)
            if known is None:
                known = self._lanes[lane] = _Lane()
            if known.changed > seen or known.row == row:
                continue  # changed here since: what was read is older
            was_open = self.is_open(lane)
            known.row = row
            if row is None:
                known.down, known.failures, known.since = 0, 0, None
            if was_open and not self.is_open(lane):
                known.granted_at, known.probing = None, False
                self._ramp(known)
                opened = True
            self._forget_if_healthy(lane, known)
        if opened:
            self.hint()

    async def run_once(self) -> int:
        """Take the probes that are due, each if no other node was first. Always 0: the next look is not at once."""
        now = self._clock.now()
        due = [
            lane
            for lane, known in self._lanes.items()
            if known.row is not None and known.row.next_probe_at is not None and known.row.next_probe_at <= now
        ]
        if not due:
            return 0
        ready = set(await self._database.read(partial(breakers.to_probe, now=now)))
        for lane in due:
            if lane in ready:
                await self._take_probe(lane, now)
        return 0

    async def _take_probe(self, lane: str, now: Instant) -> None:
        seconds = self.probe_seconds(lane)
        if seconds is None:
            return  # whoever has a part of it takes the probe
        take = partial(breakers.take_probe, subscription_id=lane, now=now, until=after(now, seconds))
        if await self._database.write(take) and self.is_open(lane):
            known = self._lanes[lane]
            known.granted_at, known.probing = now, False
            self.hint()
