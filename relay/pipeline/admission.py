"""Who comes in at a callback URL: token and method are judged before anything of the body is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from relay.clock import Clock, Instant
from relay.frozen import frozen
from relay.model import Webhook, WebhookStatus
from relay.pipeline.floor import Floor
from relay.signing.tokens import CallbackToken, CallbackTokens

RETRY_AFTER_SECONDS: Final = 5
LONGEST_RETRY_AFTER_SECONDS: Final = 60  # a provider may give up over more
LEEWAY_SECONDS: Final = 1e-9  # what adding up costs


@frozen()
class Admitted:
    """A request whose token is good: read its body."""

    webhook: Webhook
    job_id: str | None


@frozen()
class TurnedAway:
    """A request that is answered without reading its body."""

    http_status: int
    retry_after: int | None = None
    allow: str | None = None
    reason: str | None = None  # for the log


class _Rates:
    """How many calls a second of this process each webhook takes that has a limit; a second's worth may come at once.

    Of each the time is kept at which all that was taken would have come at its even pace.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._paid_until: dict[str, float] = {}

    def wait(self, webhook_id: str, rate: float) -> float:
        """Takes one, and says 0; else how many seconds there is none."""
        now = self._clock.monotonic()
        paid_until = max(self._paid_until.get(webhook_id, now), now)
        wait = paid_until - now - (max(rate, 1.0) - 1.0) / rate
        if wait > LEEWAY_SECONDS:
            return wait
        self._paid_until[webhook_id] = paid_until + 1.0 / rate
        return 0.0


class Admission:
    """Raises StoreUnavailable from `admit` where the database has to be asked and is away."""

    def __init__(self, floor: Floor, tokens: CallbackTokens, may_take: Callable[[], bool]) -> None:
        self._floor = floor
        self._configuration = floor.configuration
        self._bindings = floor.bindings
        self._tokens = tokens
        self._may_take = may_take
        self._rates = _Rates(floor.clock)

    async def admit(self, token: str, method: str) -> Admitted | TurnedAway:
        """Judge the token and the method; no database is asked unless a good token names an unknown webhook."""
        read = self._tokens.read(token)
        if read is None:
            return TurnedAway(404)
        webhook = self._configuration.current.webhooks.get(read.webhook_id)
        if webhook is None or read.generation > webhook.generation:  # made or rotated by another node just now
            webhook = (await self._configuration.refresh()).webhooks.get(read.webhook_id)
        if webhook is None:
            return TurnedAway(404)
        return self._judge(read, webhook, method)

    def admit_now(self, token: str, method: str) -> Admitted | None:
        """The same for a token whose webhook is known here and takes it; None = only `admit` can tell."""
        read = self._tokens.read(token)
        webhook = None if read is None else self._configuration.current.webhooks.get(read.webhook_id)
        if read is None or webhook is None or read.generation > webhook.generation:
            return None
        judged = self._judge(read, webhook, method)
        return judged if isinstance(judged, Admitted) else None

    def _judge(self, read: CallbackToken, webhook: Webhook, method: str) -> Admitted | TurnedAway:
        if webhook.deleted_at is not None or webhook.status is WebhookStatus.DISABLED:
            return TurnedAway(410)
        if not is_current(webhook, read.generation, self._floor.clock.now()):
            return TurnedAway(410)
        binding = self._bindings.of(webhook)
        if binding is None or not self._may_take():
            return TurnedAway(503, RETRY_AFTER_SECONDS)
        methods = binding.profile.callback.methods if binding.profile.callback else ("POST",)
        if method not in methods:
            return TurnedAway(405, allow=", ".join(methods))
        rate = webhook.notification_rate_per_second
        if rate is not None and (wait := self._rates.wait(webhook.id, rate)):
            return TurnedAway(503, min(math.ceil(wait), LONGEST_RETRY_AFTER_SECONDS), reason="over_rate")
        return Admitted(webhook, read.job_id)


def is_current(webhook: Webhook, generation: int, now: Instant) -> bool:
    """Whether a token of this generation is still taken."""
    if generation == webhook.generation:
        return True
    overlap = webhook.previous_valid_until
    return generation == webhook.generation - 1 and overlap is not None and now < overlap
