"""`relay.subscriptions`: where results go and which ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from relay.client.blocking.api import Api
from relay.client.paths import one
from relay.client.things import Subscription, Webhook, given, read, written

PATH = "/v1/subscriptions"


class Subscriptions:
    """Where results go and which ones."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def create(
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
        return read(Subscription, self._api.call("POST", PATH, body=body))

    def get(self, subscription: Subscription | str) -> Subscription:
        """One, by its id."""
        return read(Subscription, self._api.call("GET", one(PATH, subscription)))

    def list(self) -> Iterator[Subscription]:
        """All of them, newest first, page by page as they are consumed."""
        for item in self._api.pages(PATH, {}):
            yield read(Subscription, item)

    def update(self, subscription: Subscription | str, **changes: Any) -> Subscription:
        """Change the fields that are named; None is a value."""
        return read(Subscription, self._api.call("PATCH", one(PATH, subscription), body=written(changes)))

    def delete(self, subscription: Subscription | str) -> None:
        """Delete it with its pending deliveries."""
        self._api.call("DELETE", one(PATH, subscription))

    def rotate_secret(self, subscription: Subscription | str, **how: Any) -> Subscription:
        """A new signing secret, in the answer only; both sign until `overlap_seconds` are over."""
        return self._act(subscription, "rotate-secret", written(how))

    def pause(self, subscription: Subscription | str) -> Subscription:
        """Keep its deliveries until it is resumed."""
        return self._act(subscription, "pause")

    def resume(self, subscription: Subscription | str) -> Subscription:
        """Send what has waited."""
        return self._act(subscription, "resume")

    def enable(self, subscription: Subscription | str) -> Subscription:
        """Take it into use again after a 410."""
        return self._act(subscription, "enable")

    def test(self, subscription: Subscription | str) -> Mapping[str, Any]:
        """Send a test message now; what became of it, as the API says it."""
        answer: dict[str, Any] = self._api.call("POST", one(PATH, subscription, "test"))
        return answer

    def missing(
        self, subscription: Subscription | str, *, since: datetime | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """The results that it wants and does not have, newest first, as the API says it."""
        for item in self._api.pages(one(PATH, subscription, "missing"), given(since=since)):
            yield item

    def _act(self, subscription: Subscription | str, verb: str, body: object = None) -> Subscription:
        return read(Subscription, self._api.call("POST", one(PATH, subscription, verb), body=body))
