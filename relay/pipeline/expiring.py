"""`job.expiring`: the provider may soon drop a result that is not here yet. Told once, to those who asked for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from relay.clock import Instant, after, rfc3339
from relay.ids import new_id
from relay.model import EVENT, Job, Webhook
from relay.pipeline.floor import Floor
from relay.store import events, jobs
from relay.store.events import JOB_EXPIRING, Event
from relay.store.rows import Connection

log = structlog.get_logger(__name__)


class ExpiringJobs:
    """Looks for jobs whose deadline is near. Where no subscription asked for the event it looks for nothing."""

    def __init__(self, floor: Floor, hint: Callable[[], None], *, before_seconds: float) -> None:
        self._floor = floor
        self._hint = hint
        self._before_seconds = before_seconds

    async def run_once(self) -> int:
        """Record what is near; how many. Raises StoreUnavailable."""
        configuration = self._floor.configuration.current
        asked = any(
            JOB_EXPIRING in (item.event_types or ()) for item in configuration.subscriptions.values()
            if item.deleted_at is None
        )  # fmt: skip
        if not asked:
            return 0
        now = self._floor.clock.now()
        until = after(now, self._before_seconds)
        look = partial(events.expiring, webhook_ids=list(configuration.webhooks), now=now, until=until)
        found = [jobs.read(row) for row in await self._floor.database.read(look)]
        if not found:
            return 0
        made = [(self._event(job, configuration.webhooks[job.webhook_id], now), job.webhook_id) for job in found]
        told = await self._floor.database.write(partial(_record, made=made))
        log.info("jobs.expiring", count=told)
        self._hint()
        return told

    def _event(self, job: Job, webhook: Webhook, now: Instant) -> Event:
        data: dict[str, Any] = {
            "job_id": job.id,
            "provider_job_id": job.provider_job_id,
            "webhook_id": webhook.id,
            "webhook_name": webhook.name,
            "provider": webhook.provider,
            "status": job.status.value,
            "deadline": rfc3339(job.deadline),
            "attempts": job.attempts,
            "last_error": job.last_error,
            "metadata": dict(job.metadata),
        }
        return Event(id=new_id(EVENT, now), type=JOB_EXPIRING, subject_id=job.id, data=data, created_at=now)


def _record(connection: Connection, made: list[tuple[Event, str]]) -> int:
    return sum(events.record(connection, event, once=True, webhook_id=webhook_id) for event, webhook_id in made)
