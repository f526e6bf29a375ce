"""`relay.pull`: the messages of a pull subscription, one after the other."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from relay.client.aio.api import AsyncApi
from relay.client.answers import may_pass, pause_before
from relay.client.errors import ApiError, Unexpected, Unreachable
from relay.client.paths import one
from relay.client.receiving import Event, read_envelope, unwrap
from relay.clock import Instant

WAIT_SECONDS = 20.0  # of a long poll
LEASE_SECONDS = 60
LONGEST_RETRY_SECONDS = 60.0
PATH = "/v1/subscriptions"


@dataclass(frozen=True)
class Message:
    """One message, leased. As a context manager it is acknowledged at the end, and given back if that is an exception.

    `id` is the same each time it comes: remember it to handle each message once. `body` and `headers` are what a push
    would have sent, signature and all.
    """

    id: str
    lease: str
    attempt: int
    trigger: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    api: AsyncApi = field(repr=False, compare=False)
    path: str = field(repr=False)

    @property
    def event(self) -> Event:
        """What it says. It came from the relay itself: no signature is looked at. Raises NotAnEnvelope."""
        return read_envelope(self.body, self.id)

    def unwrap(self, secret: str | Sequence[str], *, now: Instant | None = None) -> Event:
        """The same, with the signature verified: for a program that does not trust who hands it over."""
        return unwrap(self.body, self.headers, secret, now=now)

    async def ack(self) -> None:
        """It is handled and will not come again."""
        await self.api.call("POST", f"{self.path}/ack", body={"message_ids": [self.id]})

    async def release(self, delay_seconds: float = 0) -> None:
        """Give it back: it comes again after so long. A lease that is over already changes nothing."""
        body = {"leases": [self.lease], "delay_seconds": delay_seconds}
        await self.api.call("POST", f"{self.path}/release", body=body)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.ack()
            return
        try:
            await self.release(min(LONGEST_RETRY_SECONDS, 2.0 ** min(self.attempt - 1, 10)))
        except (ApiError, Unreachable, Unexpected):
            return  # the lease ends by itself; what was raised matters more


async def pulled(api: AsyncApi, subscription_id: str, batch: int, lease_seconds: int) -> AsyncIterator[Message]:
    """Messages for ever."""
    path = one(PATH, subscription_id)
    params = {"limit": batch, "wait": round(WAIT_SECONDS), "lease_seconds": lease_seconds}
    failures = 0
    while True:
        began = api.clock.monotonic()
        try:
            page = await api.call("GET", f"{path}/messages", params=params, wait_seconds=WAIT_SECONDS)
            items = page["data"]
            failures = 0
        except (ApiError, Unreachable, Unexpected) as error:
            if not may_pass(error):
                raise
            await api.pause(pause_before(failures, error, api.clock.random()))
            failures += 1
            continue
        for item in items:
            yield _message(api, path, item)
        if not items and api.clock.monotonic() - began < 1:
            await api.pause(1.0)  # a relay that does not wait: the subscription is paused, or it is stopping


def _message(api: AsyncApi, path: str, item: Mapping[str, Any]) -> Message:
    text = item.get("body")
    return Message(
        id=str(item["message_id"]),
        lease=str(item["lease"]),
        attempt=int(item["attempt"]),
        trigger=str(item["trigger"]),
        headers={str(name): str(value) for name, value in item["headers"].items()},
        body=text.encode() if isinstance(text, str) else base64.b64decode(item["body_base64"]),
        api=api,
        path=path,
    )
