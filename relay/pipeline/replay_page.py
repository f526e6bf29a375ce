"""One page of a replay: who gets what, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from relay.clock import Instant, after
from relay.ids import instant_of, replayed_id
from relay.model import DELIVERY, Delivery, DeliveryStatus, Replay, Result, Subscription, SubscriptionStatus
from relay.pipeline.sieve import Sieve
from relay.store.configuration import Configuration
from relay.store.replaying import ABOUT_DELIVERIES, Candidates, Standing

HAVE: Final = frozenset((DeliveryStatus.DELIVERED, DeliveryStatus.PENDING))  # what `undelivered` leaves out


def targets_of(wanted: Sequence[str] | None, configuration: Configuration) -> list[Subscription]:
    """The subscriptions that a replay is for: the named ones, else all active ones."""
    there = [item for item in configuration.subscriptions.values() if item.deleted_at is None]
    if wanted is None:
        return [item for item in there if item.status is SubscriptionStatus.ACTIVE]
    return [item for item in there if item.id in set(wanted)]


def is_choosy(filter: Mapping[str, Any]) -> bool:
    """Whether it asks how deliveries stand."""
    return any(filter.get(name) is not None for name in ABOUT_DELIVERIES)


def pairs_of(
    page: Candidates, targets: Sequence[Subscription], mode: str, filter: Mapping[str, Any], sieve: Sieve
) -> Iterator[tuple[Result, Subscription]]:
    """Who gets what. A filter by how deliveries stand is about each subscription's own ones."""
    choosy = is_choosy(filter)
    for result in page.results:
        for target in targets:
            standings = page.standings.get((result.id, target.id), [])
            if choosy and not any(_fits(standing, filter) for standing in standings):
                continue
            if sieve.passes(target, result) and (mode == "all" or all(one.status not in HAVE for one in standings)):
                yield result, target


def _fits(standing: Standing, filter: Mapping[str, Any]) -> bool:
    statuses, answers = filter.get("delivery_status"), filter.get("http_status")
    after, before = filter.get("delivery_created_after"), filter.get("delivery_created_before")
    return (
        (statuses is None or standing.status in statuses)
        and (answers is None or standing.http_status in answers)
        and (after is None or instant_of(standing.id) >= after)
        and (before is None or instant_of(standing.id) < before)
    )


def deliveries_of(
    replay: Replay, pairs: Iterator[tuple[Result, Subscription]], now: Instant
) -> tuple[list[Delivery], Instant | None]:
    """The new deliveries, spaced by the rate, and when the one after them is due."""
    made: list[Delivery] = []
    rate = replay.rate_per_second
    begin = now if replay.next_due_at is None else max(now, replay.next_due_at)
    for place, (result, target) in enumerate(pairs):
        delivery_id = replayed_id(DELIVERY, now)
        waits_until = now if rate is None else after(begin, place / rate)
        made.append(
            Delivery(
                id=delivery_id,
                result_id=result.id,
                subscription_id=target.id,
                replay_id=replay.id,
                message_id=delivery_id if replay.new_message_id else result.id,
                status=DeliveryStatus.PENDING,
                attempts=0,
                budget_from=0,
                created_at=now,
                settled_at=None,
                http_status=None,
                due_at=None if target.kind == "pull" else waits_until,
                lease_until=None,
                claims=0,
                last_error=None,
                pull_at=waits_until if target.kind == "pull" else None,
            )
        )
    return made, None if rate is None else after(begin, len(made) / rate)
