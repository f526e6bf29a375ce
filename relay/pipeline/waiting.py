"""A new job that nothing has been heard of yet: followed by name, or submitted through Relay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from relay.clock import Instant, after
from relay.ids import new_id
from relay.model import JOB, Job, JobStatus
from relay.pipeline.bindings import Binding
from relay.pipeline.floor import Floor

FIRST_POLL_WITHIN_SECONDS: Final = 4.0


def first_poll(binding: Binding, now: Instant, *, expects_notification: bool) -> Instant:
    """When a job is asked for that is known from now on."""
    first = binding.waits(notified=False, expects_notification=expects_notification)[0]
    hurries = not expects_notification and not binding.webhook.poll_seconds
    return after(now, min(first, FIRST_POLL_WITHIN_SECONDS) if hurries else first)


def waiting_job(
    floor: Floor,
    binding: Binding,
    *,
    due_at: Instant,
    submitted_at: Instant,
    metadata: Mapping[str, Any],
    provider_job_id: str | None = None,
    response_url: str | None = None,
    submitted: bool = False,
) -> Job:
    """The job as it is first stored. It is its webhook's: no other webhook of the account may have it."""
    now = floor.clock.now()
    deadline = binding.first_deadline(submitted_at)
    return Job(
        id=new_id(JOB, now),
        webhook_id=binding.webhook.id,
        provider_job_id=provider_job_id,
        response_url=response_url,
        status=JobStatus.WAITING,
        provider_status=None,
        metadata=metadata,
        deadline=deadline,
        give_up_at=after(max(deadline, now), floor.give_up_seconds),
        created_at=now,
        notified_at=None,
        completed_at=None,
        result_id=None,
        inline_notification_id=None,
        tracked=True,
        attempts=0,
        step=0,
        due_at=due_at,
        lease_until=None,
        claims=0,
        last_error=None,
        submitted=submitted,
    )
