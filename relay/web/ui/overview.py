"""The first page: what runs out of time, what flows where, which subscriptions are well."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any, Final

from starlette.responses import Response

from relay.clock import Instant, after
from relay.frozen import frozen
from relay.model import Delivery, DeliveryStatus, Job, Subscription
from relay.pipeline import counters
from relay.store import breakers, glance, nodes, rollups
from relay.store.rollups import HOUR, MINUTE, Sum
from relay.store.rows import Connection
from relay.web.api.subscription_views import BreakerView, breaker_view
from relay.web.ui import numbers
from relay.web.ui.flow import flow
from relay.web.ui.visit import Visit

AT_RISK: Final = 8
SUBSCRIPTIONS: Final = 20
STRIP: Final = 40
WEBHOOKS: Final = 200  # whose jobs are looked at
HOURS: Final = 24
MINUTES: Final = 60
SEEN_SECONDS: Final = 30.0


@frozen(kw_only=True)
class Risk:
    """One open job and how much of its time is gone."""

    job: Job
    gone: float  # percent
    left_seconds: float  # negative = overdue
    tone: str


@frozen(kw_only=True)
class Health:
    """One subscription."""

    subscription: Subscription
    strip: list[tuple[str, str]]  # tone and words, oldest first
    bars: list[numbers.Bar]
    delivered: int
    failed: int
    pending: int
    breaker: BreakerView


async def show(visit: Visit) -> Response:
    """Everything at a glance."""
    await visit.services.configuration.refresh()
    webhooks, subscriptions = visit.webhooks(), visit.subscriptions()

    def read(conn: Connection) -> dict[str, Any]:
        now = visit.now
        ids = [item.id for item in webhooks[:WEBHOOKS]]
        hours = rollups.since(conn, numbers.first_step(now, HOURS, HOUR), HOUR)
        job_due, delivery_due = glance.oldest_due(conn)
        return {
            "risks": [risk(job, now) for job in glance.running_out(conn, ids, AT_RISK)],
            "hours": hours,
            "health": _health(conn, subscriptions, hours, now),
            "waits": max(_waits(job_due, now), _waits(delivery_due, now)),
            "workers": glance.workers(conn, after(now, -SEEN_SECONDS), nodes.WORKER),
        }

    found = await visit.services.database.read(read)
    hours = found.pop("hours")
    notified = numbers.series(hours, HOURS, lambda item: item.counter.startswith("notification."))
    stored = numbers.series(hours, HOURS, lambda item: item.counter in numbers.STORED)
    nothing = [0] * HOURS
    return visit.page(
        "overview.html",
        "Overview",
        totals=numbers.totals(hours),
        flow=flow(hours, visit.names(), [*(item.id for item in webhooks), *(item.id for item in subscriptions)]),
        p95=numbers.quantile(hours, 0.95),
        notified=numbers.bars(notified, nothing, _hour),
        stored=numbers.bars(stored, nothing, _hour),
        webhooks=webhooks,
        **found,
    )


def _hour(index: int) -> str:
    return "this hour" if index == HOURS - 1 else f"{HOURS - 1 - index} h before"


def _waits(due: Instant | None, now: Instant) -> float:
    return 0.0 if due is None else max(0.0, (now - due) / 1000)


def risk(job: Job, now: Instant) -> Risk:
    """How much of a job's time is gone: from its notification (or its beginning) to its deadline."""
    began = job.notified_at or job.created_at
    left = (job.deadline - now) / 1000
    whole = max(1, job.deadline - began)
    gone = min(100.0, max(0.0, 100 * (now - began) / whole))
    tone = "bad" if left < 600 else "warn" if gone >= 50 else "ok"
    return Risk(job=job, gone=round(gone, 1), left_seconds=left, tone=tone)


def _health(conn: Connection, subscriptions: list[Subscription], hours: list[Sum], now: Instant) -> list[Health]:
    wanted = (counters.DELIVERED, counters.FAILED)
    minutes = rollups.since(conn, numbers.first_step(now, MINUTES, MINUTE), MINUTE, wanted)
    failed: Counter[str] = Counter()
    for item in minutes:
        failed[item.subscription_id] += item.amount if item.counter == counters.FAILED else 0
    worst = sorted(subscriptions, key=lambda one: (one.status == "active", -failed[one.id]))
    return [health(conn, one, minutes, now) for one in worst[:SUBSCRIPTIONS]]


def _is(subscription_id: str, counter: str, item: Sum) -> bool:
    return item.subscription_id == subscription_id and item.counter == counter


def health(conn: Connection, subscription: Subscription, minutes: list[Sum], now: Instant) -> Health:
    """The last hour and the latest deliveries of one subscription."""
    good = numbers.series(minutes, MINUTES, partial(_is, subscription.id, counters.DELIVERED))
    bad = numbers.series(minutes, MINUTES, partial(_is, subscription.id, counters.FAILED))
    latest = glance.latest_of_subscription(conn, subscription.id, STRIP)
    return Health(
        subscription=subscription,
        strip=[_cell(item) for item in reversed(latest)],
        bars=numbers.bars(good, bad, _minute),
        delivered=sum(good),
        failed=sum(bad),
        pending=glance.pending(conn, subscription.id),
        breaker=breaker_view(breakers.of(conn, [subscription.id]).get(subscription.id), now),
    )


def _minute(index: int) -> str:
    return "this minute" if index == MINUTES - 1 else f"{MINUTES - 1 - index} min before"


def _cell(delivery: Delivery) -> tuple[str, str]:
    status = delivery.status
    if status is DeliveryStatus.DELIVERED:
        tries = "" if delivery.attempts == 1 else f" at attempt {delivery.attempts}"
        return ("ok" if delivery.attempts == 1 else "warn", f"delivered{tries}")
    if status is DeliveryStatus.PENDING:
        return ("warn", f"retrying: {delivery.last_error}") if delivery.attempts else ("busy", "waits")
    return ("bad", f"exhausted: {delivery.last_error}") if status is DeliveryStatus.EXHAUSTED else ("off", str(status))
