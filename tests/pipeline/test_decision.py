"""What follows from an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay.clock import Instant, after
from relay.model import Job, JobStatus
from relay.pipeline.bindings import Binding, bind
from relay.pipeline.decision import (
    NOT_READABLE_SECONDS,
    REJECTED_SECONDS,
    TOO_LARGE_SECONDS,
    Conclusion,
    Reading,
    call_outcome,
    conclude_inline,
    decide,
)
from relay.pipeline.gate import Outcome
from relay.providers.loader import load_profiles
from relay.providers.profile import Retention
from relay.providers.reading import Notice, Verdict
from relay.store.settlement import Postponed
from tests.support.store import NOW, a_job, a_webhook

BINDING: Binding = bind(a_webhook(), load_profiles(None)["netnut"])
LATE = after(NOW, 7201)  # after the deadline of `a_job`
TOO_LATE = after(NOW, 25 * 3600)  # after its give_up_at


def step(verdict: Verdict | None = None, *, at: Instant = NOW, error: str | None = None, **job: Any) -> Any:
    return decide(a_job(**job), BINDING, Reading(verdict, error), at, 0.5)


def answer(kind: Any, **fields: Any) -> Verdict:
    return Verdict(kind=kind, **fields)


@pytest.mark.parametrize("kind", ["completed", "failed", "cancelled"])
def test_a_final_answer_ends_the_job(kind: str) -> None:
    ended = step(answer(kind, error="why", partial=True))
    assert isinstance(ended, Conclusion)
    assert (ended.status, ended.error, ended.partial, ended.with_payload) == (JobStatus(kind), "why", True, True)


@pytest.mark.parametrize("kind", ["gone", "not_found"])
def test_gone_before_the_deadline_is_not_readable_yet(kind: str) -> None:
    assert isinstance(step(answer(kind)), Postponed)


@pytest.mark.parametrize("kind", ["gone", "not_found"])
def test_gone_after_the_deadline_is_expired(kind: str) -> None:
    ended = step(answer(kind), at=LATE)
    assert isinstance(ended, Conclusion)
    assert (ended.status, ended.with_payload) == (JobStatus.EXPIRED, False)


def test_what_the_provider_called_it_last_stays_known() -> None:
    assert step(
        answer("gone", provider_status="expired", reason="status"), provider_status="ready"
    ).provider_status == ("expired")
    assert step(answer("not_found"), at=LATE, provider_status="ready").provider_status == "ready"
    assert step(answer("pending"), at=TOO_LATE, provider_status="running").provider_status == "running"
    assert step(answer("completed"), provider_status="running").provider_status is None, "it no longer is"


@pytest.mark.parametrize("reason", ["status", "removed"])
def test_an_answer_that_says_itself_that_the_result_was_dropped_needs_no_deadline(reason: str) -> None:
    ended = step(answer("gone", reason=reason))
    assert isinstance(ended, Conclusion) and (ended.status, ended.with_payload) == (JobStatus.EXPIRED, False)


def test_a_completion_that_the_provider_names_is_what_the_retention_runs_from() -> None:
    long_ago = after(NOW, -7300)
    assert isinstance(step(answer("gone", completed_at=long_ago)), Postponed), "a notification came just now"
    ended = step(answer("gone", completed_at=long_ago), notified_at=None)
    assert isinstance(ended, Conclusion) and ended.status is JobStatus.EXPIRED
    assert step(answer("pending", completed_at=after(NOW, -100))).deadline == after(NOW, 7100)
    assert step(answer("pending", completed_at=after(NOW, 100))).deadline == after(NOW, 7200), "no clock runs ahead"


def test_a_retention_from_the_submit_stays_where_it_is() -> None:
    profile = replace(BINDING.profile, retention=Retention(seconds=60, anchor="submitted"))
    binding = replace(BINDING, profile=profile)
    job = a_job(deadline=after(NOW, 30))
    for verdict in (answer("pending"), answer("pending", completed_at=NOW)):
        postponed = decide(job, binding, Reading(verdict), NOW, 0.5)
        assert isinstance(postponed, Postponed) and postponed.deadline == after(NOW, 30)


@pytest.mark.parametrize("code", ["page_loop", "too_many_pages"])
def test_pages_without_an_end_are_asked_for_rarely(code: str) -> None:
    assert step(error=code).due_at >= after(NOW, TOO_LARGE_SECONDS)


@pytest.mark.parametrize("code", ["page_loop", "too_many_pages", "page_failed"])
def test_pages_that_do_not_add_up_are_answers_all_the_same(code: str) -> None:
    assert call_outcome(Reading(error_code=code)) is Outcome.FINE


def test_trouble_elsewhere_is_not_the_providers() -> None:
    for reading in (
        Reading(error_code="connect_failed"),
        Reading(answer("server_error")),
        Reading(answer("throttled")),
    ):
        assert call_outcome(replace(reading, of_provider=False)) is Outcome.FINE


def test_shortly_after_a_notification_gone_means_not_yet_whatever_the_deadline_says() -> None:
    """A provider whose clock is wrong, or who says so hours later, gives a deadline that has passed already."""
    passed = Instant(NOW - 1)
    soon = after(NOW, NOT_READABLE_SECONDS - 1)
    assert isinstance(step(answer("not_found"), at=soon, deadline=passed), Postponed)
    assert isinstance(step(answer("not_found"), at=after(soon, 1), deadline=passed), Conclusion)
    assert isinstance(step(answer("not_found"), at=soon, deadline=passed, notified_at=None), Conclusion)


@pytest.mark.parametrize("kind", ["pending", "throttled", "server_error", "unexpected", "rejected_credentials"])
def test_nothing_else_expires_a_job_before_it_is_given_up(kind: str) -> None:
    assert isinstance(step(answer(kind), at=LATE), Postponed)
    ended = step(answer(kind), at=TOO_LATE)
    assert isinstance(ended, Conclusion) and ended.status is JobStatus.EXPIRED
    assert ended.error is not None and ended.error.startswith("gave up: ") and "None" not in ended.error


def test_a_completed_answer_counts_even_when_it_is_too_late() -> None:
    ended = step(answer("completed"), at=TOO_LATE)
    assert isinstance(ended, Conclusion) and ended.status is JobStatus.COMPLETED


def test_a_pending_answer_moves_the_deadline_and_is_no_error() -> None:
    again = step(answer("pending", provider_status="running"), at=after(NOW, 600))
    assert isinstance(again, Postponed)
    assert (again.deadline, again.last_error, again.provider_status) == (after(NOW, 7800), None, "running")
    assert (again.status, again.step) == (JobStatus.FETCHING, 1)


def test_a_pending_answer_never_moves_it_nearer() -> None:
    far = after(NOW, 100_000)
    assert step(answer("pending"), deadline=far).deadline == far


def test_an_expiry_that_the_provider_names_counts() -> None:
    assert step(answer("pending", expires_at=after(NOW, 60))).deadline == after(NOW, 60)


def test_an_odd_pending_answer_says_what_was_odd() -> None:
    assert step(answer("pending", reason="no_marker")).last_error == "pending: no_marker"


@pytest.mark.parametrize("kind", ["throttled", "server_error", "not_found"])
def test_other_answers_leave_the_deadline(kind: str) -> None:
    again = step(answer(kind), at=after(NOW, 600))
    assert again.deadline == after(NOW, 7200) and again.last_error == kind


def test_another_jobs_payload_is_not_this_jobs() -> None:
    other = answer("completed", provider_job_id="t-2", provider_status="done")
    again = step(other, provider_job_id="t-1")
    assert isinstance(again, Postponed) and again.last_error == "job_id_mismatch" and again.provider_status is None
    ended = step(other, provider_job_id="t-1", at=TOO_LATE)
    assert isinstance(ended, Conclusion) and ended.error == "gave up: job_id_mismatch"
    assert isinstance(step(other, provider_job_id=None), Conclusion), "it had no name so far: now it has"


def test_refused_credentials_wait_a_minute_at_least() -> None:
    assert step(answer("rejected_credentials")).due_at >= after(NOW, REJECTED_SECONDS)


def test_a_body_that_is_too_large_is_not_downloaded_over_and_over() -> None:
    assert step(error="body_too_large").due_at >= after(NOW, TOO_LARGE_SECONDS)


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.EXPIRED, JobStatus.CANCELLED])
def test_an_ended_job_is_superseded_by_a_completed_result_only(status: JobStatus) -> None:
    better = step(answer("completed"), status=status)
    assert isinstance(better, Conclusion) and better.status is JobStatus.COMPLETED
    for kind in ("failed", "cancelled", "gone", "not_found"):
        settled = step(answer(kind), status=status, last_error="first")
        assert isinstance(settled, Postponed)
        assert (settled.due_at, settled.status, settled.last_error) == (None, status, "first")


def test_looking_at_an_ended_job_again_comes_to_an_end() -> None:
    job: Job = a_job(status=JobStatus.FAILED)
    now, looks = NOW, 0
    while True:
        again = decide(job, BINDING, Reading(answer("pending")), now, 0.5)
        assert isinstance(again, Postponed)
        if again.due_at is None:
            break
        job = replace(job, step=again.step, deadline=again.deadline)
        now, looks = again.due_at, looks + 1
        assert now <= job.give_up_at and looks < 5000


@pytest.mark.parametrize(
    ("reading", "outcome"),
    [
        (Reading(answer("completed")), Outcome.FINE),
        (Reading(answer("pending")), Outcome.FINE),
        (Reading(answer("not_found")), Outcome.FINE),
        (Reading(answer("rejected_credentials")), Outcome.FINE),
        (Reading(answer("throttled")), Outcome.THROTTLED),
        (Reading(answer("server_error")), Outcome.DOWN),
        (Reading(error_code="timed_out"), Outcome.DOWN),
        (Reading(error_code="resolve_failed"), Outcome.DOWN),
        (Reading(error_code="body_too_large"), Outcome.FINE),
        (Reading(error_code="decode_failed"), Outcome.FINE),
        (Reading(error_code="address_refused"), None),
        (Reading(error_code="foreign_origin"), None),
        (Reading(error_code="url_refused"), None),
    ],
)
def test_what_a_call_says_of_the_provider(reading: Reading, outcome: Outcome | None) -> None:
    assert call_outcome(reading) is outcome


def test_an_inline_payload_is_what_it_says_or_completed() -> None:
    assert conclude_inline(Notice(inline=True)).status is JobStatus.COMPLETED
    failed = conclude_inline(Notice(inline=True, status=JobStatus.FAILED, error="no"))
    assert (failed.status, failed.error) == (JobStatus.FAILED, "no")
    assert conclude_inline(Notice(inline=True, status=JobStatus.WAITING)).status is JobStatus.COMPLETED


CRAWLS: Binding = bind(a_webhook(provider="firecrawl", credentials={}), load_profiles(None)["firecrawl"])
EMPTY = Verdict(kind="pending", reason="incomplete", provider_status="completed")


def crawl(at: float, verdict: Verdict = EMPTY, **job: Any) -> Any:
    return decide(a_job(**job), CRAWLS, Reading(verdict), after(NOW, at), 0.5)


def test_completed_that_does_not_look_it_is_asked_again_and_in_the_end_taken_as_it_is() -> None:
    again = crawl(599)
    assert isinstance(again, Postponed)
    assert (again.last_error, again.provider_status) == ("pending: incomplete", "completed")
    taken = crawl(600)
    assert isinstance(taken, Conclusion)
    assert (taken.status, taken.error, taken.with_payload) == (JobStatus.COMPLETED, None, True)


def test_the_time_that_it_has_runs_from_the_later_of_completion_and_notification_or_ends_before_the_deadline() -> None:
    assert isinstance(crawl(600, replace(EMPTY, completed_at=after(NOW, 60))), Postponed)
    assert isinstance(crawl(600, replace(EMPTY, completed_at=NOW), notified_at=None), Conclusion)
    deadline = after(NOW, 3600)
    assert isinstance(crawl(2999, notified_at=None, deadline=deadline), Postponed)
    assert isinstance(crawl(3000, notified_at=None, deadline=deadline), Conclusion)
    asked = crawl(2999, notified_at=None, deadline=deadline)
    assert asked.deadline == deadline, "it is not running any more, so its result is not kept longer than was known"
