"""A signed test message to a subscriber: does the URL answer, does the signature verify over there?"""

from __future__ import annotations

import orjson

from relay.clock import rfc3339
from relay.ids import new_id
from relay.model import ATTEMPT, EVENT, JOB, Attempt, Subscription, Trigger
from relay.outbound.deliveries import DeliveryDoor
from relay.pipeline.envelope import delivery_headers, webhook_timestamp
from relay.pipeline.excerpt import without_values
from relay.pipeline.floor import Floor
from relay.pipeline.formats import test_headers
from relay.signing.standard_webhooks import sign, signing_key

TEST_TYPE = "relay.test"


class SubscriptionProbe:
    """Sends test messages. They are stored nowhere."""

    def __init__(self, floor: Floor, door: DeliveryDoor, timeout_seconds: float) -> None:
        self._floor = floor
        self._door = door
        self._timeout_seconds = timeout_seconds

    async def test(self, subscription: Subscription) -> Attempt:
        """One attempt, now; `owner_id` of the returned attempt is the message id."""
        now = self._floor.clock.now()
        message_id = new_id(EVENT, now)
        data = {"subscription_id": subscription.id, "message": "a test message: verify its signature, answer 2xx"}
        body = orjson.dumps({"type": TEST_TYPE, "timestamp": rfc3339(now), "data": data})
        keys = [signing_key(secret) for secret in subscription.signing_secrets(now)]
        headers = delivery_headers(
            message_id=message_id,
            delivery_id=message_id,
            job_id=new_id(JOB, now),
            attempt=1,
            trigger=Trigger.NEW,
            sent_at=now,
            signature=sign(message_id, webhook_timestamp(now), body, keys),
        )
        told = test_headers(subscription.format, subscription.id, message_id, TEST_TYPE, rfc3339(now))
        given = {**subscription.headers, **told, **headers}
        reply = await self._door.post(subscription.url or "", body, given, timeout_seconds=self._timeout_seconds)
        return Attempt(
            id=new_id(ATTEMPT, now),
            owner_id=message_id,
            number=1,
            trigger=Trigger.NEW,
            started_at=now,
            duration_ms=reply.duration_ms,
            http_status=reply.status,
            error_code=reply.error_code,
            response_excerpt=without_values(reply.excerpt, subscription.headers),
        )
