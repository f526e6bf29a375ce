from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from relay.clock import Instant
from relay.model import Delivery, DeliveryStatus, SubscriptionStatus, Trigger, WebhookStatus
from relay.store import attempts as attempt_rows
from relay.store import configuration, subscriptions, webhooks
from relay.store import deliveries as delivery_rows
from relay.store.database import Database
from relay.store.queue import claim
from relay.store.schema import attempts, deliveries
from relay.store.settlement import (
    SETTLE_DELIVERY,
    DeliverySettlement,
    Settled,
)
from relay.store.webhooks import reject_credentials
from tests.support.store import (
    HOUR,
    LATER,
    NOW,
    WEBHOOK_ID,
    a_delivery,
    a_subscription,
    a_webhook,
    an_attempt,
    count,
    delivery_of,
    put_deliveries,
    seal,
    unseal,
)


async def _sending(database: Database, **changes: Any) -> Delivery:
    delivery = a_delivery(**changes)
    await put_deliveries(database, delivery)
    take = partial(claim, table=deliveries, ids=[delivery.id], now=NOW, lease_until=LATER)
    await database.write(take)
    return await delivery_of(database, delivery.id)


def _sent(delivery: Delivery, status: DeliveryStatus, **changes: Any) -> DeliverySettlement:
    given: dict[str, Any] = {
        "delivery_id": delivery.id,
        "claims": delivery.claims,
        "now": Instant(NOW + 1000),
        "status": status,
        "due_at": None,
        "attempt": an_attempt(delivery, trigger=Trigger.NEW, http_status=500),
        "last_error": "http_500",
    }
    return DeliverySettlement(**(given | changes))


@pytest.mark.parametrize(
    ("status", "due_at", "settled_at"),
    [
        (DeliveryStatus.DELIVERED, None, NOW + 1000),
        (DeliveryStatus.EXHAUSTED, None, NOW + 1000),
        (DeliveryStatus.CANCELLED, None, NOW + 1000),
        (DeliveryStatus.PENDING, NOW + HOUR, None),
    ],
)
async def test_a_delivery_is_settled(
    database: Database, status: DeliveryStatus, due_at: Instant | None, settled_at: Instant | None
) -> None:
    delivery = await _sending(database)
    item = _sent(delivery, status, due_at=due_at)
    assert await database.submit(SETTLE_DELIVERY, item) is Settled.DONE
    assert await delivery_of(database, delivery.id) == replace(
        delivery,
        status=status,
        attempts=1,
        settled_at=settled_at,
        http_status=500,
        due_at=due_at,
        lease_until=None,
        claims=delivery.claims + 1,
        last_error="http_500",
    )
    assert await database.read(partial(attempt_rows.of, owner_id=delivery.id)) == [item.attempt]


async def test_a_delivery_that_was_not_tried_counts_no_attempt(database: Database) -> None:
    delivery = await _sending(database)
    item = _sent(delivery, DeliveryStatus.PENDING, due_at=NOW, attempt=None)
    assert await database.submit(SETTLE_DELIVERY, item) is Settled.DONE
    after = await delivery_of(database, delivery.id)
    assert (after.attempts, after.http_status, await count(database, attempts)) == (0, None, 0)


async def test_a_delivery_that_was_not_tried_this_time_shows_what_it_was_answered_last(database: Database) -> None:
    delivery = await _sending(database, attempts=1, http_status=503)
    settlement = _sent(delivery, DeliveryStatus.PENDING, due_at=LATER, attempt=None)
    assert await database.submit(SETTLE_DELIVERY, settlement) is Settled.DONE
    assert (await delivery_of(database, delivery.id)).http_status == 503


async def test_a_sender_that_lost_its_lease_changes_nothing(database: Database) -> None:
    delivery = await _sending(database)
    await database.write(partial(delivery_rows.cancel, id=delivery.id, now=NOW))
    cancelled = await delivery_of(database, delivery.id)
    item = _sent(delivery, DeliveryStatus.DELIVERED, disable_subscription=delivery.subscription_id)
    assert await database.submit(SETTLE_DELIVERY, item) is Settled.LOST
    assert await delivery_of(database, delivery.id) == cancelled
    assert await count(database, attempts) == 0


async def test_a_delivery_cannot_be_settled_twice(database: Database) -> None:
    delivery = await _sending(database)
    item = _sent(delivery, DeliveryStatus.DELIVERED)
    both = await database.write(lambda connection: SETTLE_DELIVERY.apply(connection, [item, item]))
    assert both == [Settled.DONE, Settled.LOST]
    assert await database.submit(SETTLE_DELIVERY, item) is Settled.LOST
    assert (await delivery_of(database, delivery.id)).attempts == 1


async def test_gone_disables_the_subscription_once_and_tells_every_node(database: Database) -> None:
    subscription = a_subscription()
    await database.write(partial(subscriptions.insert, subscription=subscription, seal=seal))
    version = await database.read(configuration.current_version)
    sending = [await _sending(database, subscription_id=subscription.id) for _ in range(2)]
    for delivery in sending:
        why = {"disable_subscription": subscription.id, "disable_reason": "answered 410 Gone"}
        gone = _sent(delivery, DeliveryStatus.PENDING, due_at=NOW, **why)
        assert await database.submit(SETTLE_DELIVERY, gone) is Settled.DONE
    found = await database.read(partial(subscriptions.get, id=subscription.id, unseal=unseal))
    assert found is not None
    assert (found.status, found.status_reason) == (SubscriptionStatus.DISABLED, "answered 410 Gone")
    assert await database.read(configuration.current_version) == version + 1


async def test_an_answer_from_before_the_subscription_was_changed_does_not_disable_it(database: Database) -> None:
    """Somebody has just set another URL, and what was under way to the old one is still being refused there."""
    subscription = a_subscription(updated_at=Instant(NOW + 500))
    await database.write(partial(subscriptions.insert, subscription=subscription, seal=seal))
    for started_at, status in ((NOW, SubscriptionStatus.ACTIVE), (NOW + 500, SubscriptionStatus.DISABLED)):
        delivery = await _sending(database, subscription_id=subscription.id)
        gone = _sent(
            delivery, DeliveryStatus.PENDING, due_at=NOW, disable_subscription=subscription.id,
            attempt=an_attempt(delivery, started_at=Instant(started_at)),
        )  # fmt: skip
        assert await database.submit(SETTLE_DELIVERY, gone) is Settled.DONE
        found = await database.read(partial(subscriptions.get, id=subscription.id, unseal=unseal))
        assert found is not None and found.status is status


@pytest.mark.parametrize("claim_saw", [0, None])
async def test_a_retry_asked_for_during_the_last_attempt_gets_its_fresh_budget(
    database: Database, claim_saw: int | None
) -> None:
    delivery = await _sending(database, attempts=9)
    await database.write(partial(delivery_rows.retry, id=delivery.id, now=NOW))
    item = _sent(delivery, DeliveryStatus.EXHAUSTED, budget_from=claim_saw)
    assert await database.submit(SETTLE_DELIVERY, item) is Settled.DONE
    after = await delivery_of(database, delivery.id)
    if claim_saw is None:  # a caller that does not say what it saw is taken at its word
        assert (after.status, after.due_at) == (DeliveryStatus.EXHAUSTED, None)
    else:
        assert (after.status, after.due_at, after.settled_at) == (DeliveryStatus.PENDING, NOW + 1000, None)
        assert (after.attempts, after.budget_from) == (10, 9)


# --- credentials ---


async def test_rejected_credentials_are_news_once(database: Database) -> None:
    await database.write(partial(webhooks.insert, webhook=a_webhook(), seal=seal))
    version = await database.read(configuration.current_version)
    reject = partial(reject_credentials, webhook_id=WEBHOOK_ID, now=LATER)
    assert [await database.write(reject), await database.write(reject)] == [True, False]
    found = await database.read(partial(webhooks.get, id=WEBHOOK_ID, unseal=unseal))
    assert found is not None and found.status is WebhookStatus.CREDENTIALS_REJECTED
    assert await database.read(configuration.current_version) == version + 1


async def test_a_disabled_webhook_stays_disabled(database: Database) -> None:
    webhook = a_webhook(status=WebhookStatus.DISABLED)

    def disable(connection: Connection) -> None:
        webhooks.insert(connection, webhook, seal)

    await database.write(disable)
    assert await database.write(partial(reject_credentials, webhook_id=WEBHOOK_ID, now=LATER)) is False


async def test_a_number_that_is_logged_already_undoes_no_delivery(database: Database) -> None:
    """It would be made again, and again: what was done counts, the log of it does not."""
    first, second = await _sending(database), await _sending(database)
    taken = an_attempt(first)
    await database.write(lambda c: attempt_rows.insert(c, [taken]))
    settlements = [_sent(item, DeliveryStatus.DELIVERED, last_error=None) for item in (first, second)]
    outcomes = [await database.submit(SETTLE_DELIVERY, item) for item in settlements]
    assert outcomes == [Settled.DONE, Settled.DONE]
    assert (await delivery_of(database, first.id)).status is DeliveryStatus.DELIVERED
    assert await count(database, attempts) == 2


async def test_a_line_that_cannot_be_written_undoes_no_delivery(database: Database) -> None:
    first, second, third = await _sending(database), await _sending(database), await _sending(database)
    bad = an_attempt(second, duration_ms=1 << 70)
    settlements = [_sent(item, DeliveryStatus.DELIVERED) for item in (first, third)]
    settlements.insert(1, _sent(second, DeliveryStatus.DELIVERED, attempt=bad))
    outcomes = await asyncio.gather(*(database.submit(SETTLE_DELIVERY, item) for item in settlements))
    assert outcomes == [Settled.DONE] * 3
    for delivery in (first, second, third):
        assert (await delivery_of(database, delivery.id)).status is DeliveryStatus.DELIVERED
    assert await count(database, attempts) == 2
