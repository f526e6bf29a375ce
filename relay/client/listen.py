"""Bringing a pull subscription's messages to a function, and losing none: through restarts of the relay, a machine that
sleeps, and a function that fails for hours.

A message is acknowledged only after it was handled; an acknowledgement that cannot be sent is kept and sent first when
the relay is back. What is not handled is given back and comes again, later each time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote

from relay.client.forward import Answered
from relay.client.http import Api, ApiError, Unexpected, Unreachable
from relay.clock import Clock, Instant, parse_rfc3339, seconds_between
from relay.errors import RelayError
from relay.model import Secret

WAIT_SECONDS: Final = 15.0  # of a long poll: a connection that is dead unnoticed is found out in twice that
LEASE_SECONDS: Final = 60
LONGEST_RETRY_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 10.0
ASLEEP_SECONDS: Final = 60.0  # longer than one step takes, if the machine is awake

Handle = Callable[[Mapping[str, str], bytes], Answered]


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came, and the time of its delivery's making."""

    id: str
    lease: str
    attempt: int
    created_at: Instant
    headers: Mapping[str, str]
    body: bytes


class Watcher(Protocol):
    """Who is told how it goes."""

    def handled(self, message: Message, answered: Answered, retry_seconds: float | None) -> None:
        """One message was handed over; `retry_seconds` until it comes again, None when it was taken."""
        ...

    def lost(self, reason: str) -> None:
        """The relay is out of reach. It is tried again until it is back."""
        ...

    def back(self, seconds: float) -> None:
        """It is back after so long."""
        ...

    def woke(self, seconds: float) -> None:
        """This machine was asleep."""
        ...

    def missed(self, count: int) -> None:
        """So many messages had waited while nobody listened; all of them have been handed over now."""
        ...

    def alive(self) -> None:
        """The relay answered just now."""
        ...


class Listener:
    """Takes messages one by one. `step` until it is enough, then `finish`."""

    def __init__(
        self,
        api: Api,
        subscription_id: str,
        handle: Handle,
        watcher: Watcher,
        clock: Clock,
        pause: Callable[[float], None],
    ) -> None:
        self._api = api
        self._path = f"/v1/subscriptions/{quote(subscription_id, safe='')}"
        self._handle = handle
        self._watcher = watcher
        self._clock = clock
        self._pause = pause
        self._unacknowledged: list[str] = []
        self._lost_at: Instant | None = None
        self._failures = 0
        self._awake_at = clock.now()
        self._missed_until: Instant | None = clock.now()  # messages made before then had to wait
        self._missed = 0

    def step(self) -> None:
        """One long poll and what it brought. Raises ApiError when the relay refuses for good."""
        self._notice_sleep()
        try:
            self._acknowledge()
            message = self._take()
        except RelayError as error:
            self._notice_sleep()
            self._out_of_reach(error)
            return
        self._notice_sleep()
        self._in_reach()
        if message is None:
            self._caught_up()
            return
        self._count(message)
        self._hand_over(message)
        self._awake_at = self._clock.now()  # what it was handed to may take its time

    def finish(self) -> None:
        """Send what is still to be acknowledged. Raises RelayError."""
        self._acknowledge()

    def _take(self) -> Message | None:
        params = {"limit": 1, "wait": round(WAIT_SECONDS), "lease_seconds": LEASE_SECONDS}
        page = self._api.page(f"{self._path}/messages", params)
        return _message(page["data"][0]) if page["data"] else None

    def _hand_over(self, message: Message) -> None:
        answered = self._handle(message.headers, message.body)
        delay = None if answered.taken else min(LONGEST_RETRY_SECONDS, 2.0 ** min(message.attempt - 1, 10))
        self._watcher.handled(message, answered, delay)
        try:
            if delay is None:
                self._unacknowledged.append(message.id)
                self._acknowledge()
            else:
                body = {"leases": [message.lease], "delay_seconds": delay}
                self._api.call("POST", f"{self._path}/release", body=body)
        except RelayError as error:  # a lease that is not given back ends by itself
            self._out_of_reach(error)

    def _acknowledge(self) -> None:
        if self._unacknowledged:
            self._api.call("POST", f"{self._path}/ack", body={"message_ids": self._unacknowledged})
            self._unacknowledged.clear()

    # --- how it stands ---

    def _out_of_reach(self, error: RelayError) -> None:
        if not _may_pass(error):
            raise error
        if self._lost_at is None:
            self._lost_at = self._clock.now()
            self._watcher.lost(str(error))
        self._pause(min(LONGEST_PAUSE_SECONDS, 0.5 * 2 ** min(self._failures, 6)))
        self._failures += 1

    def _in_reach(self) -> None:
        self._failures = 0
        self._watcher.alive()
        if self._lost_at is not None:
            now = self._clock.now()
            self._watcher.back(seconds_between(self._lost_at, now))
            self._lost_at = None
            self._missed_until = now

    def _notice_sleep(self) -> None:
        now = self._clock.now()
        asleep = seconds_between(self._awake_at, now)
        self._awake_at = now
        if asleep > ASLEEP_SECONDS and self._lost_at is None:
            self._watcher.woke(asleep)
            self._missed_until = now

    def _count(self, message: Message) -> None:
        if self._missed_until is None:
            return
        if message.created_at < self._missed_until:
            self._missed += 1
        else:
            self._caught_up()

    def _caught_up(self) -> None:
        if self._missed_until is not None and self._missed:
            self._watcher.missed(self._missed)
        self._missed_until, self._missed = None, 0


def _may_pass(error: RelayError) -> bool:
    """Whether trying again can help: nobody is there, or somebody who cannot just now."""
    if isinstance(error, ApiError):
        return error.status >= 500 or error.status == 429
    return isinstance(error, Unreachable | Unexpected)


def _message(item: Mapping[str, Any]) -> Message:
    text = item.get("body")
    return Message(
        id=str(item["message_id"]),
        lease=str(item["lease"]),
        attempt=int(item["attempt"]),
        created_at=parse_rfc3339(item["created_at"]),
        headers={str(name): str(value) for name, value in item["headers"].items()},
        body=text.encode() if isinstance(text, str) else base64.b64decode(item["body_base64"]),
    )


def local_secret(api_key: Secret) -> str:
    """A signing secret that is the same for every session with this key, so that it can stand in a file."""
    made = hmac.digest(api_key.reveal().encode(), b"relay listen: signing secret", hashlib.sha256)
    return f"whsec_{base64.b64encode(made).decode()}"
