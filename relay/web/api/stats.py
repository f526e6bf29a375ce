"""`GET /v1/stats`: what waits and what happened lately, in a few cheap counts."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field

from relay.model import Scope
from relay.store import stats
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import NoQuery, Nothing, Time, View


class StatsView(View):
    """Counts of this moment, each ending at 10,000; `last_day` ones, of the last 24 hours by the clock, end nowhere and
    are a few seconds late."""

    at: Time
    webhooks: int
    subscriptions: int
    jobs_open: Annotated[int, Field(description="Jobs whose result is not stored yet.")]
    jobs_overdue: Annotated[int, Field(description="Open jobs whose deadline is over.")]
    oldest_due_job_seconds: Annotated[float, Field(description="How long the most overdue job waits for a fetch.")]
    deliveries_pending: Annotated[int, Field(description="Deliveries that wait to be sent, or to be taken.")]
    deliveries_exhausted: Annotated[int, Field(description="Deliveries that were given up.")]
    oldest_due_delivery_seconds: Annotated[float, Field(description="How long the most overdue delivery waits.")]
    notifications_last_day: Annotated[dict[str, int], Field(description="By status.")]
    results_last_day: Annotated[dict[str, int], Field(description="By status.")]


@endpoint("GET", "/v1/stats", scope=Scope.READ, answers={200: StatsView})
async def show(call: Call[NoQuery, Nothing]) -> Answer:
    """What waits and what happened lately."""
    configuration = await call.services.configuration.refresh()
    found = await call.services.database.read(partial(stats.read, now=call.now))
    view = StatsView(
        at=call.now,
        webhooks=sum(item.deleted_at is None for item in configuration.webhooks.values()),
        subscriptions=sum(item.deleted_at is None for item in configuration.subscriptions.values()),
        jobs_open=found.jobs_open,
        jobs_overdue=found.jobs_overdue,
        oldest_due_job_seconds=found.oldest_due_job_seconds,
        deliveries_pending=found.deliveries_pending,
        deliveries_exhausted=found.deliveries_exhausted,
        oldest_due_delivery_seconds=found.oldest_due_delivery_seconds,
        notifications_last_day=found.notifications,
        results_last_day=found.results,
    )
    return Answer(200, view)
