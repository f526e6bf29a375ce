"""The last check of a subscription's rate, at the moment of sending.

The slots let work in at its rate, but between that and the call lies a transaction, now a short one, now a long one:
what was let in evenly would leave unevenly, and some second would have one too many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from relay.clock import Clock
from relay.model import Subscription

NOTHING_SECONDS: Final = 1e-6


class Pace:
    """Keeps the starts of each subscription apart. `part_of` is this process's part of a rate."""

    def __init__(self, clock: Clock, part_of: Callable[[float], float]) -> None:
        self._clock = clock
        self._part_of = part_of
        self._started: dict[str, float] = {}

    async def keep(self, subscription: Subscription) -> None:
        """Return when the next call may start; that is now for one that has no rate."""
        rate = subscription.rate_per_second
        part = 0.0 if rate is None else self._part_of(rate)
        if not part:  # of a rate too: it was let in while there was a part for us
            return
        before = self._started.get(subscription.id)
        while before is not None and (wait := before + 1 / part - self._clock.monotonic()) > NOTHING_SECONDS:
            await self._clock.sleep(wait)
            before = self._started.get(subscription.id)  # another one may have gone meanwhile
        self._started[subscription.id] = self._clock.monotonic()
