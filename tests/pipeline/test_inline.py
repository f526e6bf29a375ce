"""Notifications that bring the payload themselves, and are read when a worker has time for them."""

from __future__ import annotations

import pytest

from relay.model import Secret
from tests.support.stage import ORIGIN, Stage

SHOWN = {"x-inference-webhook-id": "shown"}


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (["Success", "Failed"], "completed"),
        (["Failed", "Success"], "completed"),
        (["Failed", "Cancelled"], "failed"),
    ],
)
async def test_of_two_notifications_that_nobody_has_read_yet_the_one_with_the_result_is_taken(
    stage: Stage, states: list[str], status: str
) -> None:
    """The last one was, whatever it said: a result that was in our hands came to nothing."""
    webhook = await stage.add_webhook(
        provider="inference-net",
        origins=(ORIGIN,),
        base_url=ORIGIN,
        parameters={"webhook_id": "shown"},
        credentials={"api_key": Secret("k")},
    )
    stage.fetching.scheduler.paused = True
    for state in states:
        answer = await stage.accept(webhook, {"generation_id": "g-1", "data": {"state": state}}, headers=SHOWN)
    stage.fetching.scheduler.paused = False
    await stage.work_until_idle()
    job = await stage.job(answer.job_id)
    assert (job.status, job.due_at, job.inline_notification_id) == (status, None, None)
    assert stage.provider.requests == []
