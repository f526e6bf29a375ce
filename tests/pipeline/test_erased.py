"""What becomes of a job when a result of it was erased."""

from __future__ import annotations

from functools import partial
from typing import Any

from relay.model import Secret, Webhook
from relay.store import results
from relay.store.tracking import make_due
from tests.support.doors import Page, answer_with
from tests.support.stage import ORIGIN, Stage

SHOWN = {"x-inference-webhook-id": "short-1"}
GENERATED = b'{"state": "Success", "response": {"x": 1}}'


def _says(state: str) -> dict[str, Any]:
    return {"event": "async-inference.updated", "generation_id": "g-1", "data": {"state": state, "stateMessage": "no"}}


async def _failed(stage: Stage) -> tuple[Webhook, str]:
    """A thick webhook and its job, which failed: the notification said so, and its body is the payload."""
    webhook = await stage.add_webhook(
        provider="inference-net",
        credentials={"api_key": Secret("k")},
        parameters={"webhook_id": "short-1"},
        origins=(ORIGIN,),
        base_url=ORIGIN,
    )
    answer = await stage.accept(webhook, _says("Failed"), headers=SHOWN)
    await stage.work_until_idle()
    job = await stage.job(answer.job_id)
    assert job.status == "failed" and stage.provider.requests == []
    return webhook, job.id


async def _erase_result_of(stage: Stage, job_id: str) -> None:
    found = (await stage.result(job_id)).id
    assert await stage.database.write(partial(results.erase, id=found, now=stage.clock.now()))


async def test_what_was_erased_is_no_empty_payload_when_the_job_is_fetched_again(stage: Stage) -> None:
    """A failed job came to be completed, by nothing at all."""
    _, job_id = await _failed(stage)
    await _erase_result_of(stage, job_id)
    stage.clock.advance(1)
    stage.provider.answering = answer_with(Page(body=GENERATED))
    await stage.database.write(partial(make_due, job_id=job_id, now=stage.clock.now()))
    await stage.work_until_idle()
    assert await stage.payload(await stage.result(job_id)) == GENERATED
    assert [request.url for request in stage.provider.requests] == [f"{ORIGIN}/v1/generation/g-1"]


async def test_erasing_a_result_leaves_the_payload_that_has_come_since_and_is_not_read_yet(stage: Stage) -> None:
    webhook, job_id = await _failed(stage)
    stage.clock.advance(1)
    await stage.accept(webhook, _says("Success"), headers=SHOWN)
    await _erase_result_of(stage, job_id)
    await stage.work_until_idle()
    assert (await stage.job(job_id)).status == "completed"
    assert b"Success" in await stage.payload(await stage.result(job_id))
