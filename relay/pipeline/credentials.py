"""Whether a provider takes a webhook's credentials, by its answers: refused ones slow the webhook down, loudly."""

from __future__ import annotations

from functools import partial
from typing import Final

import structlog

from relay.model import Webhook, WebhookStatus
from relay.pipeline.floor import Floor
from relay.providers.reading import Verdict
from relay.store.tracking import make_all_due
from relay.store.webhooks import accept_credentials, reject_credentials

log = structlog.get_logger(__name__)

AUTHENTICATED: Final = frozenset(("completed", "failed", "cancelled", "pending"))  # who says so knew who asked


class Credentials:
    """Marks webhooks as `credentials_rejected`, and as active again."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    async def judge(self, webhook: Webhook, verdict: Verdict) -> None:
        """What the answer says of the credentials that were shown."""
        if verdict.kind == "rejected_credentials":
            current = (await self._floor.configuration.refresh()).webhooks.get(webhook.id)
            if current is None or current.credentials == webhook.credentials:
                await self._reject(webhook)
            else:  # there are new ones already, perhaps from another node: what was refused is asked with them
                now = self._floor.clock.now()
                await self._floor.database.write(partial(make_all_due, webhook_id=webhook.id, now=now))
        elif webhook.status is WebhookStatus.CREDENTIALS_REJECTED and verdict.kind in AUTHENTICATED:
            await self._accept(webhook)

    async def _accept(self, webhook: Webhook) -> None:
        """They are taken after all (a refusal may have been the provider's own trouble): on with the others."""
        now = self._floor.clock.now()
        changed = await self._floor.database.write(partial(accept_credentials, webhook_id=webhook.id, now=now))
        if changed:
            log.info("webhook.credentials_accepted", webhook_id=webhook.id, webhook=webhook.name)
            await self._floor.database.write(partial(make_all_due, webhook_id=webhook.id, now=now))
            await self._floor.configuration.refresh()

    async def _reject(self, webhook: Webhook) -> None:
        """Say that the provider does not take the webhook's credentials; its jobs wait for better ones."""
        now = self._floor.clock.now()
        changed = await self._floor.database.write(partial(reject_credentials, webhook_id=webhook.id, now=now))
        if changed:
            log.error("webhook.credentials_rejected", webhook_id=webhook.id, webhook=webhook.name)
            await self._floor.configuration.refresh()
