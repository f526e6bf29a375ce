"""`/v1/stream`: what happens, as it happens, for looking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

from relay.clock import Instant, after, rfc3339
from relay.errors import StoreUnavailable
from relay.model import Scope
from relay.pipeline.bell import rest
from relay.pipeline.tail import LONGEST_RESUME_SECONDS, SOURCES, Happened, Tail
from relay.web import sse
from relay.web.api import deliveries, jobs, notifications, results
from relay.web.auth import authenticate
from relay.web.endpoint import Call, endpoint
from relay.web.fields import Nothing, Query, WebhookId
from relay.web.problems import Problem
from relay.web.services import Services

LOOK_SECONDS: Final = 0.5
HEARTBEAT_SECONDS: Final = 15.0
AWAY_SECONDS: Final = 1.0
RETRY_MS: Final = 2000

StreamType = Literal[
    "notification", "notification.accepted", "notification.ignored", "notification.unprocessable",
    "notification.rejected",
    "job", "job.waiting", "job.fetching", "job.completed", "job.failed", "job.cancelled", "job.expired",
    "result", "result.completed", "result.failed", "result.cancelled", "result.expired",
    "delivery", "delivery.pending", "delivery.delivered", "delivery.exhausted", "delivery.cancelled",
]  # fmt: skip


class StreamQuery(Query):
    """What to watch."""

    webhook_id: WebhookId | None = None
    types: Annotated[
        tuple[StreamType, ...],
        Field(description="Nouns or types of events, separated by commas; without it everything."),
    ] = ()


@endpoint("GET", "/v1/stream", scope=Scope.READ, answers={200: sse.CONTENT_TYPE})
async def watch(call: Call[StreamQuery, Nothing]) -> Response:
    """Notifications, jobs, results and deliveries as they change, as server-sent events.

    For looking, not for relying on: a subscription loses nothing, this may. The header `Last-Event-ID` resumes with a
    few seconds of overlap; the `id` in an event's data tells repeats. What is more than an hour old is not told any
    more: then the event `stream.gap` comes first. `stream.end` says why a stream ends.
    """
    services, query = call.services, call.query
    if services.streams.open >= services.streams.most:
        detail = f"{services.streams.most} streams are open already."
        raise Problem(503, "too_many_streams", detail, headers={"retry-after": "5"})
    nouns = [noun for noun in SOURCES if not query.types or any(_is_of(noun, name) for name in query.types)]
    since = _resumed(call.request.headers.get("last-event-id"), call.now)
    earliest = after(call.now, -LONGEST_RESUME_SECONDS)
    gap = since if since is not None and since < earliest else None
    begin = None if since is None else max(since, earliest)
    tail = Tail(services.database, services.clock, webhook_id=query.webhook_id, nouns=nouns, since=begin)
    watching = _Watching(call, tail, gap)
    return sse.EventStream(call.request, services.stopping, watching.events)


class _Watching:
    """One stream, from its first byte to its last."""

    def __init__(self, call: Call[StreamQuery, Nothing], tail: Tail, gap: Instant | None) -> None:
        self._call = call
        self._services = call.services
        self._tail = tail
        self._gap = gap

    async def events(self, ended: asyncio.Event) -> AsyncIterator[bytes]:
        with _place(self._services):
            yield b"retry: %d\n: watching\n\n" % RETRY_MS
            if self._gap is not None:
                yield sse.event("stream.gap", {"since": rfc3339(self._gap), "until": rfc3339(self._tail.position)})
            reason = "stopping"
            async for part in self._until(ended):
                if part is None:
                    reason = "key_refused"
                    break
                yield part
            yield sse.event("stream.end", {"reason": reason})

    async def _until(self, ended: asyncio.Event) -> AsyncIterator[bytes | None]:
        """Events and heartbeats; None when the key is good no longer."""
        clock = self._services.clock
        beat_at = clock.monotonic() + HEARTBEAT_SECONDS
        while not ended.is_set():
            try:
                found = await self._tail.look()
            except StoreUnavailable:
                yield b": the database is away\n\n"
                await rest(clock, AWAY_SECONDS, ended)
                continue
            for happened in found:
                if self._wanted(happened):
                    yield self._written(happened)
            if clock.monotonic() >= beat_at:
                beat_at = clock.monotonic() + HEARTBEAT_SECONDS
                yield sse.HEARTBEAT if await self._may_go_on() else None
            if not self._tail.behind:
                await rest(clock, LOOK_SECONDS, ended)

    async def _may_go_on(self) -> bool:
        try:
            await authenticate(self._services, self._call.request, Scope.READ)
        except Problem:
            return False
        return True

    def _wanted(self, happened: Happened) -> bool:
        types = self._call.query.types
        return not types or happened.noun in types or happened.type in types

    def _written(self, happened: Happened) -> bytes:
        data = {
            "id": happened.key,
            "type": happened.type,
            "timestamp": rfc3339(happened.at),
            "data": _VIEWS[happened.noun](self._services, happened.item).model_dump(mode="json"),
        }
        return sse.event(happened.type, data, id=f"{self._tail.position}-{happened.key}")


_VIEWS: Final[dict[str, Callable[[Services, Any], BaseModel]]] = {
    "notification": lambda _, item: notifications.view_of(item),
    "job": jobs.view_of,
    "result": results.view_of,
    "delivery": lambda _, item: deliveries.view_of(item),
}


@contextmanager
def _place(services: Services) -> Iterator[None]:
    services.streams.open += 1
    try:
        yield
    finally:
        services.streams.open -= 1


def _is_of(noun: str, name: str) -> bool:
    return name == noun or name.startswith(f"{noun}.")


def _resumed(last_event_id: str | None, now: Instant) -> Instant | None:
    """The place that an event's id names; None, as without one, for what is no id of this stream."""
    head, _, _ = (last_event_id or "").partition("-")
    if not (head.isascii() and head.isdigit() and len(head) <= 15):
        return None
    return min(Instant(int(head)), now)
