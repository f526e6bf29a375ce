"""What happens, for whoever watches: read from the tables, so that it shows what every node does and costs nothing
while nobody looks.

Rows are read once in the order of their ids, and once more some seconds later: ids are made before their rows are
committed, and the clocks of two nodes differ. Of jobs and deliveries, which change, the open ones are looked at again
each time. A watcher reads as fast as it takes, and nothing is kept for it meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from typing import Any, Final

from relay.clock import Clock, Instant, after
from relay.frozen import frozen
from relay.ids import lowest_id
from relay.model import Delivery, Job, Notification, Result
from relay.store import tailing
from relay.store.database import Database
from relay.store.rows import Connection
from relay.store.tailing import DELIVERIES, JOBS, NOTIFICATIONS, RESULTS, Source

OVERLAP_SECONDS: Final = 5.0
LONGEST_RESUME_SECONDS: Final = 3600.0
SETTLED_LOOK_BACK_SECONDS: Final = 600.0
WATCHED: Final = 1000  # open jobs, and as many pending deliveries

SOURCES: Final = {"notification": NOTIFICATIONS, "job": JOBS, "result": RESULTS, "delivery": DELIVERIES}
Noun = Notification | Job | Result | Delivery


@frozen()
class Happened:
    """One thing that happened. The same one always has the same `key`, also after a resumption."""

    key: str
    noun: str
    status: str
    at: Instant
    item: Noun

    @property
    def type(self) -> str:
        return f"{self.noun}.{self.status}"


class Tail:
    """One watcher's place in what happens."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        webhook_id: str | None = None,
        nouns: Collection[str] = tuple(SOURCES),
        since: Instant | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._webhook_id = webhook_id
        self._resumed_at = None if since is None else after(since, -OVERLAP_SECONDS)
        begin = clock.now() if self._resumed_at is None else self._resumed_at
        self._places = {noun: _Place(source, begin) for noun, source in SOURCES.items() if noun in nouns}
        self._watched: dict[str, dict[str, str]] = {noun: {} for noun in ("job", "delivery") if noun in nouns}
        self._begun = False
        self.position = self._next_position = begin  # where a resumption goes on that has seen part of a look
        self.behind = False  # there is more to be read at once

    async def look(self) -> list[Happened]:
        """What happened since the last look, oldest first. Raises StoreUnavailable; then look again."""
        now = self._clock.now()
        found = await self._database.read(partial(self._look, now=now))
        self.behind = any(place.full for place in self._places.values())
        self.position = self._next_position
        if not self.behind:
            self._next_position = now
        return sorted(found, key=lambda item: item.at)

    def _look(self, connection: Connection, now: Instant) -> list[Happened]:
        found = [] if self._begun else list(self._begin(connection))
        self._begun = True
        found += self._changed(connection, now)
        for noun, place in self._places.items():
            for item in place.read(connection, now, self._webhook_id):
                self._watch(noun, item)
                found.append(_happened(noun, item, item_at(item)))
        return found

    def _begin(self, connection: Connection) -> Iterator[Happened]:
        """Note what is open, and say what was settled while a watcher that resumes was away."""
        if "job" in self._watched:
            for job in tailing.open_jobs(connection, self._webhook_id, WATCHED):
                self._watch("job", job)
        if "delivery" not in self._watched:
            return
        for delivery in tailing.open_deliveries(connection, self._webhook_id, WATCHED):
            self._watch("delivery", delivery)
        if self._resumed_at is not None:
            made_after = after(self._resumed_at, -SETTLED_LOOK_BACK_SECONDS)
            for item in tailing.settled_since(connection, made_after, self._resumed_at, self._webhook_id):
                yield _happened("delivery", item, item_at(item))

    def _watch(self, noun: str, item: Any) -> None:
        watched = self._watched.get(noun)
        if watched is None:
            return
        if tailing.is_open(item):
            watched[item.id] = _state(item)
            while len(watched) > WATCHED:
                del watched[next(iter(watched))]
        else:
            watched.pop(item.id, None)

    def _changed(self, connection: Connection, now: Instant) -> Iterator[Happened]:
        for noun, watched in self._watched.items():
            before = dict(watched)
            for item in tailing.again(connection, SOURCES[noun], list(before)):
                if _state(item) != before.pop(item.id):
                    yield _happened(noun, item, item_at(item) if not tailing.is_open(item) else now)
                    self._watch(noun, item)
            for gone in before:
                del watched[gone]


class _Place:
    """How far one table has been read, and read again."""

    def __init__(self, source: Source, begin: Instant) -> None:
        self._source = source
        self._read_to = self._read_again_to = lowest_id(source.prefix, begin)
        self._seen: set[str] = set()
        self.full = False

    def read(self, connection: Connection, now: Instant, webhook_id: str | None) -> list[Any]:
        """New rows, then those that came late."""
        source = self._source
        new = tailing.between(connection, source, self._read_to, webhook_id=webhook_id)
        self.full = len(new) == tailing.PAGE
        if new:
            self._read_to = new[-1].id
        until = min(self._read_to, lowest_id(source.prefix, after(now, -OVERLAP_SECONDS)))
        late: list[Any] = []
        if until > self._read_again_to:
            late = tailing.between(connection, source, self._read_again_to, until, webhook_id)
            self._read_again_to = late[-1].id if len(late) == tailing.PAGE else until
        found = [item for item in (*late, *new) if item.id not in self._seen]
        self._seen.update(item.id for item in found)
        self._seen = {row_id for row_id in self._seen if row_id > self._read_again_to}
        return found


def item_at(item: Noun) -> Instant:
    """When it came to be as it is, as far as the row says."""
    if isinstance(item, Notification):
        return item.received_at
    if isinstance(item, Result):
        return item.fetched_at
    ended = item.completed_at if isinstance(item, Job) else item.settled_at
    return item.created_at if ended is None else ended


def _happened(noun: str, item: Noun, at: Instant) -> Happened:
    return Happened(f"{item.id}.{_state(item)}", noun, str(item.status), at, item)


def _state(item: Noun) -> str:
    """Of a pending delivery the number of attempts too: each is worth a line."""
    if isinstance(item, Delivery) and item.attempts:
        return f"{item.status}.{item.attempts}"
    return str(item.status)
