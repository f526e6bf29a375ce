"""A webhook together with what its provider's profile makes of it: where it may fetch from, with what, how often."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import structlog

from relay.clock import Instant, after, seconds_between
from relay.errors import UrlRefused
from relay.frozen import frozen
from relay.model import Job, Secret, Webhook
from relay.outbound.authorization import Authorization
from relay.outbound.urls import canonical_origin
from relay.pipeline.verify import is_authenticated
from relay.providers.profile import Profile, VerificationScheme

log = structlog.get_logger(__name__)


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
    scheme: VerificationScheme  # as it holds for this webhook
    secrets: Mapping[str, Secret]  # that notifications are verified by
    takes_inline: bool  # a notification may itself be the payload

    @property
    def retention_seconds(self) -> float:
        """How long the provider keeps a result."""
        given = self.webhook.retention_seconds
        return self.profile.retention.effective_seconds if given is None else given

    def confidential(self) -> list[Secret]:
        """What must not be kept of anything that the provider sends back."""
        shown = {} if self.authorization is None else self.authorization.headers
        return [*self.webhook.credentials.values(), *shown.values(), *self.secrets.values()]

    def waits(self, *, notified: bool, expects_notification: bool, age_seconds: float = 0.0) -> tuple[float, ...]:
        """The waits between one try and the next, as things stand with a job of this age."""
        poll = self.profile.poll
        if notified:
            return poll.ready
        if self.webhook.poll_seconds:
            return self.webhook.poll_seconds
        if expects_notification:
            return poll.backstop
        by_age = (every for until, every in poll.steps if age_seconds < until)
        return (next(by_age, poll.waits[-1]),) if poll.steps else poll.waits

    def waits_of(self, job: Job, now: Instant) -> tuple[float, ...]:
        """The waits that hold for this job."""
        calls_back = self.profile.callback is not None and (job.submitted or not job.tracked)
        age = seconds_between(job.created_at, now)
        return self.waits(notified=job.notified_at is not None, expects_notification=calls_back, age_seconds=age)

    def first_deadline(self, submitted_at: Instant) -> Instant:
        """When a job that was submitted at that time should be over, or is dropped whether it is or not."""
        if self.profile.retention.anchor == "submitted":
            return after(submitted_at, self.retention_seconds)
        return after(submitted_at, self.profile.poll.max_wait_seconds)


class Bindings:
    """Makes bindings and keeps them until the webhook changes."""

    def __init__(self, profiles: Mapping[str, Profile]) -> None:
        self._profiles = profiles
        self._made: dict[str, Binding] = {}
        self._unfit: dict[str, Webhook] = {}
        self._told: Mapping[str, Webhook] | None = None
        self._siblings: dict[str, tuple[str, ...]] = {}

    def of(self, webhook: Webhook) -> Binding | None:
        """The binding of a webhook; None when its provider's profile is not loaded (any more), or has changed since so
        that what the webhook was given no longer fits it."""
        made = self._made.get(webhook.id)
        if made is not None and made.webhook is webhook:
            return made
        profile = self._profiles.get(webhook.provider)
        if profile is None or self._unfit.get(webhook.id) is webhook:
            return None
        try:
            made = bind(webhook, profile)
        except (UrlRefused, ValueError) as error:
            self._unfit[webhook.id] = webhook
            log.error("webhook.unfit", webhook_id=webhook.id, provider=webhook.provider, reason=str(error))
            return None
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
    callback = profile.callback
    own_scheme = VerificationScheme() if callback is None else callback.verification
    scheme, secrets = own_scheme.bound(webhook.parameters, webhook.verification)
    authenticated = is_authenticated(scheme, secrets)
    return Binding(
        webhook=webhook,
        profile=profile,
        origins=origins,
        base_url=base_url,
        origin=named[0] if named else webhook.id,
        authorization=Authorization(origins, headers) if headers else None,
        prefixes=tuple(f"{origin}/" for origin in sorted(origins)),
        account=_account(webhook),
        scheme=scheme,
        secrets=secrets,
        takes_inline=callback is not None and callback.may_take_inline(authenticated=authenticated),
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
