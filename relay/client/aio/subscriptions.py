"""`relay.subscriptions`: where results go and which ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from relay.client.aio.api import AsyncApi
from relay.client.paths import one
from relay.client.things import Subscription, Webhook, given, read, written

PATH = "/v1/subscriptions"


class Subscriptions:
    """Where results go and which ones."""

    def __init__(self, api: AsyncApi) -> None:
        self._api = api

    async def create(
        self,
        name: str,
        url: str | None = None,
        *,
        kind: str | None = None,
        webhooks: Sequence[Webhook | str] | None = None,
        event_types: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
        format: str | None = None,
        headers: Mapping[str, str] | None = None,
        signing: str | None = None,
        secret: str | None = None,
        schedule_seconds: Sequence[float] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Subscription:
        """Subscribe a URL, or with `kind="pull"` a program that takes. Its `secret` is shown only now."""
        body = given(
            name=name,
            url=url,
            kind=kind,
            webhook_ids=webhooks,
            event_types=event_types,
            filter=filter,
            format=format,
            headers=headers,
            signing=signing,
            secret=secret,
            schedule_seconds=schedule_seconds,
            metadata=metadata,
            **more,
        )
        return read(Subscription, await self._api.call("POST", PATH, body=body))

    async def get(self, subscription: Subscription | str) -> Subscription:
        """One, by its id."""
        return read(Subscription, await self._api.call("GET", one(PATH, subscription)))

    async def list(self) -> AsyncIterator[Subscription]:
        """All of them, newest first, page by page as they are consumed."""
        async for item in self._api.pages(PATH, {}):
            yield read(Subscription, item)

    async def update(self, subscription: Subscription | str, **changes: Any) -> Subscription:
        """Change the fields that are named; None is a value."""
        return read(Subscription, await self._api.call("PATCH", one(PATH, subscription), body=written(changes)))

    async def delete(self, subscription: Subscription | str) -> None:
        """Delete it with its pending deliveries."""
        await self._api.call("DELETE", one(PATH, subscription))

    async def rotate_secret(self, subscription: Subscription | str, **how: Any) -> Subscription:
        """A new signing secret, in the answer only; both sign until `overlap_seconds` are over."""
        return await self._act(subscription, "rotate-secret", written(how))

    async def pause(self, subscription: Subscription | str) -> Subscription:
        """Keep its deliveries until it is resumed."""
        return await self._act(subscription, "pause")

    async def resume(self, subscription: Subscription | str) -> Subscription:
        """Send what has waited."""
        return await self._act(subscription, "resume")

    async def enable(self, subscription: Subscription | str) -> Subscription:
        """Take it into use again after a 410."""
        return await self._act(subscription, "enable")

    async def test(self, subscription: Subscription | str) -> Mapping[str, Any]:
        """Send a test message now; what became of it, as the API says it."""
        answer: dict[str, Any] = await self._api.call("POST", one(PATH, subscription, "test"))
        return answer

    async def missing(
        self, subscription: Subscription | str, *, since: datetime | None = None
    ) -> AsyncIterator[Mapping[str, Any]]:
        """The results that it wants and does not have, newest first, as the API says it."""
        async for item in self._api.pages(one(PATH, subscription, "missing"), given(since=since)):
            yield item

    async def _act(self, subscription: Subscription | str, verb: str, body: object = None) -> Subscription:
        return read(Subscription, await self._api.call("POST", one(PATH, subscription, verb), body=body))
