"""One claimed job, one question, one settlement."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay import errors
from relay.clock import after, seconds_between
from relay.model import Job, JobStatus, Secret, Webhook
from relay.outbound.provider_door import ProviderRequest
from relay.pipeline.track import TrackRequest
from relay.store import schema
from relay.store.payloads import CHUNK_BYTES, drop_orphans
from relay.store.tracking import make_due
from tests.support.doors import DONE, Page, answer_with
from tests.support.profiles import SIGNED, write_profiles
from tests.support.stage import DEFAULT_PLAN, ORIGIN, URL, Stage
from tests.support.stage_fixtures import SQLITE_FIRST, Opening
from tests.support.store import a_job, count, put_jobs, rows_of

THIN = {"response_url": URL}
PENDING = Page(202, b"{}")
SHOWN = {"x-inference-webhook-id": "shown"}


async def fetched(stage: Stage, *pages: Page | errors.OutboundError, **webhook: Any) -> Any:
    """A notification came and everything was done that could be at once; the job."""
    stage.provider.answering = answer_with(*pages)
    await stage.accept(await stage.add_webhook(**webhook), THIN)
    await stage.work_until_idle()
    return await stage.the_job()


A9 = [
    b'{"response": {"a": 1, "a": 2}}',
    b'{"response": {"n": NaN, "e": 1e400, "i": 9223372036854775808, "z": -0, "f": 1.0}}',
    b'{"response": {"digits": ' + b"7" * 5000 + b"}}",
    b'{"z": 1, "response": {"lone": "\\ud800"}, "a": 2}\r\n',
    b'{"response": {"x": "' + b"y" * 700_000 + b'"}}',
]


@pytest.mark.parametrize("body", A9, ids=range(len(A9)))
async def test_a_payload_is_stored_byte_for_byte(stage: Stage, body: bytes) -> None:
    job = await fetched(stage, Page(body=body, headers={"content-type": "application/json; x=1"}))
    assert job.status == "completed"
    result = await stage.result(job.id)
    assert await stage.payload(result) == body
    assert (result.size_bytes, result.content_type) == (len(body), "application/json; x=1")


async def test_a_large_result_is_spilled_in_pieces_and_delivered_thin(stage: Stage) -> None:
    await stage.add_subscription()
    body = b'{"response": {"x": "' + os.urandom(1_500_000).hex().encode() + b'"}}'
    job = await fetched(stage, Page(body=body))
    result = await stage.result(job.id)
    assert await stage.payload(result) == body
    assert await count(stage.database, schema.spills) == 0
    [sent] = stage.subscribers.sent
    token = sent.data["payload_url"].partition("token=")[2]
    assert stage.links.read(token, stage.clock.now()) == result.id
    assert "payload" not in sent.data and len(sent.body) < 4096


NOT_YET = [
    PENDING,
    Page(425, b""),
    Page(200, b'{"status": "processing"}'),
    Page(200, b"{}"),
    Page(200, b'{"response": {}}'),
    Page(200, b"<html>please wait</html>", {"content-type": "text/html"}),
    Page(200, b""),
    Page(404, b"not found"),
    Page(410, b""),
    Page(500, b"oops"),
    Page(503, b""),
    Page(302, b"", {"location": "https://evil.example/"}),
    Page(429, b""),
    errors.TimedOut(""),
    errors.ConnectFailed(""),
    errors.ResolveFailed(""),
    errors.Interrupted(""),
    errors.AddressRefused(""),
    Page(body=b'{"response": {"cut', broken=errors.Interrupted("")),
    Page(body=b"x" * 600_000, broken=errors.DecodeFailed("")),
]


@pytest.mark.parametrize("first", NOT_YET, ids=range(len(NOT_YET)))
async def test_what_is_not_the_result_is_asked_for_again(sqlite_stage: Stage, first: Any) -> None:
    stage = sqlite_stage
    job = await fetched(stage, first, Page())
    assert (job.status, job.attempts, job.result_id) == ("fetching", 1, None)
    assert await count(stage.database, schema.payload_chunks) == 0, "nothing of it is kept"
    await stage.work_through(5)
    job = await stage.the_job()
    assert (job.status, job.attempts) == ("completed", 2)
    assert await stage.payload(await stage.result(job.id)) == DONE


async def test_a_body_that_is_too_large_is_tried_rarely_and_nothing_of_it_is_kept(stage: Stage) -> None:
    job = await fetched(stage, Page(body=b"x" * 600_000, broken=errors.BodyTooLarge("")))
    assert job.last_error == "body_too_large"
    assert seconds_between(stage.clock.now(), job.due_at) >= 600
    assert await count(stage.database, schema.payload_chunks) == 0


async def test_after_a_notification_it_is_asked_at_once_then_after_1_2_5_and_10_seconds(sqlite_stage: Stage) -> None:
    await fetched(sqlite_stage, PENDING)
    await sqlite_stage.work_through(25)
    attempts = await sqlite_stage.attempts((await sqlite_stage.the_job()).id)
    waits = [seconds_between(a.started_at, b.started_at) for a, b in zip(attempts, attempts[1:], strict=False)]
    for waited, meant in zip(waits, (1, 2, 5, 10), strict=True):
        assert 0.8 * meant <= waited <= 1.2 * meant


@pytest.mark.parametrize("header", ["-1", "soon", "1e9", "", "Sat, 99 Nov 2026 00:00:00 GMT"])
async def test_an_absurd_retry_after_is_none(sqlite_stage: Stage, header: str) -> None:
    job = await fetched(sqlite_stage, Page(429, b"", {"retry-after": header}))
    assert seconds_between(sqlite_stage.clock.now(), job.due_at) <= 1.2


@pytest.mark.parametrize("header", ["600", "Sat, 21 Nov 2026 19:10:00 GMT"])
async def test_a_retry_after_is_kept_to(sqlite_stage: Stage, header: str) -> None:
    job = await fetched(sqlite_stage, Page(429, b"", {"retry-after": header}))
    assert seconds_between(sqlite_stage.clock.now(), job.due_at) == pytest.approx(600, abs=1)


@pytest.mark.parametrize("header", ["1000000000", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_retry_after_never_goes_past_the_deadline(sqlite_stage: Stage, header: str) -> None:
    job = await fetched(sqlite_stage, Page(503, b"", {"retry-after": header}))
    assert sqlite_stage.clock.now() < job.due_at < job.deadline


async def test_a_hint_to_come_back_in_thirty_years_is_a_day_at_most(open_stage: Opening, tmp_path: Path) -> None:
    stage = await open_stage(replace(DEFAULT_PLAN, providers_dir=write_profiles(tmp_path)))
    webhook = await stage.add_webhook(provider="shared", retention_seconds=1.0)
    webhook = await stage.change_webhook(webhook, provider="signing")
    stage.provider.answering = answer_with(Page(500, b"", {"x-come-back": "999999999"}))
    await stage.accept(webhook, {"id": "j-1"})
    stage.clock.advance(10)
    await stage.work_through(5)
    job = await stage.the_job()
    assert job.due_at is not None and seconds_between(stage.clock.now(), job.due_at) <= 86_400


# --- the end of a job ---


async def _templated(open_stage: Opening, tmp_path: Path, *pages: Page) -> Stage:
    stage = await open_stage(replace(DEFAULT_PLAN, providers_dir=write_profiles(tmp_path)))
    stage.provider.answering = answer_with(*pages)
    await stage.add_subscription()
    await stage.accept(await stage.add_webhook(provider="shared", retention_seconds=600.0), {"id": "j-1"})
    return stage


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_a_job_that_failed_has_a_result_with_what_the_provider_said(stage: Stage, status: str) -> None:
    await stage.add_subscription()
    body = json.dumps({"status": status, "error": "no credit"}).encode()
    job = await fetched(stage, Page(body=body))
    result = await stage.result(job.id)
    assert (job.status, result.status, result.error) == (status, status, "no credit")
    assert await stage.payload(result) == body
    assert json.loads(stage.subscribers.sent[0].body)["type"] == f"result.{status}"


async def test_gone_means_expired_only_after_the_deadline_and_has_a_result(stage: Stage) -> None:
    await stage.add_subscription()
    await fetched(stage, Page(404, b""), retention_seconds=600.0)
    await stage.work_through(599)
    assert (await stage.the_job()).status == "fetching"
    await stage.work_through(120)
    job = await stage.the_job()
    result = await stage.result(job.id)
    assert (job.status, result.type, result.payload_id) == ("expired", "result.expired", None)
    [sent] = stage.subscribers.sent
    assert not {"payload", "payload_base64", "payload_url"} & sent.data.keys()


@SQLITE_FIRST
async def test_a_dead_provider_is_asked_until_it_is_given_up(open_stage: Opening) -> None:
    stage = await open_stage(replace(DEFAULT_PLAN, give_up_seconds=1200.0))
    await fetched(stage, Page(500, b""), retention_seconds=300.0)
    await stage.work_through(1190)
    assert (await stage.the_job()).status == "fetching"
    await stage.work_through(100)
    job = await stage.the_job()
    assert (job.status, job.last_error) == ("expired", "gave up: server_error")


async def test_a_later_completed_result_supersedes_an_expired_one(stage: Stage) -> None:
    await stage.add_subscription()
    job = await fetched(stage, Page(404, b""), retention_seconds=10.0)
    await stage.work_through(300)
    first = await stage.result(job.id)
    assert first.status is JobStatus.EXPIRED
    stage.provider.answering = answer_with(Page())
    webhook = next(iter(stage.configuration.current.webhooks.values()))
    await stage.accept(webhook, {"response_url": URL, "again": 1})
    await stage.work_until_idle()
    second = await stage.result(job.id)
    assert (second.status, (await stage.job(job.id)).result_id) == (JobStatus.COMPLETED, second.id)
    assert [sent.headers["webhook-id"] for sent in stage.subscribers.sent] == [first.id, second.id]


async def test_a_completed_job_is_not_fetched_again(stage: Stage) -> None:
    await fetched(stage, Page())
    webhook = next(iter(stage.configuration.current.webhooks.values()))
    answer = await stage.accept(webhook, {"response_url": URL, "again": 1})
    await stage.work_through(60)
    assert answer.status == "accepted" and len(stage.provider.requests) == 1


async def test_another_jobs_payload_is_never_stored(stage: Stage) -> None:
    stage.provider.answering = answer_with(Page(body=b'{"traceID": "t-2", "response": {"text": "theirs"}}'))
    await stage.accept(await stage.add_webhook(), {"traceID": "t-1", "response_url": URL})
    await stage.work_through(60)
    job = await stage.the_job()
    assert (job.status, job.last_error) == ("fetching", "job_id_mismatch")
    assert await count(stage.database, schema.results) == 0


async def test_a_job_that_goes_by_two_ids_may_be_called_by_either(stage: Stage) -> None:
    """The notification came to it by its URL and brought the second; its payload was refused for ever."""
    webhook = await stage.add_webhook()
    stage.provider.answering = answer_with(Page(body=b'{"traceID": "t-2", "response": {"text": "ours"}}'))
    first = TrackRequest(provider_job_id="t-1", response_url=URL, metadata={}, submitted_at=None)
    await stage.tracker.track(webhook, first)
    await stage.accept(webhook, {"traceID": "t-2", "response_url": URL})
    await stage.work_until_idle()
    job = await stage.the_job()
    assert (job.status, job.provider_job_id, job.last_error) == ("completed", "t-1", None)


async def test_an_id_that_the_payload_brings_is_learnt(stage: Stage) -> None:
    job = await fetched(stage, Page())
    assert (await stage.result(job.id)).provider_job_id == "t-1"
    keys = await rows_of(stage.database, schema.job_keys)
    assert {(row["kind"], row["value"]) for row in keys} == {("url", URL), ("id", "t-1")}


async def test_a_full_result_in_the_notification_is_taken_as_it_is(stage: Stage) -> None:
    await stage.add_subscription()
    webhook = await stage.add_webhook()
    answer = await stage.accept(webhook, DONE, headers={"content-type": "application/json"})
    await stage.work_until_idle()
    result = await stage.result(answer.job_id)
    assert (result.status, result.provider_job_id, result.content_type) == ("completed", "t-1", "application/json")
    assert await stage.payload(result) == DONE
    assert stage.provider.requests == [] and stage.subscribers.sent[0].data["payload"] == json.loads(DONE)


async def test_a_failure_that_nobody_authenticated_only_triggers_a_fetch(stage: Stage) -> None:
    await stage.accept(await stage.add_webhook(), {"response_url": URL, "status": "failed"})
    await stage.work_until_idle()
    assert (await stage.the_job()).status == "completed"


async def test_a_template_asks_by_id_under_the_base_url(open_stage: Opening, tmp_path: Path) -> None:
    stage = await _templated(open_stage, tmp_path, Page())
    await stage.work_until_idle()
    assert stage.provider.requests[0].url == "https://provider.example/jobs/j-1"


async def test_a_signed_inline_payload_is_taken_where_the_profile_trusts_it(
    open_stage: Opening, tmp_path: Path
) -> None:
    stage = await open_stage(replace(DEFAULT_PLAN, providers_dir=write_profiles(tmp_path)))
    webhook = await stage.add_webhook(provider="signing", verification={"secret": Secret(SIGNED.secret)})
    body = b'{"id": "j-1", "status": "done", "output": {"x": 1}}'
    answer = await stage.accept(webhook, body, headers=SIGNED.headers("m", body, stage.clock.now()))
    await stage.work_until_idle()
    assert await stage.payload(await stage.result(answer.job_id)) == body
    assert stage.provider.requests == [], "it was authenticated"


async def _failed_in_its_notification(stage: Stage) -> tuple[Webhook, Job]:
    await stage.add_subscription()
    webhook = await stage.add_webhook(
        provider="inference-net",
        origins=(ORIGIN,),
        base_url=ORIGIN,
        parameters={"webhook_id": "shown"},
        credentials={"api_key": Secret("k")},
    )
    answer = await stage.accept(webhook, {"generation_id": "g-1", "data": {"state": "Failed"}}, headers=SHOWN)
    await stage.work_until_idle()
    job = await stage.job(answer.job_id)
    assert job.status is JobStatus.FAILED and stage.provider.requests == []
    return webhook, job


async def test_a_failure_that_a_notification_brought_is_taken_once_and_then_the_provider_is_asked(stage: Stage) -> None:
    webhook, job = await _failed_in_its_notification(stage)
    stage.provider.answering = answer_with(
        Page(body=b'{"id": "g-1", "state": "Queued"}'), Page(body=b'{"state": "Success"}')
    )
    await stage.tracker.fetch_now(job)
    await stage.work_until_idle()
    assert len(stage.provider.requests) == len(stage.subscribers.sent) == 1
    await stage.accept(webhook, {"generation_id": "g-1"}, headers=SHOWN)
    await stage.work_until_idle()
    assert [sent.data["status"] for sent in stage.subscribers.sent] == ["failed", "completed"]


async def test_a_notification_that_says_again_that_it_failed_makes_no_second_result(stage: Stage) -> None:
    webhook, job = await _failed_in_its_notification(stage)
    for data in ({"state": "Failed", "again": 1}, {"state": "Cancelled"}, {"state": "Success"}):
        await stage.accept(webhook, {"generation_id": "g-1", "data": data}, headers=SHOWN)
        await stage.work_until_idle()
    assert [sent.data["status"] for sent in stage.subscribers.sent] == ["failed", "completed"]
    assert stage.provider.requests == [] and (await stage.job(job.id)).status is JobStatus.COMPLETED


# --- what happens meanwhile ---


async def test_a_notification_during_a_fetch_has_it_fetched_again_at_once(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    answers = [PENDING, Page()]

    async def answering(request: ProviderRequest) -> Page:
        page = answers.pop(0)
        if page is PENDING:
            stage.clock.advance(0.5)
            await stage.accept(webhook, {"response_url": URL, "news": 1})
        return page

    stage.provider.answering = answering
    await stage.accept(webhook, THIN)
    await stage.work_until_idle()
    assert (await stage.the_job()).status == "completed", "without time passing"


async def test_who_lost_the_lease_writes_nothing(stage: Stage) -> None:
    other = await stage.another()
    big = b'{"response": {"x": "' + b"y" * 600_000 + b'"}}'

    done = asyncio.Event()

    async def slow(request: ProviderRequest) -> Page:
        await done.wait()
        return Page(body=big)

    stage.provider.answering, other.provider.answering = slow, answer_with(Page())
    await stage.add_subscription()
    await other.configuration.refresh()
    await stage.accept(await stage.add_webhook(), THIN)
    await stage.work_until_idle()
    stage.clock.advance(31)  # the lease ends, somebody else takes the job and is done first
    await other.work_until_idle()
    done.set()
    await stage.work_until_idle()
    job = await stage.the_job()
    assert (job.status, job.attempts) == ("completed", 1)
    assert await stage.payload(await stage.result(job.id)) == DONE
    assert await count(stage.database, schema.results) == 1
    assert len(await stage.deliveries()) == 1
    assert len(await rows_of(stage.database, schema.payload_chunks)) == 1, "the other body was dropped"


async def test_a_subscription_made_by_another_node_meanwhile_gets_the_result(stage: Stage) -> None:
    other = await stage.another()

    async def answering(request: ProviderRequest) -> Page:
        await other.add_subscription(url="https://new.example/hooks")
        return Page()

    stage.provider.answering = answering
    await stage.accept(await stage.add_webhook(), THIN)
    await stage.work_until_idle()
    assert [sent.url for sent in stage.subscribers.sent] == ["https://new.example/hooks"]


async def test_a_body_that_nobody_came_to_own_is_collected(stage: Stage) -> None:
    spool = stage.floor.payloads.spool()
    await spool.add(b"x" * 3 * CHUNK_BYTES)
    early = after(stage.clock.now(), -1)
    assert await stage.database.write(lambda connection: drop_orphans(connection, early)) == 0
    late = after(stage.clock.now(), 1)
    assert await stage.database.write(lambda connection: drop_orphans(connection, late)) == 1
    assert await count(stage.database, schema.payload_chunks) == 0


async def test_a_cancelled_fetch_keeps_nothing(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    stage.provider.answering = stage.never
    await stage.accept(webhook, THIN)
    await stage.database.quiet()
    assert await stage.fetching.crew.drain(0) != []
    assert (await stage.the_job()).attempts == 0


async def test_a_bug_of_our_own_is_visible_and_not_repeated_every_moment(
    sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise KeyError("a bug")

    monkeypatch.setattr("relay.pipeline.asking.read_answer", broken)
    job = await fetched(sqlite_stage, Page())
    assert (job.status, job.last_error) == ("fetching", "internal_error")
    assert seconds_between(sqlite_stage.clock.now(), job.due_at) >= 60


async def test_a_webhook_whose_profile_is_gone_keeps_its_jobs_until_they_are_given_up(open_stage: Opening) -> None:
    stage = await open_stage(replace(DEFAULT_PLAN, give_up_seconds=300.0))
    webhook = await stage.add_webhook()
    stage.fetching.scheduler.paused = True
    await stage.accept(webhook, THIN)
    await stage.change_webhook(webhook, provider="gone")
    stage.fetching.scheduler.paused = False
    await stage.work_until_idle()
    job = await stage.the_job()
    assert (job.status, job.last_error) == ("fetching", "provider_profile_missing")
    await stage.work_through(400)
    job = await stage.the_job()
    assert (job.status, job.last_error) == ("expired", "gave up: provider_profile_missing")


async def test_a_bug_of_our_own_ends_with_an_expired_result_and_not_never(
    open_stage: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise KeyError("a bug")

    monkeypatch.setattr("relay.pipeline.asking.read_answer", broken)
    stage = await open_stage(replace(DEFAULT_PLAN, give_up_seconds=300.0))
    with capture_logs():
        await fetched(stage, Page())
        await stage.work_through(700)
    job = await stage.the_job()
    assert (job.status, job.last_error, job.due_at) == ("expired", "gave up: internal_error", None)
    assert (await stage.result(job.id)).type == "result.expired"


async def test_a_job_that_has_ended_is_not_looked_at_for_ever(stage: Stage) -> None:
    """Asked for by hand, with nothing to ask by, it was woken every ten minutes for good, and never deleted."""
    webhook = await stage.add_webhook()
    now = stage.clock.now()
    row = a_job(
        webhook_id=webhook.id, status=JobStatus.FAILED, response_url=None, due_at=None, deadline=after(now, 3600)
    )
    await put_jobs(stage.database, row)
    await stage.database.write(partial(make_due, job_id=row.id, now=now))
    await stage.work_through(2 * 3600)
    job = await stage.job(row.id)
    assert (job.status, job.due_at) == ("failed", None)
    assert await count(stage.database, schema.results) == 0
