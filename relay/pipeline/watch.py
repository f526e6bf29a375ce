"""Waiting for a job to end: woken at once by what this process settles, and by looking now and then for the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Watch:
    """Who waits for which job."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def settled(self, job_id: str) -> None:
        """Wake whoever waits for this job."""
        for event in self._waiting.get(job_id, ()):
            event.set()

    @contextmanager
    def waiting(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when the job was settled here."""
        event = asyncio.Event()
        events = self._waiting.setdefault(job_id, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events:
                self._waiting.pop(job_id, None)
