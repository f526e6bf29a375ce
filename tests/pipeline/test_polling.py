"""Jobs that are asked about until they end: by the profile's steps, by hints, by what the provider keeps and for how
long."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import structlog

from relay.clock import Instant, after, seconds_between
from relay.errors import StoreUnavailable
from relay.model import Job, Secret, Webhook
from relay.outbound.provider_door import ProviderRequest
from relay.pipeline.outcomes import Refused
from relay.pipeline.schedule import JITTER
from relay.pipeline.track import TrackRequest
from relay.store import schema
from relay.store.settlement import SETTLE_FETCH
from tests.support.doors import DONE, Page, answer_with
from tests.support.stage import DEFAULT_PLAN, URL, Stage
from tests.support.stage_fixtures import SQLITE_FIRST, Opening
from tests.support.store import count, rows_of

RUNNING: Final = Page(200, b'{"id": "resp_1", "status": "in_progress"}')
KEY: Final = {"api_key": Secret("the-key-of-this-webhook")}

KEPT_FROM_SUBMIT: Final = """
name = "from-submit"
title = "Keeps a result for an hour from the submit on"
origins = ["https://provider.example"]
base_url = "https://provider.example"
[callback]
job_id = ["id"]
[fetch]
kind = "template"
template = "/jobs/{job_id}"
status = ["status"]
completed_at = ["ended"]
[fetch.statuses]
pending = ["running"]
completed = ["done"]
[retention]
seconds = 3600
anchor = "submitted"
single_use = true
"""


async def follow(stage: Stage, webhook: Webhook, submitted_at: Instant | None = None, **named: Any) -> Job:
    names: dict[str, Any] = {"provider_job_id": None, "response_url": None, **named}
    tracked = await stage.tracker.track(webhook, TrackRequest(metadata={}, submitted_at=submitted_at, **names))
    assert not isinstance(tracked, Refused)
    return tracked.job


async def asked_at(stage: Stage) -> list[float]:
    """The ages of the job at its attempts."""
    job = await stage.the_job()
    return [seconds_between(job.created_at, attempt.started_at) for attempt in await stage.attempts(job.id)]


def gaps(times: list[float], first: float, last: float) -> list[float]:
    return [b - a for a, b in zip(times, times[1:], strict=False) if first <= a < last]


# --- when ---


@SQLITE_FIRST
async def test_freddy_is_polled_by_the_steps_of_its_guide(stage: Stage) -> None:
    stage.provider.answering = answer_with(RUNNING)
    await follow(stage, await stage.add_webhook(provider="freddy", credentials=KEY), provider_job_id="resp_1")
    await stage.work_through(600)
    times = await asked_at(stage)
    assert times[0] <= 5
    for first, last, every in ((0, 27, 2.5), (31, 290, 7.5), (301, 600, 45)):
        found = gaps(times, first, last)
        assert found and all(every * (1 - JITTER) - 0.01 <= gap <= every * (1 + JITTER) + 0.01 for gap in found), found


async def test_the_steps_go_by_the_age_of_the_job_and_not_by_how_often_it_was_asked(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    stage.provider.answering = answer_with(Page(429, b"", {"retry-after": "400"}), RUNNING)
    await follow(stage, await stage.add_webhook(provider="freddy", credentials=KEY), provider_job_id="resp_1")
    await stage.work_through(600)
    times = await asked_at(stage)
    assert times[1] >= 400
    assert all(gap >= 45 * (1 - JITTER) for gap in gaps(times, 400, 600))


async def test_the_webhooks_own_waits_come_before_the_profiles_steps(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    stage.provider.answering = answer_with(RUNNING)
    webhook = await stage.add_webhook(provider="freddy", credentials=KEY, poll_seconds=(20.0,))
    await follow(stage, webhook, provider_job_id="resp_1")
    await stage.work_through(100)
    assert all(gap >= 20 * (1 - JITTER) for gap in gaps(await asked_at(stage), 0, 100))


async def test_a_hint_header_says_when_to_come_back(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    stage.provider.answering = answer_with(Page(200, RUNNING.body, {"openai-poll-after-ms": "33000"}))
    await follow(stage, await stage.add_webhook(provider="openai", credentials=KEY), provider_job_id="resp_1")
    await stage.work_through(30)
    [first] = await asked_at(stage)
    job = await stage.the_job()
    assert job.due_at is not None and seconds_between(job.created_at, job.due_at) - first >= 33


# --- until when ---


async def kept_from_submit(open_stage: Opening, directory: Path) -> tuple[Stage, Webhook]:
    (directory / "from-submit.toml").write_text(KEPT_FROM_SUBMIT, encoding="utf-8")
    stage = await open_stage(replace(DEFAULT_PLAN, providers_dir=directory))
    webhook = await stage.add_webhook(provider="from-submit", credentials={}, retention_seconds=None)
    return stage, webhook


@SQLITE_FIRST
async def test_a_retention_that_runs_from_the_submit_is_not_moved_by_anything(
    open_stage: Opening, tmp_path: Path
) -> None:
    stage, webhook = await kept_from_submit(open_stage, tmp_path)
    stage.provider.answering = answer_with(Page(200, b'{"status": "running"}'))
    submitted = after(stage.clock.now(), -600)
    job = await follow(stage, webhook, submitted, provider_job_id="j-1")
    assert job.deadline == after(submitted, 3600)
    await stage.work_through(60)
    assert (await stage.the_job()).deadline == after(submitted, 3600), "a pending answer"
    await stage.accept(webhook, {"id": "j-1"})
    await stage.work_until_idle()
    assert (await stage.the_job()).deadline == after(submitted, 3600), "a notification"
    stage.provider.answering = answer_with(Page(404, b""))
    await stage.work_through(3100)
    assert (await stage.the_job()).status == "expired"


@pytest.mark.parametrize("provider", ["replicate", "pulse"])
async def test_a_result_that_the_answer_itself_calls_dropped_is_expired_at_once(stage: Stage, provider: str) -> None:
    body = {"id": "j-1", "job_id": "j-1", "status": "expired"}
    if provider == "replicate":
        body |= {"status": "succeeded", "data_removed": True, "output": None}  # type: ignore[dict-item]
    stage.provider.answering = answer_with(Page(200, json.dumps(body).encode()))
    await follow(stage, await stage.add_webhook(provider=provider, credentials=KEY), provider_job_id="j-1")
    await stage.work_through(5)
    job = await stage.the_job()
    assert (job.status, (await stage.result(job.id)).type) == ("expired", "result.expired")


async def test_a_completion_time_in_the_answer_is_what_the_retention_runs_from(
    sqlite_stage: Stage,
) -> None:
    stage = sqlite_stage
    webhook = await stage.add_webhook(provider="apify", credentials=KEY, retention_seconds=1000.0)
    done = {"data": {"id": "r", "status": "SUCCEEDED", "finishedAt": "2026-11-21T18:50:00.000Z"}}

    async def answering(request: ProviderRequest) -> Page:
        return Page(202, b"") if request.url.endswith("/items") else Page(200, json.dumps(done).encode())

    stage.provider.answering = answering
    await follow(stage, webhook, provider_job_id="r")
    await stage.work_through(5)
    assert seconds_between(stage.clock.now(), (await stage.the_job()).deadline) == pytest.approx(400, abs=6)


# --- once only ---


async def test_a_result_that_is_served_once_outlasts_a_database_that_is_away(
    open_stage: Opening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, webhook = await kept_from_submit(open_stage, tmp_path)
    await stage.add_subscription()
    done = Page(200, b'{"status": "done", "text": "once"}')
    stage.provider.answering = answer_with(done, Page(404, b""))
    submit, failures = stage.database.submit, [StoreUnavailable("away")] * 3

    async def away(operation: Any, item: Any) -> Any:
        if operation is SETTLE_FETCH and failures:
            raise failures.pop()
        return await submit(operation, item)

    monkeypatch.setattr(stage.database, "submit", away)
    await stage.accept(webhook, {"id": "j-1"})
    for _ in range(4):
        await stage.work_until_idle()
        stage.clock.advance(1)
    job = await stage.the_job()
    assert (job.status, len(stage.provider.requests)) == ("completed", 1)
    assert await stage.payload(await stage.result(job.id)) == done.body
    assert len(stage.subscribers.sent) == 1


async def test_what_can_be_asked_for_again_does_not_wait_for_the_database(
    sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = sqlite_stage
    submit, failures = stage.database.submit, [StoreUnavailable("away")]

    async def away(operation: Any, item: Any) -> Any:
        if operation is SETTLE_FETCH and failures:
            raise failures.pop()
        return await submit(operation, item)

    monkeypatch.setattr(stage.database, "submit", away)
    await stage.accept(await stage.add_webhook(), {"response_url": URL})
    await stage.work_through(40)
    assert (await stage.the_job()).status == "completed"
    assert len(stage.provider.requests) == 2


async def test_a_stored_result_is_not_asked_for_again(open_stage: Opening, tmp_path: Path) -> None:
    stage, webhook = await kept_from_submit(open_stage, tmp_path)
    stage.provider.answering = answer_with(Page(200, b'{"status": "done"}'), Page(404, b""))
    await stage.accept(webhook, {"id": "j-1"})
    await stage.work_until_idle()
    await stage.accept(webhook, {"id": "j-1", "again": 1})
    assert isinstance(await stage.tracker.fetch_now(await stage.the_job()), Refused)
    await follow(stage, webhook, provider_job_id="j-1")
    await stage.work_through(300)
    assert len(stage.provider.requests) == 1
    assert (await stage.the_job()).status == "completed"


# --- what answers say ---


async def test_an_unknown_status_is_waited_out_with_one_warning_for_each_word(stage: Stage) -> None:
    words = ["warming", "Warming up", "warming", "warming", "sk-secret-word"]
    pages = [Page(200, json.dumps({"id": "resp_1", "status": word}).encode()) for word in words]
    stage.provider.answering = answer_with(*pages, Page(200, b'{"id": "resp_1", "status": "completed"}'))
    webhook = await stage.add_webhook(provider="freddy", credentials={"api_key": Secret("sk-secret-word")})
    await follow(stage, webhook, provider_job_id="resp_1")
    with structlog.testing.capture_logs() as lines:
        await stage.work_through(4)
        job = await stage.the_job()
        assert (job.status, job.last_error, job.provider_status) == ("waiting", "pending: unknown_status", "warming")
        await stage.work_through(20)
    assert (await stage.the_job()).status == "completed"
    warned = [line for line in lines if line["event"] == "fetch.unknown_status"]
    assert [line["provider_status"] for line in warned] == ["warming", "Warming up", "[redacted]"]
    assert {(line["log_level"], line["webhook_id"], line["provider"]) for line in warned} == {
        ("warning", webhook.id, "freddy")
    }


async def test_completed_with_a_caveat_is_said_to_be_partial(stage: Stage) -> None:
    await stage.add_subscription()
    stage.provider.answering = answer_with(Page(200, b'{"id": "resp_1", "status": "incomplete"}'))
    await follow(stage, await stage.add_webhook(provider="openai", credentials=KEY), provider_job_id="resp_1")
    await stage.work_through(5)
    job = await stage.the_job()
    result = await stage.result(job.id)
    assert (job.status, job.provider_status, result.partial) == ("completed", "incomplete", True)
    assert stage.subscribers.sent[0].data["partial"] is True


async def test_an_id_that_an_answer_brings_becomes_the_jobs(stage: Stage) -> None:
    pending = Page(200, b'{"traceID": "t-1", "status": "processing"}')
    stage.provider.answering = answer_with(pending, pending, Page(200, DONE))
    webhook = await stage.add_webhook()
    await follow(stage, webhook, response_url=URL)
    await stage.work_through(3)
    assert (await stage.the_job()).provider_job_id == "t-1"
    keys = await rows_of(stage.database, schema.job_keys)
    assert {(row["kind"], row["value"]) for row in keys} == {("url", URL), ("id", "t-1")}
    answer = await stage.accept(webhook, {"traceID": "t-1"})
    assert answer.job_id == (await stage.the_job()).id, "it is found by the id that was learnt"
    await stage.work_through(20)
    assert (await stage.the_job()).status == "completed"


async def test_an_id_that_the_payload_brings_becomes_the_jobs_and_no_other_replaces_it(stage: Stage) -> None:
    stage.provider.answering = answer_with(Page(200, DONE))
    await follow(stage, await stage.add_webhook(), response_url=URL)
    await stage.work_through(5)
    job = await stage.the_job()
    assert (job.status, job.provider_job_id) == ("completed", "t-1")
    assert await count(stage.database, schema.job_keys) == 2


async def test_where_a_job_of_another_kind_has_its_result_is_learnt_from_its_notification(stage: Stage) -> None:
    done = Page(200, b'{"status": "completed", "data": []}')
    stage.provider.answering = answer_with(Page(200, b'{"status": "scraping"}'), done)
    webhook = await stage.add_webhook(provider="firecrawl", credentials=KEY)
    await follow(stage, webhook, provider_job_id="b-1")
    await stage.work_through(5)
    await stage.accept(webhook, {"type": "batch_scrape.completed", "id": "b-1", "webhookId": "w"})
    await stage.work_until_idle()
    paths = [request.url.partition(".example")[2] for request in stage.provider.requests]
    assert (paths[0], paths[-1]) == ("/v2/crawl/b-1", "/v2/batch/scrape/b-1")
    assert (await stage.the_job()).result_path == "/v2/batch/scrape/b-1"
    again = await stage.accept(webhook, {"type": "batch_scrape.completed", "id": "b-2", "webhookId": "v"})
    await stage.work_until_idle()
    assert (await stage.job(again.job_id)).result_path == "/v2/batch/scrape/b-2"
    assert stage.provider.requests[-1].url.endswith("/v2/batch/scrape/b-2")
