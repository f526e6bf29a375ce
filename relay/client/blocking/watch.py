"""The live stream, resumed whenever it breaks."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from relay.client.answers import may_pass
from relay.client.blocking.api import Api
from relay.client.errors import ApiError, Unexpected, Unreachable
from relay.client.pauses import Pause
from relay.clock import Clock, Instant, seconds_between

REMEMBERED: Final = 5000  # ids of events: a resumed stream repeats some seconds
LONGEST_PAUSE_SECONDS: Final = 10.0
QUIET_SECONDS: Final = 40.0  # a relay's stream says something every fifteen


class StreamWatcher(Protocol):
    """Who is told how it goes."""

    def lost(self, reason: str) -> None:
        """The stream broke or ended. It is taken up again."""
        ...

    def back(self, seconds: float) -> None:
        """It goes on after so long."""
        ...

    def connected(self) -> None:
        """It is open for the first time."""
        ...


class Stream:
    """Events for ever, each once as far as is remembered."""

    def __init__(
        self,
        api: Api,
        params: Mapping[str, object],
        watcher: StreamWatcher,
        clock: Clock,
        pause: Pause,
        *,
        after: str | None = None,
    ) -> None:
        self._api = api
        self._params = params
        self._watcher = watcher
        self._clock = clock
        self._pause = pause
        self.last_id: str | None = after  # where it goes on
        self._seen: OrderedDict[str, None] = OrderedDict([((after or "").partition("-")[2], None)])
        self._connected = False
        self._lost_at: Instant | None = None
        self._failures = 0

    def events(self) -> Iterator[dict[str, Any]]:
        """The data of one event after the other. Raises ApiError when the relay refuses for good, and Unexpected when
        what answers first is none."""
        while True:
            reason = "the stream ended"
            try:
                for event in self._api.events("/v1/stream", self._params, self.last_id, quiet_seconds=QUIET_SECONDS):
                    self._is_open()
                    if event.name == "stream.end":
                        reason = f"the relay ended the stream ({_reason(event.data)})"
                    elif event.name == "stream.gap":
                        yield {"type": event.name, **json.loads(event.data)}
                    elif event.data and self._is_new(event.id, data := json.loads(event.data)):
                        yield data
            except (Unreachable, Unexpected) as error:
                if not (self._connected or may_pass(error)):  # it never was a relay
                    raise
                reason = str(error)
            except ApiError as error:
                if error.status < 500:
                    raise
                reason = str(error)
            self._is_lost(reason)

    def _is_open(self) -> None:
        self._failures = 0
        if self.last_id is None:  # or what happens between a break and the next connection would not be told
            self.last_id = f"{self._clock.now()}-"
        if self._lost_at is not None:
            self._watcher.back(seconds_between(self._lost_at, self._clock.now()))
            self._lost_at = None
        elif not self._connected:
            self._watcher.connected()
        self._connected = True

    def _is_lost(self, reason: str) -> None:
        if self._lost_at is None:
            self._lost_at = self._clock.now()
            self._watcher.lost(reason)
        self._pause(min(LONGEST_PAUSE_SECONDS, 0.5 * 2 ** min(self._failures, 6)))
        self._failures += 1

    def _is_new(self, event_id: str | None, data: dict[str, Any]) -> bool:
        self.last_id = event_id or self.last_id
        key = str(data.get("id"))
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True


def _reason(data: str) -> str:
    try:
        return str(json.loads(data)["reason"])
    except (ValueError, KeyError, TypeError):
        return "unknown"
