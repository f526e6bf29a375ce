"""Waiting for messages of a pull subscription: woken at once by what this process plans."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from relay.clock import Clock


class Bell:
    """Who waits for which subscription's messages."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def ring(self, subscription_ids: Iterable[str]) -> None:
        """There may be messages of these."""
        for subscription_id in subscription_ids:
            for event in self._waiting.get(subscription_id, ()):
                event.set()

    def ring_all(self) -> None:
        """There may be messages of any: a replay, a retry, a subscription that was resumed."""
        self.ring(list(self._waiting))

    @contextmanager
    def waiting(self, subscription_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when there may be messages."""
        event = asyncio.Event()
        events = self._waiting.setdefault(subscription_id, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events:
                self._waiting.pop(subscription_id, None)


async def rest(clock: Clock, seconds: float, *events: asyncio.Event) -> None:
    """Until one of the events is set or the time is over."""
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(event.wait()) for event in events]
    waits.append(asyncio.ensure_future(clock.sleep(seconds)))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
