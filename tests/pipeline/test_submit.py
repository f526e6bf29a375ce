"""Submits at the edges of time and trouble; what they look like from outside is in tests/journeys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from relay.errors import StoreUnavailable, TimedOut
from relay.model import JobStatus, Secret, Webhook
from relay.outbound.provider_door import ProviderRequest
from relay.pipeline.calls import ClientCall, Forwarded, Rejected
from relay.pipeline.submit import Listed, SubmitLimits, Submitter
from relay.pipeline.under_way import UnderWay
from relay.store import idempotency, schema
from tests.support.doors import Page, answer_with
from tests.support.stage import ORIGIN, PUBLIC_URL, Stage
from tests.support.store import count

TAKEN = Page(202, json.dumps({"traceId": "t-1", "response_url": f"{ORIGIN}/r/1"}).encode())
TIMEOUT = 120.0


def submitter_of(stage: Stage, under_way: UnderWay | None = None) -> Submitter:
    """On the stage's own provider."""
    return Submitter(
        stage.floor,
        stage.tokens,
        stage.provider,
        stage.fetching,
        under_way or UnderWay(),
        public_url=PUBLIC_URL,
        limits=SubmitLimits(TIMEOUT, 1024 * 1024),
    )


def call_of(webhook: Webhook, **changes: Any) -> ClientCall:
    """What a client would send to NetNut."""
    call = ClientCall(
        webhook_id=webhook.id,
        method="POST",
        path="/search",
        query="",
        headers=(("content-type", "application/json"),),
        taken=frozenset({"authorization"}),
        key=Secret("rk_the-clients-own-key"),
        caller_id="key_1",
        body=b'{"prompt": "tea"}',
        idempotency_key="order-1",
    )
    return replace(call, **changes)


async def submit(stage: Stage, webhook: Webhook, **changes: Any) -> Forwarded | Rejected:
    submitter = submitter_of(stage)
    listed = submitter.look(webhook, "POST", "/search")
    assert isinstance(listed, Listed)
    return await submitter.submit(listed, call_of(webhook, **changes))


async def test_a_request_whose_process_died_is_under_way_until_it_cannot_be_any_more(stage: Stage) -> None:
    webhook = await stage.add_webhook()

    async def dies(request: ProviderRequest) -> Page:
        raise asyncio.CancelledError

    stage.provider.answering = dies
    with pytest.raises(asyncio.CancelledError):
        await submit(stage, webhook)
    job = await stage.the_job()
    assert (job.status, job.submitted, job.tracked) == (JobStatus.WAITING, True, True)
    for seconds, code in ((0.0, "running"), (TIMEOUT, "running"), (120.0, "unknown")):
        stage.clock.advance(seconds)
        told = await submit(stage, webhook)
        assert isinstance(told, Rejected)
        assert (told.http_status, told.code.rpartition("_")[2], told.job_id) == (409, code, job.id)
    assert len(stage.provider.requests) == 1


async def test_a_key_is_the_callers_own_and_lasts_a_day(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    stage.provider.answering = answer_with(TAKEN)
    first = await submit(stage, webhook)
    assert isinstance(first, Forwarded)
    assert await submit(stage, webhook) == replace(first, replayed=True)
    other = await submit(stage, webhook, caller_id="key_2")
    assert isinstance(other, Forwarded) and not other.replayed
    stage.clock.advance(idempotency.KEPT_SECONDS)
    again = await submit(stage, webhook)
    assert isinstance(again, Forwarded) and not again.replayed
    assert len([one for one in stage.provider.requests if one.method == "POST"]) == 3


async def test_a_refusal_that_repeats_the_callback_url_does_not_give_its_token_away(sqlite_stage: Stage) -> None:
    """Whoever may read jobs could have called it."""
    webhook = await sqlite_stage.add_webhook()

    async def refusing(request: ProviderRequest) -> Page:
        callback_url = json.loads(request.content or b"")["callback_url"]
        return Page(400, json.dumps({"message": f"cannot call {callback_url} back", "error": callback_url}).encode())

    sqlite_stage.provider.answering = refusing
    told = await submit(sqlite_stage, webhook)
    assert isinstance(told, Forwarded) and told.http_status == 400
    job = await sqlite_stage.the_job()
    assert job.status is JobStatus.FAILED and (job.last_error or "").startswith("submit refused: HTTP 400: ")
    token = sqlite_stage.tokens.mint(webhook.id, webhook.generation, job.id)
    assert token not in (job.last_error or "") and "/in/" in (job.last_error or "")


async def test_nothing_is_sent_when_the_job_cannot_be_stored(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook()
    await broken(sqlite_stage, times=1)
    with pytest.raises(StoreUnavailable):
        await submit(sqlite_stage, webhook)
    assert sqlite_stage.provider.requests == []
    assert await count(sqlite_stage.database, schema.jobs) == 0


async def test_an_answer_waits_for_a_database_that_is_away(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook()

    async def answering(request: ProviderRequest) -> Page:
        await broken(sqlite_stage, times=3)
        return TAKEN

    sqlite_stage.provider.answering = answering
    waiting = asyncio.create_task(submit(sqlite_stage, webhook))
    await sqlite_stage.elapse(30)
    told = await waiting
    assert isinstance(told, Forwarded) and told.http_status == 202
    assert (await sqlite_stage.job(told.job_id)).provider_job_id == "t-1"


async def broken(stage: Stage, *, times: int) -> None:
    """The next writes fail."""
    real: Callable[[Any], Any] = stage.database.write
    left = times

    async def write(fn: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise StoreUnavailable("away")
        return await real(fn)

    stage.database.write = write  # type: ignore[method-assign]  # a fault of this test's own


async def test_stopping_waits_for_what_is_under_way_and_gives_up_in_time(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook()
    asked = asyncio.Event()

    async def answering(request: ProviderRequest) -> Page:
        asked.set()
        await asyncio.Event().wait()
        return TAKEN

    sqlite_stage.provider.answering = answering
    submitter = submitter_of(sqlite_stage)
    listed = submitter.look(webhook, "POST", "/search")
    assert isinstance(listed, Listed)
    late = asyncio.create_task(submitter.submit(listed, call_of(webhook)))
    await asked.wait()
    await submitter.drain(0.01)
    with pytest.raises(asyncio.CancelledError):
        await late
    assert (await sqlite_stage.the_job()).status is JobStatus.WAITING
    await submitter.drain(0.01)


async def test_a_job_nobody_could_hear_of_again_is_not_waited_for(stage: Stage) -> None:
    webhook = await stage.add_webhook(provider="openai", credentials={"api_key": Secret("k")})
    stage.provider.answering = answer_with(TimedOut("no answer"))
    submitter = submitter_of(stage)
    listed = submitter.look(webhook, "POST", "/v1/responses")
    assert isinstance(listed, Listed)
    told = await submitter.submit(listed, call_of(webhook, path="/v1/responses"))
    assert isinstance(told, Rejected) and (told.http_status, told.code) == (504, "submit_outcome_unknown")
    job = await stage.job(told.job_id)
    assert (job.status, job.submitted, job.last_error) == (JobStatus.FAILED, False, "submit unclear: timed_out")


async def test_a_notification_that_names_nothing_known_waits_for_the_submit_under_way(stage: Stage) -> None:
    webhook = await stage.add_webhook(provider="openai", credentials={"api_key": Secret("k")})
    with stage.under_way.submit(webhook.id):
        answer = await stage.accept(webhook, {"type": "response.completed", "data": {"id": "resp_1"}})
    held = await stage.job(answer.job_id)
    assert (held.claims, held.due_at) == (0, stage.clock.now() + 3000)
    answer = await stage.accept(webhook, {"type": "response.completed", "data": {"id": "resp_2"}})
    assert (await stage.job(answer.job_id)).claims == 1


async def test_what_got_no_answer_is_sent_again_where_the_provider_itself_honours_the_key(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    submitter = submitter_of(stage)
    found = submitter.look(webhook, "POST", "/search")
    assert isinstance(found, Listed) and found.binding.profile.submit is not None
    honours = replace(found.binding.profile.submit, idempotent=True)
    listed = replace(found, binding=replace(found.binding, profile=replace(found.binding.profile, submit=honours)))
    stage.provider.answering = answer_with(TimedOut("no answer"))
    lost = await submitter.submit(listed, call_of(webhook))
    assert isinstance(lost, Rejected) and (lost.http_status, lost.code) == (504, "submit_outcome_unknown")
    assert "with the same Idempotency-Key" in lost.detail
    stage.provider.answering = answer_with(TAKEN)
    told = await submitter.submit(listed, call_of(webhook))
    assert isinstance(told, Forwarded) and (told.http_status, told.job_id) == (202, lost.job_id)
    first, second = stage.provider.requests
    assert first.content == second.content, "the same job, and so the same callback URL"
    without = await submitter.submit(listed, call_of(webhook, idempotency_key=None))
    stage.provider.answering = answer_with(TimedOut("no answer"))
    assert isinstance(without, Forwarded)
    lost = await submitter.submit(listed, call_of(webhook, idempotency_key=None))
    assert isinstance(lost, Rejected) and "Idempotency-Key" not in lost.detail, "there is no key to repeat"
