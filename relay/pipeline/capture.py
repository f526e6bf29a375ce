"""Capture: the first message of each shape that a webhook's provider sends or answers, for people who write profiles.

What providers do not document is settled from their real traffic. It must cost the hot path next to nothing: of each
kind the first messages of a webhook are looked at, then one every few seconds; what is new waits in memory and is
written by a duty of its own. A crash loses it, and the next message of that shape brings it back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Final

from relay.clock import Instant, after
from relay.frozen import frozen
from relay.pipeline.bindings import Binding
from relay.pipeline.shape import document_of, excerpt_of, shape_of
from relay.store import captures
from relay.store.captures import MOST, Capture
from relay.store.database import Database

LOOKED_AT: Final = 50  # messages of one kind that are looked at one after the other
THEN_EVERY_SECONDS: Final = 5.0
WAITING: Final = 100  # captures that have not been written yet; more are dropped

KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "pending": "pending",
        "not_found": "pending",
        "gone": "pending",
        "unexpected": "pending",
        "completed": "completed",
        "failed": "failed",
        "cancelled": "failed",
    }
)


@dataclass(slots=True)
class _Seen:
    """What is known of one kind of message of one webhook."""

    looks: int = 0
    next_at: Instant = Instant(0)
    shapes: set[str] = field(default_factory=set)


@frozen(kw_only=True)
class Message:
    """What a provider said."""

    body: bytes
    at: Instant
    content_type: str | None
    http_status: int | None = None  # None: it called us
    query: str = ""
    job_id: str | None = None


class Captures:
    """Looks at messages, keeps what is new."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._new: deque[Capture] = deque(maxlen=WAITING)

    def due(self, webhook_id: str, kind: str, now: Instant) -> bool:
        """Whether a message of this kind is to be looked at."""
        seen = self._seen.get((webhook_id, kind))
        if seen is None:
            seen = self._seen[(webhook_id, kind)] = _Seen()
        if now < seen.next_at or len(seen.shapes) >= MOST[kind]:
            return False
        seen.looks += 1
        if seen.looks >= LOOKED_AT:
            seen.next_at = after(now, THEN_EVERY_SECONDS)
        return True

    def look(self, binding: Binding, kind: str, message: Message) -> None:
        """Keep it if its shape is new. Ask `due` first."""
        webhook_id = binding.webhook.id
        document = document_of(message.body, message.query)
        shape = shape_of(document, message.http_status, message.content_type)
        seen = self._seen.setdefault((webhook_id, kind), _Seen())
        if shape in seen.shapes:
            return
        seen.shapes.add(shape)
        self._new.append(
            Capture(
                webhook_id=webhook_id,
                kind=kind,
                shape=shape,
                http_status=message.http_status,
                content_type=message.content_type,
                excerpt=excerpt_of(document, binding.confidential()),
                job_id=message.job_id,
                captured_at=message.at,
            )
        )

    async def run_once(self) -> int:
        """Write what is new; how many were kept. Raises StoreUnavailable, and has them still."""
        items = list(self._new)
        if not items:
            return 0
        self._new.clear()
        try:
            return await self._database.write(partial(captures.keep, items=items))
        except BaseException:
            self._new.extendleft(reversed(items))
            raise
