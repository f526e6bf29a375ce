"""`relay.webhooks`: inbound addresses to hand to providers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relay.client.blocking.api import Api
from relay.client.paths import one
from relay.client.things import Webhook, given, read, written

PATH = "/v1/webhooks"


class Webhooks:
    """Registered inbound addresses."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def create(
        self,
        name: str,
        provider: str,
        *,
        credentials: Mapping[str, str] | None = None,
        verification: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
        origins: Sequence[str] | None = None,
        base_url: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Webhook:
        """Register one; its `callback_url` is what the provider is to be given. `more`: the API's other fields."""
        body = given(
            name=name,
            provider=provider,
            credentials=credentials,
            verification=verification,
            parameters=parameters,
            origins=origins,
            base_url=base_url,
            metadata=metadata,
            **more,
        )
        return read(Webhook, self._api.call("POST", PATH, body=body))

    def get(self, webhook: Webhook | str) -> Webhook:
        """One, by its id."""
        return read(Webhook, self._api.call("GET", one(PATH, webhook)))

    def list(self) -> Iterator[Webhook]:
        """All of them, newest first, page by page as they are consumed."""
        for item in self._api.pages(PATH, {}):
            yield read(Webhook, item)

    def update(self, webhook: Webhook | str, **changes: Any) -> Webhook:
        """Change the fields that are named; None is a value. New credentials are tried at once."""
        return read(Webhook, self._api.call("PATCH", one(PATH, webhook), body=written(changes)))

    def rotate(self, webhook: Webhook | str, *, overlap_seconds: float = 0) -> Webhook:
        """A new callback URL; the old one works for so long yet."""
        body = {"overlap_seconds": overlap_seconds}
        return read(Webhook, self._api.call("POST", one(PATH, webhook, "rotate"), body=body))

    def enable(self, webhook: Webhook | str) -> Webhook:
        """Take its callbacks again."""
        return read(Webhook, self._api.call("POST", one(PATH, webhook, "enable")))

    def disable(self, webhook: Webhook | str) -> Webhook:
        """Answer its callbacks with 410 until it is enabled."""
        return read(Webhook, self._api.call("POST", one(PATH, webhook, "disable")))

    def delete(self, webhook: Webhook | str) -> None:
        """Delete it: jobs under way finish, then its credentials are erased."""
        self._api.call("DELETE", one(PATH, webhook))
