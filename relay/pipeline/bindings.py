"""A webhook together with what its provider's profile makes of it: where it may fetch from, with what, how often."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from relay.frozen import frozen
from relay.model import Webhook
from relay.outbound.authorization import Authorization
from relay.outbound.urls import canonical_origin
from relay.providers.profile import Profile


@frozen()
class Binding:
    """What the stages need to know of a webhook."""

    webhook: Webhook
    profile: Profile
    origins: frozenset[str]  # where results may be fetched from; the credentials go nowhere else
    base_url: str | None
    origin: str  # the one that is asked first: what breaker and pace belong to
    authorization: Authorization | None
    prefixes: tuple[str, ...]  # the origins with the slash behind them
    account: bytes  # equal for webhooks that share provider and credentials

    @property
    def retention_seconds(self) -> float:
        """How long the provider keeps a result."""
        given = self.webhook.retention_seconds
        return self.profile.retention.effective_seconds if given is None else given

    def waits(self, *, notified: bool, expects_notification: bool) -> tuple[float, ...]:
        """The waits between one try and the next, as things stand."""
        poll = self.profile.poll
        if notified:
            return poll.ready
        if self.webhook.poll_seconds:
            return self.webhook.poll_seconds
        return poll.backstop if expects_notification else poll.waits


class Bindings:
    """Makes bindings and keeps them until the webhook changes."""

    def __init__(self, profiles: Mapping[str, Profile]) -> None:
        self._profiles = profiles
        self._made: dict[str, Binding] = {}
        self._told: Mapping[str, Webhook] | None = None
        self._siblings: dict[str, tuple[str, ...]] = {}

    def of(self, webhook: Webhook) -> Binding | None:
        """The binding of a webhook; None when its provider's profile is not loaded (any more)."""
        made = self._made.get(webhook.id)
        if made is not None and made.webhook is webhook:
            return made
        profile = self._profiles.get(webhook.provider)
        if profile is None:
            return None
        made = bind(webhook, profile)
        self._made[webhook.id] = made
        return made

    def siblings(self, webhook: Webhook, webhooks: Mapping[str, Webhook]) -> tuple[str, ...]:
        """The other webhooks on the same provider account."""
        if webhooks is not self._told:  # a configuration that was read anew is a new mapping
            self._told, self._siblings = webhooks, {}
        siblings = self._siblings.get(webhook.id)
        if siblings is None:
            siblings = self._siblings[webhook.id] = self._find_siblings(webhook, webhooks)
        return siblings

    def _find_siblings(self, webhook: Webhook, webhooks: Mapping[str, Webhook]) -> tuple[str, ...]:
        mine = self.of(webhook)
        if mine is None or not webhook.credentials:
            return ()
        others = (other for other in webhooks.values() if other.id != webhook.id and other.provider == webhook.provider)
        return tuple(
            other.id for other in others if (binding := self.of(other)) is not None and binding.account == mine.account
        )


def bind(webhook: Webhook, profile: Profile) -> Binding:
    """Raises UrlRefused or ValueError when the webhook's origins or credentials cannot be used."""
    base_url = webhook.base_url or (webhook.origins[0] if webhook.origins else profile.base_url)
    named = [canonical_origin(origin) for origin in (webhook.origins or profile.origins)]
    if base_url is not None:
        named.append(_origin_of(base_url))
    origins = frozenset(named)
    headers = profile.auth.headers(webhook.credentials) if profile.auth.kind != "none" and webhook.credentials else {}
    return Binding(
        webhook=webhook,
        profile=profile,
        origins=origins,
        base_url=base_url,
        origin=named[0] if named else webhook.id,
        authorization=Authorization(origins, headers) if headers else None,
        prefixes=tuple(f"{origin}/" for origin in sorted(origins)),
        account=_account(webhook),
    )


def _origin_of(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return canonical_origin(f"{scheme}://{rest.partition('/')[0]}")


def _account(webhook: Webhook) -> bytes:
    """A digest, because what it is compared by must not be a credential."""
    parts = [
        webhook.provider,
        *(f"{name}={webhook.credentials[name].reveal()}" for name in sorted(webhook.credentials)),
    ]
    return hashlib.sha256("\0".join(parts).encode()).digest()
