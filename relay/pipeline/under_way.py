"""Submits whose answer is still to come, where a notification could be quicker and nothing in it says which job it is.

A provider that calls one address for all jobs names a job by an id that Relay learns from the answer to the submit. A
notification that comes first makes a job of its own, which the answer then finds; held for a moment, it is not fetched
and delivered before it has the client's metadata.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class UnderWay:
    """How many such submits this process has under way, by webhook."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    @contextmanager
    def submit(self, webhook_id: str) -> Iterator[None]:
        """One of them."""
        self._count[webhook_id] += 1
        try:
            yield
        finally:
            self._count[webhook_id] -= 1
            if not self._count[webhook_id]:
                del self._count[webhook_id]

    def any(self, webhook_id: str) -> bool:
        """Whether there is one."""
        return webhook_id in self._count
