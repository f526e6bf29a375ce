"""Results in several pages: one payload of all of them, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay import errors
from relay.clock import seconds_between
from relay.model import Secret
from relay.outbound.provider_door import ProviderRequest
from relay.pipeline import paging
from relay.providers.pages import join_pages
from relay.store import schema
from tests.support.doors import Page, answer_with
from tests.support.stage import DEFAULT_PLAN, ORIGIN, Stage
from tests.support.stage_fixtures import Opening
from tests.support.store import count, rows_of

FIRST = f"{ORIGIN}/v2/crawl/c-1"


@pytest.fixture
def stage_url(sqlite_first: str) -> str:
    """What is told here is above the store: PostgreSQL is in `make proofs`."""
    return sqlite_first


def page(number: int, following: str | None, **more: Any) -> Page:
    found = {"status": "completed", "data": [{"n": number}], "next": following, **more}
    return Page(200, json.dumps(found).encode())


def numbered(url: str) -> int:
    return int(url.partition("skip=")[2] or 0)


def pages_of(total: int, **more: Any) -> Callable[[str], Page]:
    """`total` pages, by URL."""

    def answer(url: str) -> Page:
        number = numbered(url)
        return page(number, f"{FIRST}?skip={number + 1}" if number + 1 < total else None, **more)

    return answer


async def crawled(stage: Stage, answer: Callable[[str], Page | errors.OutboundError], **webhook_is: Any) -> Any:
    async def answering(request: ProviderRequest) -> Page:
        found = answer(request.url)
        if isinstance(found, errors.OutboundError):
            raise found
        return found

    stage.provider.answering = answering
    key = {"api_key": Secret("the-key-of-fire")}
    webhook = await stage.add_webhook(provider="firecrawl", credentials=key, **webhook_is)
    await stage.accept(webhook, {"type": "crawl.completed", "id": "c-1"})
    await stage.work_until_idle()
    return await stage.the_job()


async def test_all_pages_become_one_payload_byte_for_byte(stage: Stage) -> None:
    await stage.add_subscription()
    answer = pages_of(4)
    job = await crawled(stage, answer)
    result = await stage.result(job.id)
    expected = join_pages([answer(f"{FIRST}?skip={number}").body for number in range(4)])
    assert await stage.payload(result) == expected
    assert (job.status, job.attempts, result.size_bytes) == ("completed", 1, len(expected))
    assert stage.subscribers.sent[0].data["payload"] == json.loads(expected)
    assert [numbered(request.url) for request in stage.provider.requests] == [0, 1, 2, 3]
    for request in stage.provider.requests:
        assert request.authorization is not None and request.allowed_origins == {ORIGIN}


async def test_a_single_page_stays_as_it_is(stage: Stage) -> None:
    job = await crawled(stage, pages_of(1))
    assert await stage.payload(await stage.result(job.id)) == pages_of(1)(FIRST).body


async def test_the_last_page_may_be_empty_and_a_first_one_that_is_waits_for_its_documents(sqlite_stage: Stage) -> None:
    stage, empty, whole = sqlite_stage, page(0, None, data=[], total=2), pages_of(2)
    documents: dict[int, Page] = {0: empty, 1: empty}
    job = await crawled(stage, lambda url: documents[numbered(url)])
    assert (job.status, job.result_id, job.last_error) == ("fetching", None, "pending: incomplete")
    documents[0] = whole(FIRST)
    await stage.elapse(5)
    await stage.work_until_idle()
    assert await stage.payload(await stage.result(job.id)) == join_pages([whole(FIRST).body, empty.body])


async def test_a_webhooks_rate_counts_pages_not_attempts(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    answer = pages_of(4)
    job = await crawled(stage, answer, fetch_rate_per_second=1.0)
    assert job.attempts == 1
    webhook = stage.configuration.current.webhooks[job.webhook_id]
    await stage.accept(webhook, {"type": "crawl.completed", "id": "c-2"})
    asked = len(stage.provider.requests)
    await stage.work_through(2.5)
    assert len(stage.provider.requests) == asked == 4, "four calls at one a second are four seconds"
    await stage.work_through(2)
    assert len(stage.provider.requests) == asked + 4


async def test_large_pages_are_moved_piece_by_piece_and_a_byte_order_mark_is_left_out(stage: Stage) -> None:
    answer = pages_of(3, padding="x" * 700_000)
    marked = [Page(200, b"\xef\xbb\xbf" + answer(f"{FIRST}?skip={number}").body) for number in range(3)]
    job = await crawled(stage, lambda url: marked[numbered(url)])
    result = await stage.result(job.id)
    assert await stage.payload(result) == join_pages([one.body for one in marked])
    chunks = await rows_of(stage.database, schema.payload_chunks)
    assert {chunk["payload_id"] for chunk in chunks} == {result.payload_id}
    assert max(len(chunk["data"]) for chunk in chunks) <= 256 * 1024
    assert await count(stage.database, schema.spills) == 0


LAST: dict[str, Page | errors.OutboundError] = {
    "not there": Page(404, b""),
    "broken down": Page(500, b"oops"),
    "too often": Page(429, b"", {"retry-after": "7"}),
    "not finished": Page(200, b'{"status": "scraping"}'),
    "failed": Page(200, b'{"status": "failed", "error": "x"}'),
    "no document": Page(200, b"<html>"),
    "cut": Page(200, b'{"status": "completed"', broken=errors.Interrupted("")),
    "refused": Page(401, b""),
    "unreachable": errors.ConnectFailed(""),
    "too large": errors.BodyTooLarge(""),
}


@pytest.mark.parametrize("last", LAST.values(), ids=LAST)
async def test_a_page_that_does_not_come_leaves_nothing_half_stored(sqlite_stage: Stage, last: Any) -> None:
    stage, answer = sqlite_stage, pages_of(3, padding="x" * 300_000)
    job = await crawled(stage, lambda url: last if numbered(url) == 2 else answer(url))
    assert (job.status, job.attempts, job.result_id) == ("fetching", 1, None)
    assert await count(stage.database, schema.payload_chunks) == 0
    assert await count(stage.database, schema.results) == 0
    stage.provider.answering = lambda request: _now(answer(request.url))
    await stage.work_through(700)
    assert (await stage.the_job()).status == "completed"


async def _now(found: Page) -> Page:
    return found


async def test_a_provider_that_throttles_in_the_middle_is_given_its_time(sqlite_stage: Stage) -> None:
    job = await crawled(sqlite_stage, lambda url: LAST["too often"] if numbered(url) else pages_of(2)(url))
    assert seconds_between(sqlite_stage.clock.now(), job.due_at) >= 7


@pytest.mark.parametrize(
    ("following", "error", "calls"),
    [
        (FIRST, "page_loop", 1),
        (f"{FIRST}?skip=1", "page_loop", 2),
        ("https://evil.example/v2/crawl/c-1?skip=1", "foreign_origin", 1),
        ("http://provider.example/v2/crawl/c-1?skip=1", "foreign_origin", 1),
        ("https://provider.example@evil.example/?skip=1", "foreign_origin", 1),
    ],
)
async def test_pages_that_lead_in_a_circle_or_away_end_the_attempt(
    stage: Stage, following: str, error: str, calls: int
) -> None:
    job = await crawled(stage, lambda url: page(numbered(url), following))
    assert (job.status, job.last_error, len(stage.provider.requests)) == ("fetching", error, calls)
    assert await count(stage.database, schema.payload_chunks) == 0
    assert job.due_at is not None
    if error == "page_loop":
        assert seconds_between(stage.clock.now(), job.due_at) >= 600, "asking again hardly helps"


async def test_a_next_page_may_be_named_by_its_path_alone(stage: Stage) -> None:
    path = FIRST.removeprefix(ORIGIN)
    following = {0: f"{path}?skip=1", 1: f"{path}?skip=2", 2: None}
    job = await crawled(stage, lambda url: page(numbered(url), following[numbered(url)]))
    assert job.status == "completed"
    assert [request.url for request in stage.provider.requests] == [FIRST, f"{FIRST}?skip=1", f"{FIRST}?skip=2"]


async def test_there_is_an_end_to_pages(sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paging.MAX_PAGES == 1000
    monkeypatch.setattr(paging, "MAX_PAGES", 5)
    assert (await crawled(sqlite_stage, pages_of(6))).last_error == "too_many_pages"
    assert len(sqlite_stage.provider.requests) == 5


async def test_as_many_pages_as_allowed_are_taken(sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_PAGES", 5)
    assert (await crawled(sqlite_stage, pages_of(5))).status == "completed"


PAGED = """
name = "paged"
title = "Pages that name their job"
origins = ["https://provider.example"]
base_url = "https://provider.example"
[callback]
job_id = ["id"]
[fetch]
kind = "template"
template = "/jobs/{job_id}"
status = ["status"]
job_id = ["id"]
next_page = ["next"]
[fetch.statuses]
completed = ["done"]
"""


@pytest.mark.parametrize(("second", "status"), [("j-1", "completed"), ("j-2", "fetching")])
async def test_a_page_of_another_job_is_none_of_this_one(
    open_stage: Opening, tmp_path: Path, second: str, status: str
) -> None:
    (tmp_path / "paged.toml").write_text(PAGED, encoding="utf-8")
    stage = await open_stage(replace(DEFAULT_PLAN, providers_dir=tmp_path))
    pages = [{"id": "j-1", "status": "done", "next": f"{ORIGIN}/jobs/j-1/2"}, {"id": second, "status": "done"}]
    stage.provider.answering = answer_with(*[Page(200, json.dumps(page).encode()) for page in pages])
    await stage.accept(await stage.add_webhook(provider="paged", credentials={}), {"id": "j-1"})
    await stage.work_until_idle()
    job = await stage.the_job()
    assert (job.status, job.last_error) == (status, None if status == "completed" else "page_failed")


async def test_all_pages_share_one_deadline_and_one_allowance(sqlite_stage: Stage) -> None:
    stage, answer = sqlite_stage, pages_of(4)

    def slow(url: str) -> Page:
        stage.clock.advance(39)
        return answer(url)

    await crawled(stage, slow)
    requests = stage.provider.requests
    assert [request.timeout_seconds for request in requests] == [120, 81, 42, 3]
    size = len(answer(FIRST).body)
    assert requests[0].max_bytes - requests[1].max_bytes == size
    assert requests[0].max_decoded_bytes - requests[1].max_decoded_bytes == size
