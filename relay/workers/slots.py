"""Who may start now: a cap over everything, a cap and a rate per lane, and whatever gate the stage has besides."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol

from relay.clock import Clock
from relay.frozen import frozen

PACE: Final = 0.95  # of the rate: what leaves evenly arrives up to a twentieth of a second early or late
SAVED_SECONDS: Final = 0.02


@frozen()
class LaneLimit:
    """What one lane may take. `open` = False: nothing, until that changes."""

    open: bool
    max_in_flight: int
    rate_per_second: float | None = None


class Gate(Protocol):
    """A stage's own say, asked last. What it lets in, `leave` is called for; `used` = the call was made."""

    def enter(self, lane: str) -> bool: ...

    def leave(self, lane: str, *, used: bool) -> None: ...

    def opens_in(self, lane: str) -> float | None:
        """Seconds until it may let this lane in; 0 = now; None = only after something else happened."""
        ...


class OpenGate:
    """Lets everything in."""

    def enter(self, lane: str) -> bool:
        return True

    def leave(self, lane: str, *, used: bool) -> None:
        return None

    def opens_in(self, lane: str) -> float | None:
        return 0.0


class Bucket:
    """A pace that never lets more than `rate` start in any second, nor `rate` times n in n seconds.

    What starts together does not arrive together, so the pace is a little below the rate, and next to nothing is saved
    up: a token bucket with a second's worth in it would let twice the rate through in its first second.
    """

    __slots__ = ("_at", "_most", "_per_second", "_tokens", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self._tokens, self._at = 1.0, now
        self._set(rate)

    def change(self, rate: float, now: float) -> None:
        """Another rate from now on; what was taken stays taken."""
        if rate != self.rate:
            self._fill(now)
            self._set(rate)

    def _set(self, rate: float) -> None:
        self.rate = rate
        self._most = max(1.0, rate * SAVED_SECONDS)
        self._per_second = rate * PACE - (self._most - 1.0)

    def take(self, now: float) -> bool:
        self._fill(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def charge(self, more: float) -> None:
        """So many tokens more were taken; fewer than none are owed. Below zero: tokens were taken for nothing."""
        self._tokens -= more

    def ready_in(self, now: float) -> float:
        """Seconds until the next token."""
        self._fill(now)
        return max(0.0, (1.0 - self._tokens) / self._per_second)

    def _fill(self, now: float) -> None:
        # the tiny surplus forgives what floating point loses, or a clock moved to the exact moment would come too early
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._per_second + 1e-9)
        self._at = now


class Slots:
    """Reservations. `reserve` and `release` come in pairs.

    A lane that holds slots already gets another one only while it holds less than `share` times what is free. So lanes
    that hang, however many, leave some to the others (the dynamic thresholds of shared-memory switches).
    """

    def __init__(
        self,
        total: int,
        limit_of: Callable[[str], LaneLimit],
        clock: Clock,
        gate: Gate | None = None,
        *,
        share: float = 1.0,
    ) -> None:
        self._total = total
        self._share = share
        self._limit_of = limit_of
        self._clock = clock
        self._gate = gate or OpenGate()
        self._taken = 0
        self._by_lane: dict[str, int] = {}
        self._buckets: dict[str, Bucket] = {}

    @property
    def total(self) -> int:
        return self._total

    @property
    def free(self) -> int:
        return self._total - self._taken

    @property
    def taken(self) -> int:
        return self._taken

    def in_lane(self, lane: str) -> int:
        """How many of this lane are under way."""
        return self._by_lane.get(lane, 0)

    def reserve(self, lane: str, *, late: bool = False) -> bool:
        """Take a slot for one piece of work of this lane, if every limit allows it now.

        `late` work, which stands behind all other, gets one only while half of all and half of the lane's are free.
        """
        if self._taken >= self._total:
            return False
        limit = self._limit_of(lane)
        if not limit.open or self._is_full(lane, limit) or (late and self._is_half_full(lane, limit)):
            return False
        bucket = self._bucket(lane, limit.rate_per_second)
        if bucket is not None and bucket.ready_in(self._clock.monotonic()) > 0:
            return False
        if not self._gate.enter(lane):
            return False
        if bucket is not None:
            bucket.take(self._clock.monotonic())
        self._taken += 1
        self._by_lane[lane] = self._by_lane.get(lane, 0) + 1
        return True

    def release(self, lane: str, *, used: bool = True) -> None:
        """Give a slot back; one that was not used takes nothing from the lane's rate."""
        self._taken -= 1
        left = self._by_lane[lane] - 1
        if left:
            self._by_lane[lane] = left
        else:
            del self._by_lane[lane]
        if not used and (bucket := self._buckets.get(lane)) is not None:
            bucket.charge(-1.0)
        self._gate.leave(lane, used=used)

    def charge(self, lane: str, more: int) -> None:
        """A piece of work takes so many more of its lane's rate than the one that its slot took."""
        if more and (bucket := self._buckets.get(lane)) is not None:
            bucket.charge(more)

    def opens_in(self, lane: str, *, late: bool = False) -> float:
        """Seconds until this lane may start something by the passing of time alone; infinity if time does not help."""
        limit = self._limit_of(lane)
        full = self._is_full(lane, limit) or (late and self._is_half_full(lane, limit))
        if not limit.open or self._taken >= self._total or full:
            return math.inf
        bucket = self._bucket(lane, limit.rate_per_second)
        gate = self._gate.opens_in(lane)
        if gate is None:
            return math.inf
        return max(gate, 0.0 if bucket is None else bucket.ready_in(self._clock.monotonic()))

    def _is_full(self, lane: str, limit: LaneLimit) -> bool:
        held = self._by_lane.get(lane, 0)
        return held >= limit.max_in_flight or (held > 0 and held >= self.free * self._share)

    def _is_half_full(self, lane: str, limit: LaneLimit) -> bool:
        half = max(1, limit.max_in_flight // 2)
        return self._taken >= max(1, self._total // 2) or self._by_lane.get(lane, 0) >= half

    def _bucket(self, lane: str, rate: float | None) -> Bucket | None:
        if not rate:  # none at all, or none for this process: what was taken counts on if it gets a part again
            return None
        bucket = self._buckets.get(lane)
        if bucket is None:
            bucket = self._buckets[lane] = Bucket(rate, self._clock.monotonic())
        elif bucket.rate != rate:
            bucket.change(rate, self._clock.monotonic())
        return bucket
