"""Jobs that somebody follows."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from relay.clock import after, seconds_between
from relay.model import Job, JobStatus, Notification, Webhook
from relay.outbound.provider_door import ProviderRequest
from relay.pipeline.cancel import Cancelled
from relay.pipeline.outcomes import Refused
from relay.pipeline.track import Tracked, TrackRequest
from relay.store import jobs, schema
from relay.store.queue import claim
from tests.support.doors import Page, answer_with
from tests.support.stage import ORIGIN, URL, Stage
from tests.support.store import count

PENDING = Page(202, b"{}")


async def track(stage: Stage, webhook: Webhook, **given: Any) -> Tracked | Refused:
    """By its URL, unless said otherwise."""
    values: dict[str, Any] = {"provider_job_id": None, "response_url": URL, "metadata": {}, "submitted_at": None}
    return await stage.tracker.track(webhook, TrackRequest(**values | given))


async def tracked(stage: Stage, webhook: Webhook, **given: Any) -> Job:
    """One that is not refused."""
    outcome = await track(stage, webhook, **given)
    assert isinstance(outcome, Tracked)
    return outcome.job


@pytest.mark.parametrize("given", [{}, {"provider_job_id": "t-1"}, {"provider_job_id": "t-1", "response_url": None}])
async def test_a_job_is_followed_by_its_id_its_url_or_both(stage: Stage, given: dict[str, Any]) -> None:
    webhook = await stage.add_webhook()
    outcome = await track(stage, webhook, metadata={"tenant": "acme"}, **given)
    assert isinstance(outcome, Tracked) and outcome.created
    assert (outcome.job.status, outcome.job.tracked, outcome.job.metadata) == ("waiting", True, {"tenant": "acme"})
    assert await stage.job(outcome.job.id) == outcome.job


async def test_it_is_polled_soon_and_often_in_the_first_minute_without_a_notification(stage: Stage) -> None:
    stage.provider.answering = answer_with(PENDING)
    job = await tracked(stage, await stage.add_webhook())
    await stage.work_through(60)
    attempts = await stage.attempts(job.id)
    assert seconds_between(job.created_at, attempts[0].started_at) <= 5
    assert len(attempts) >= 3
    stage.provider.answering = answer_with(Page())
    await stage.work_through(30)
    assert (await stage.job(job.id)).status == "completed"


async def test_metadata_that_leave_a_small_payload_no_room_make_its_envelope_a_thin_one(stage: Stage) -> None:
    """A job may bring nearly a mebibyte of them. It could not be concluded, and was expired in the end."""
    await stage.add_subscription()
    webhook = await stage.add_webhook()
    stage.provider.answering = answer_with(Page(body=b'{"response": {"x": "' + b"y" * 100_000 + b'"}}'))
    job = await tracked(stage, webhook, metadata={"note": "n" * 1_000_000})
    await stage.work_through(10)
    assert (await stage.job(job.id)).status == "completed"
    [sent] = stage.subscribers.sent
    assert "payload" not in sent.data and sent.data["payload_url"].startswith("https://")


async def test_the_webhooks_own_polling_overrides_the_profiles(sqlite_stage: Stage) -> None:
    sqlite_stage.provider.answering = answer_with(PENDING)
    job = await tracked(sqlite_stage, await sqlite_stage.add_webhook(poll_seconds=(30.0, 60.0)))
    await sqlite_stage.work_through(29)
    assert await sqlite_stage.attempts(job.id) == []
    await sqlite_stage.work_through(80)
    assert len(await sqlite_stage.attempts(job.id)) == 2


async def test_a_known_job_is_returned_and_learns_what_is_new(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    first = await tracked(stage, webhook, metadata={"a": 1})
    again = await track(stage, webhook, provider_job_id="t-1", metadata={"a": 2, "b": 3})
    assert isinstance(again, Tracked) and not again.created
    assert (again.job.id, again.job.provider_job_id, again.job.metadata) == (first.id, "t-1", {"a": 1, "b": 3})
    by_id = await track(stage, webhook, provider_job_id="t-1", response_url=None)
    assert isinstance(by_id, Tracked) and by_id.job.id == first.id
    assert await count(stage.database, schema.jobs) == 1


async def test_a_job_that_waited_for_something_to_ask_by_is_asked_soon_once_it_is_there(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    job = await tracked(stage, webhook, provider_job_id="t-1", response_url=None)
    await stage.work_through(6)
    assert (await stage.job(job.id)).last_error == "nothing_to_ask"
    now = stage.clock.now()
    again = await tracked(stage, webhook, provider_job_id="t-1")
    assert again.id == job.id
    assert again.due_at is not None and seconds_between(now, again.due_at) <= 5
    await stage.work_through(6)
    assert (await stage.job(job.id)).status == "completed"


async def test_what_is_learnt_while_nothing_is_found_to_ask_by_is_asked_by_at_once(stage: Stage) -> None:
    """Whoever had claimed the job without it put it off for ten minutes, which is all that some results are kept."""
    webhook = await stage.add_webhook()
    job = await tracked(stage, webhook, provider_job_id="t-1", response_url=None)
    stage.clock.advance(6)
    [row] = await stage.database.write(
        partial(claim, table=schema.jobs, ids=[job.id], now=stage.clock.now(), lease_until=after(stage.clock.now(), 30))
    )
    await tracked(stage, webhook, provider_job_id="t-1")
    await stage.fetcher.run(jobs.read(row))
    await stage.work_through(6)
    assert (await stage.job(job.id)).status == "completed"


async def test_a_job_that_a_notification_made_is_tracked_from_then_on(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    answer = await stage.accept(webhook, {"response_url": URL})
    job = await tracked(stage, webhook)
    assert job.id == answer.job_id and job.tracked


async def test_a_job_of_another_webhook_of_the_account_is_refused(stage: Stage) -> None:
    mine, other = await stage.add_webhook(), await stage.add_webhook()
    await tracked(stage, mine)
    refused = await track(stage, other)
    assert isinstance(refused, Refused) and refused.code == "job_of_another_webhook"


async def test_keys_of_two_jobs_are_refused(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    await tracked(stage, webhook)
    await tracked(stage, webhook, provider_job_id="t-2", response_url=None)
    refused = await track(stage, webhook, provider_job_id="t-2")
    assert isinstance(refused, Refused) and refused.code == "keys_of_two_jobs"


@pytest.mark.parametrize("url", ["https://evil.example/1", "https://provider.example@evil.example/", "nonsense"])
async def test_a_foreign_url_is_refused_and_the_field_named(sqlite_stage: Stage, url: str) -> None:
    refused = await track(sqlite_stage, await sqlite_stage.add_webhook(), response_url=url)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.field) == ("foreign_response_url", "response_url")


async def test_two_who_track_the_same_at_once_follow_one_job(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    jobs = await asyncio.gather(*(tracked(stage, webhook) for _ in range(8)))
    assert len({job.id for job in jobs}) == 1


async def test_time_since_the_submit_counts(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook()
    now = sqlite_stage.clock.now()
    hour_ago = await tracked(sqlite_stage, webhook, submitted_at=after(now, -3600))
    future = await tracked(sqlite_stage, webhook, response_url=URL + "0", submitted_at=after(now, 3600))
    assert seconds_between(hour_ago.deadline, future.deadline) == 3600


async def test_an_answer_is_recorded_in_the_transaction_of_its_effect(stage: Stage) -> None:
    webhook = await stage.add_webhook()

    def broken(*_: object) -> None:
        raise RuntimeError("cannot be recorded")

    given = TrackRequest(provider_job_id="t-1", response_url=None, metadata={}, submitted_at=None)
    with pytest.raises(RuntimeError):
        await stage.tracker.track(webhook, given, broken)
    assert await count(stage.database, schema.jobs) == 0


async def test_a_fetch_can_be_asked_for_now(stage: Stage) -> None:
    stage.provider.answering = answer_with(PENDING, Page())
    job = await tracked(stage, await stage.add_webhook(poll_seconds=(1000.0,)))
    for expected in ("waiting", "completed"):
        outcome = await stage.tracker.fetch_now(await stage.job(job.id))
        assert isinstance(outcome, Job) and outcome.notified_at is None, "nobody has notified us"
        stage.clock.advance(1)
        await stage.work_until_idle()
        assert (await stage.job(job.id)).status == expected
    refused = await stage.tracker.fetch_now(await stage.job(job.id))
    assert isinstance(refused, Refused) and refused.code == "job_is_final"


@pytest.mark.parametrize("later", [0, 1])
async def test_a_fetch_that_is_asked_for_during_another_is_made_at_once_and_is_no_notification(
    sqlite_stage: Stage, later: float
) -> None:
    """It counted as one: from then on the provider was polled as if it had said that the result is ready."""
    webhook = await sqlite_stage.add_webhook(poll_seconds=(1000.0,))
    job = await tracked(sqlite_stage, webhook)
    asked = 0

    async def answering(_: ProviderRequest) -> Page:
        nonlocal asked
        asked += 1
        if asked == 1:
            sqlite_stage.clock.advance(later)
            await sqlite_stage.tracker.fetch_now(await sqlite_stage.job(job.id))
        return PENDING

    sqlite_stage.provider.answering = answering
    await sqlite_stage.work_through(1200)
    assert asked == 2, "the wish came while the first was under way"
    waiting = await sqlite_stage.job(job.id)
    assert waiting.notified_at is None and waiting.due_at is not None
    assert seconds_between(sqlite_stage.clock.now(), waiting.due_at) > 700, "polled by the webhook's own waits"


async def test_who_waits_for_a_job_is_woken_when_it_ends(stage: Stage) -> None:
    job = await tracked(stage, await stage.add_webhook())
    waiting = asyncio.create_task(stage.tracker.wait(job.id, 60))
    await stage.database.quiet()
    stage.clock.advance(5)
    await stage.work_until_idle()
    ended = await waiting
    assert ended is not None and ended.status is JobStatus.COMPLETED
    assert await stage.tracker.wait("job_" + "0" * 32, 0) is None
    assert await stage.tracker.wait(job.id, 0) == ended


async def test_cancelling_is_not_something_this_provider_can(sqlite_stage: Stage) -> None:
    job = await tracked(sqlite_stage, await sqlite_stage.add_webhook())
    refused = await sqlite_stage.tracker.cancel(job)
    assert not isinstance(refused, Cancelled) and refused.code == "cancel_not_supported"


async def test_an_unprocessable_one_at_a_jobs_own_url_is_still_that_jobs_when_it_is_taken(stage: Stage) -> None:
    """Reprocessed it made a job of its own, and the one that waited for it went on waiting."""
    webhook = await stage.add_webhook(origins=(ORIGIN,))
    job = await tracked(stage, webhook, provider_job_id="j-1", response_url=None)
    token = stage.tokens.mint(webhook.id, webhook.generation, job.id)
    answer = await stage.accept(webhook, {"response_url": "https://eu.provider.example/1"}, token=token)
    assert (answer.status, answer.job_id) == ("unprocessable", None)
    await stage.change_webhook(webhook, origins=(ORIGIN, "https://eu.provider.example"))
    assert answer.notification_id is not None
    taken = await stage.receiver.reprocess(answer.notification_id)
    assert isinstance(taken, Notification) and (taken.status, taken.job_id) == ("accepted", job.id)
    assert (await stage.the_job()).response_url == "https://eu.provider.example/1"
