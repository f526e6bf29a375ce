"""`relay.stream`: what happens, as values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from relay.client.aio.api import AsyncApi
from relay.client.aio.watch import Stream
from relay.client.things import Happening, read


class Unwatched:
    """Nobody is told how the connection is: it mends itself."""

    def lost(self, reason: str) -> None:
        """Say nothing."""

    def back(self, seconds: float) -> None:
        """Say nothing."""

    def connected(self) -> None:
        """Say nothing."""


async def happenings(api: AsyncApi, params: Mapping[str, object], after: str | None) -> AsyncIterator[Happening]:
    """Events for ever."""
    stream = Stream(api, params, Unwatched(), api.clock, api.pause, after=after)
    async for event in stream.events():
        yield read(Happening, {"id": "", **event}, cursor=stream.last_id)
