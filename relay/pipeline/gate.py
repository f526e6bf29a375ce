"""How hard a provider may be asked: a breaker and a pace per origin, shared by all webhooks that fetch from it.

The breaker opens after failures in a row, lets one probe through now and then, and once that succeeds the pace climbs
from one call a second, doubling, until the provider throttles. From then on it is kept just below that: it falls at
each 429 and grows between them, slowly up to where it fell from, faster beyond: the limit may have been another one.
An origin that never throttles has no pace at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from relay.clock import Clock

OPENS_AFTER: Final = 5  # failures in a row
FIRST_PAUSE_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 30.0
RAMP_FROM: Final = 1.0  # calls a second
UNPACED: Final = 500.0  # a climbing pace that gets here is no longer kept
FALL: Final = 0.9
STEEPEST_FALL: Final = 0.5
CAREFUL: Final = (0.002, 0.01)  # growth per call that went well, and per second: few are spent on finding the limit
BOLD: Final = (0.05, 0.15)  # the same where no limit is known
BEYOND: Final = 1.05  # of where it fell from: past it, no limit is known
SLOWEST: Final = 0.2
THROTTLE_PAUSE_SECONDS: Final = 0.5
LONGEST_THROTTLE_PAUSE_SECONDS: Final = 30.0
WINDOW_SECONDS: Final = 5.0


class Outcome(Enum):
    """What a call says about the provider, not about the job."""

    FINE = "fine"  # it answered, whatever it answered
    THROTTLED = "throttled"
    DOWN = "down"


@dataclass(slots=True)
class _Origin:
    failures: int = 0
    opened_until: float | None = None  # the breaker is open; past this time one probe may go
    pause: float = FIRST_PAUSE_SECONDS
    probing: bool = False
    in_flight: int = 0
    stragglers: int = 0  # calls from before the breaker opened: that they end says nothing of the probe
    pace: float | None = None  # calls a second
    climbing: bool = False
    tokens: float = 1.0
    filled_at: float = 0.0
    held_until: float = 0.0
    throttles: int = 0
    fell_at: float = -1e9
    fell_from: float = 0.0  # calls a second
    recent: list[float] = field(default_factory=list)  # when calls went well, the last few seconds


class OriginGate:
    """The gate of the fetch stage. Lanes are webhook ids; `origin_of` says where a webhook fetches."""

    def __init__(self, clock: Clock, origin_of: Callable[[str], str]) -> None:
        self._clock = clock
        self._origin_of = origin_of
        self._origins: dict[str, _Origin] = {}
        self._entered: dict[str, deque[_Origin]] = {}  # by lane, whose origin may be another one by the time it leaves

    # --- what the slots ask ---

    def enter(self, lane: str) -> bool:
        """Whether a call may start now; takes what it needs for it."""
        now = self._clock.monotonic()
        origin = self._origin(lane)
        if self._wait(origin, now) > 0:
            return False
        if origin.opened_until is not None:
            if origin.probing:
                return False
            origin.probing = True
        origin.in_flight += 1
        self._entered.setdefault(lane, deque()).append(origin)
        if origin.pace is not None:
            origin.tokens -= 1.0
        return True

    def leave(self, lane: str, *, used: bool = True) -> None:
        """A call is over, or was not made after all. A probe that brought no news lets the next one try."""
        entered = self._entered[lane]
        origin = entered.popleft()
        if not entered:
            del self._entered[lane]
        origin.in_flight -= 1
        if not used and origin.pace is not None:
            origin.tokens += 1.0
        if origin.stragglers:
            origin.stragglers -= 1
        else:
            origin.probing = False

    def opens_in(self, lane: str) -> float | None:
        """Seconds until `enter` may say yes by the passing of time alone."""
        origin = self._origin(lane)
        if origin.probing:
            return None
        return self._wait(origin, self._clock.monotonic())

    def is_open(self, origin: str) -> bool:
        """Whether the breaker of this origin is open (calls are held back)."""
        found = self._origins.get(origin)
        return found is not None and found.opened_until is not None

    def _wait(self, origin: _Origin, now: float) -> float:
        wait = max(0.0, origin.held_until - now)
        if origin.opened_until is not None:
            wait = max(wait, origin.opened_until - now)
        if origin.pace is not None:
            self._fill(origin, now)
            wait = max(wait, (1.0 - origin.tokens) / origin.pace)
        return wait

    def _fill(self, origin: _Origin, now: float) -> None:
        pace = origin.pace or 0.0
        origin.tokens = min(max(1.0, pace / 4), origin.tokens + (now - origin.filled_at) * pace + 1e-9)
        origin.filled_at = now

    # --- what the stage reports ---

    def report(self, lane: str, outcome: Outcome, retry_after: float | None = None) -> None:
        """What a call came to."""
        now = self._clock.monotonic()
        origin = self._origin(lane)
        if outcome is Outcome.DOWN:
            self._failed(origin, now)
            return
        self._answered(origin, now)
        if outcome is Outcome.THROTTLED:
            self._throttled(origin, now, retry_after)
        else:
            self._went_well(origin, now)

    def _failed(self, origin: _Origin, now: float) -> None:
        origin.failures += 1
        if origin.opened_until is not None:
            if not origin.probing:
                return  # a call from before the breaker opened: nothing new
            origin.pause = min(origin.pause * 2, LONGEST_PAUSE_SECONDS)
        elif origin.failures < OPENS_AFTER:
            return
        else:
            origin.pause = FIRST_PAUSE_SECONDS
            origin.stragglers = origin.in_flight
        origin.opened_until = now + origin.pause * (0.8 + 0.4 * self._clock.random())

    def _answered(self, origin: _Origin, now: float) -> None:
        origin.failures = 0
        if origin.opened_until is not None:  # it is back: climb
            origin.opened_until = None
            origin.probing = False
            origin.stragglers = 0
            origin.climbing = True
            self._set_pace(origin, RAMP_FROM, now)

    def _throttled(self, origin: _Origin, now: float, retry_after: float | None) -> None:
        asked = min(retry_after or 0.0, LONGEST_THROTTLE_PAUSE_SECONDS)
        origin.held_until = max(origin.held_until, now + asked)
        if now - origin.fell_at < 1.0:
            return  # answers to calls that went out before the last fall: one fall is enough
        origin.throttles += 1
        pause = min(THROTTLE_PAUSE_SECONDS * 2 ** min(origin.throttles - 1, 6), LONGEST_THROTTLE_PAUSE_SECONDS)
        origin.held_until = max(origin.held_until, now + pause)
        origin.fell_at = now
        origin.climbing = False
        reached = origin.pace if origin.pace is not None else self._measured(origin, now)
        origin.fell_from = reached
        fall = max(FALL**origin.throttles, STEEPEST_FALL)  # nothing went well since the last one: further down
        self._set_pace(origin, max(reached * fall, SLOWEST), now)

    def _went_well(self, origin: _Origin, now: float) -> None:
        origin.throttles = 0
        if origin.pace is None:
            origin.recent.append(now)
            if len(origin.recent) > 4096:
                del origin.recent[:2048]
            return
        # each of `pace` calls a second adds its share: doubling every second while climbing
        origin.pace += 1.0 if origin.climbing else _growth(origin.pace, origin.fell_from)
        if origin.pace >= UNPACED:
            origin.pace = None
            origin.climbing = False
            origin.recent.clear()

    def _measured(self, origin: _Origin, now: float) -> float:
        lately = [at for at in origin.recent if at > now - WINDOW_SECONDS]
        origin.recent.clear()
        if not lately:
            return RAMP_FROM
        return len(lately) / max(now - lately[0], 1.0)

    def _set_pace(self, origin: _Origin, pace: float, now: float) -> None:
        origin.pace = pace
        origin.tokens = min(origin.tokens, 1.0)
        origin.filled_at = now

    def _origin(self, lane: str) -> _Origin:
        name = self._origin_of(lane)
        found = self._origins.get(name)
        if found is None:
            found = self._origins[name] = _Origin(filled_at=self._clock.monotonic())
        return found


def _growth(pace: float, fell_from: float) -> float:
    per_call, per_second = BOLD if pace > fell_from * BEYOND else CAREFUL
    return min(per_call * pace, per_second)
