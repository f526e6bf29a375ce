"""When to ask a provider again. Pure: everything it needs is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from relay.clock import Instant, after, seconds_between

FORCED_BEFORE_SECONDS: Final = (600.0, 300.0, 120.0, 60.0)  # the last chances before the provider may drop the result
FORCED_JITTER_SECONDS: Final = 5.0
LAST_SECONDS: Final = 2.0
JITTER: Final = 0.08
AFTER_DEADLINE_SECONDS: Final = 60.0  # the least wait once the deadline has passed
MARGIN_SECONDS: Final = 30.0  # a Retry-After never takes the last half minute away
SHORTEST_SECONDS: Final = 0.05


def next_attempt(
    now: Instant, *, step: int, waits: Sequence[float], deadline: Instant, chance: float, at_least: float | None = None
) -> Instant:
    """When to ask again after `step` tries: the list's wait with jitter, sooner where a forced attempt comes first.

    `chance` is a random number in [0, 1). `at_least` is what the provider asked for (Retry-After), in seconds: it moves
    the attempt later, past forced ones too, but never past the deadline while that lies ahead.
    """
    wait = waits[min(step, len(waits) - 1)] * (1 + JITTER * (2 * chance - 1))
    left = seconds_between(now, deadline)
    if left <= 0:
        return after(now, max(wait, AFTER_DEADLINE_SECONDS, at_least or 0.0))
    for before in FORCED_BEFORE_SECONDS:
        forced = left - before - FORCED_JITTER_SECONDS * chance
        if 0 < forced < wait:
            wait = forced
            break
    if left < wait:  # the last minute: again and again, rather than once more when it is too late
        wait = min(wait, max(left * (0.4 + 0.2 * chance), LAST_SECONDS))
    if at_least is not None:
        wait = max(wait, min(at_least, left - MARGIN_SECONDS))
    return after(now, max(wait, SHORTEST_SECONDS))


def retry_after_seconds(header: str | None, now: Instant, most: float) -> float | None:
    """A Retry-After header (RFC 9110 §10.2.3: seconds or a date) as seconds in [0, most]; None if absent or absurd."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), most)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - datetime.fromtimestamp(now / 1000, UTC)).total_seconds()
    return min(max(seconds, 0.0), most)
