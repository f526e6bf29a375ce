"""Which connections are open, what each may still cost, and who has to go when there are too many.

One sweep a second looks at all deadlines instead of a timer per request: a caller who behaves pays next to nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What a connection may take. Durations in seconds, sizes in bytes."""

    max_connections: int = 4096
    max_unproven_per_peer: int = 256
    grace_seconds: float = 1.0  # a burst of honest callers connects faster than their first bytes are read
    idle_seconds: float = 5.0
    request_seconds: float = 10.0
    body_bytes_per_second: int = 262_144  # what has arrived buys more time: a 16 MiB body may take a minute
    keep_alive_seconds: float = 65.0  # longer than the usual reverse proxy keeps its idle connections
    write_seconds: float = 20.0
    linger_seconds: float = 2.0
    max_head_bytes: int = 65_536
    max_headers: int = 128
    sweep_seconds: float = 1.0


class Connection(Protocol):
    """What the registry asks of a connection."""

    deadline: float
    peer: str

    def cut(self) -> None:
        """Close now; nothing of value is lost."""
        ...

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        ...

    def abort(self) -> None:
        """Drop the connection with whatever is under way."""
        ...

    def shutdown(self) -> None:
        """Close once the request under way is answered."""
        ...


class Connections:
    """All connections of one listener, those that can be given up first in order of age.

    `waiting` owe us a request head (new, dripping, idle between requests), `receiving` owe us the rest of a body,
    unproven ones have never sent a whole head and are counted by peer address. `counts` says why connections were ended
    by us: `evicted`, `overloaded`, `malformed_request`, `request_timeout`, `headers_too_large`, `idle`,
    `unread` (the peer did not take its answer).
    """

    def __init__(self, limits: ConnectionLimits, name_request: Callable[[], str]) -> None:
        self.limits = limits
        self.name_request = name_request
        self.counts: Counter[str] = Counter()
        self.open: set[Connection] = set()
        self.waiting: dict[Connection, None] = {}
        self.receiving: dict[Connection, None] = {}
        self._unproven: dict[str, dict[Connection, float]] = {}
        self._drained = asyncio.Event()
        self._drained.set()

    def admit(self, connection: Connection, now: float) -> bool:
        """Take in a new connection. False when all places are held by requests that are being answered."""
        if len(self.open) >= self.limits.max_connections and not self._make_room():
            return False
        self.open.add(connection)
        self.waiting[connection] = None
        self._drained.clear()
        self._unproven.setdefault(connection.peer, {})[connection] = now
        return True

    def prove(self, connection: Connection) -> None:
        """The connection has sent its first whole head: its peer is no longer charged for it."""
        siblings = self._unproven.get(connection.peer)
        if siblings is not None:
            siblings.pop(connection, None)
            if not siblings:
                del self._unproven[connection.peer]

    def forget(self, connection: Connection) -> None:
        """The connection is closed, or as good as that."""
        self.open.discard(connection)
        self.waiting.pop(connection, None)
        self.receiving.pop(connection, None)
        self.prove(connection)
        if not self.open:
            self._drained.set()

    def sweep(self, now: float) -> None:
        """Let every connection whose deadline has passed know, and trim peers that hold too many."""
        for connection in [c for c in self.open if c.deadline <= now]:
            connection.expire(now)
        limit = self.limits.max_unproven_per_peer
        for siblings in [s for s in self._unproven.values() if len(s) > limit]:
            while len(siblings) > limit and self._cut_oldest(siblings, now):
                pass

    async def drain(self, seconds: float) -> bool:
        """Ask every connection to end after the request under way. True when all have within `seconds`."""
        for connection in list(self.open):
            connection.shutdown()
        try:
            async with asyncio.timeout(seconds):
                await self._drained.wait()
        except TimeoutError:
            return False
        return True

    def abort_all(self) -> None:
        """Drop what is still open."""
        for connection in list(self.open):
            connection.abort()

    def _make_room(self) -> bool:
        victim = next(iter(self.waiting), None) or next(iter(self.receiving), None)
        if victim is None:
            return False
        self._evict(victim)
        return True

    def _cut_oldest(self, siblings: dict[Connection, float], now: float) -> bool:
        oldest, since = next(iter(siblings.items()))
        if now - since < self.limits.grace_seconds:
            return False
        self._evict(oldest)
        return True

    def _evict(self, connection: Connection) -> None:
        self.counts["evicted"] += 1
        self.forget(connection)  # at once: the event loop tells us of the closing only later
        connection.cut()
