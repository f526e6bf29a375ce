"""Payloads that lie elsewhere: one attempt follows the answer there, and says nothing of where that was."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import structlog

from relay import errors
from relay.clock import seconds_between
from relay.model import Secret, Webhook, WebhookStatus
from relay.outbound.addresses import AddressPolicy
from relay.outbound.provider_door import ProviderAnswer, ProviderDoor, ProviderRequest
from relay.pipeline.fetch import Fetcher, FetchLimits
from relay.store import schema
from relay.store.bulk import insert_many
from tests.support.clock import FakeClock
from tests.support.doors import Page, PlainProvider
from tests.support.outbound import always, raw_server, response
from tests.support.stage import ORIGIN, Stage
from tests.support.store import count, rows_of

SIGNATURE: Final = "c0ffee5ecretc0ffee5ecret"
KEY: Final = "0123456789abcdef0123456789abcdef"
PRESIGNED: Final = f"https://storage.example/bucket/{KEY}?X-Amz-Expires=60&X-Amz-Signature={SIGNATURE}"
PAYLOAD: Final = b"\x00\x01 not even JSON \xff"
POLLED: Final = 2.5  # seconds until the first poll is over


@pytest.fixture
def stage_url(sqlite_first: str) -> str:
    """What is told here is above the store: PostgreSQL is in `make proofs`."""
    return sqlite_first


def job_answer(url: str = PRESIGNED, **more: Any) -> Page:
    found = {"job_id": "j-1", "status": "completed", "result": {"is_url": True, "url": url}, **more}
    return Page(200, json.dumps(found).encode())


class Outside:
    """The provider answers with its pages, everything else is storage."""

    def __init__(self, stage: Stage, *storage: Page | errors.OutboundError) -> None:
        self.job = job_answer()
        self.storage = list(storage)
        self.stage = stage
        stage.provider.answering = self

    async def __call__(self, request: ProviderRequest) -> Page:
        if request.url.startswith(ORIGIN):
            return self.job
        page = self.storage.pop(0) if len(self.storage) > 1 else self.storage[0]
        if isinstance(page, errors.OutboundError):
            raise page
        return page


async def pulse(stage: Stage, **more: Any) -> Webhook:
    keys = {"api_key": Secret("the-key-of-pulse")}
    return await stage.add_webhook(provider="pulse", credentials=keys, retention_seconds=600.0, **more)


async def notified(stage: Stage, webhook: Webhook | None = None) -> Any:
    await stage.accept(webhook or await pulse(stage), {"type": "job.completed", "data": {"job_id": "j-1"}})
    await stage.work_until_idle()
    return await stage.the_job()


async def test_a_presigned_payload_is_stored_byte_for_byte_and_delivered(stage: Stage) -> None:
    await stage.add_subscription()
    Outside(stage, Page(200, PAYLOAD, {"content-type": "application/pdf"}))
    job = await notified(stage)
    result = await stage.result(job.id)
    assert (job.status, job.attempts, result.content_type) == ("completed", 1, "application/pdf")
    assert await stage.payload(result) == PAYLOAD
    assert stage.subscribers.sent[0].data["payload_base64"]
    asked, hopped = stage.provider.requests
    assert asked.authorization is not None and asked.allowed_origins == {ORIGIN}
    assert (hopped.url, hopped.authorization, hopped.allowed_origins) == (PRESIGNED, None, frozenset())
    assert not {"authorization", "x-api-key"} & {name.lower() for name in hopped.headers}
    assert await count(stage.database, schema.spills) == 0


async def test_a_presigned_address_may_carry_a_session_token_of_kilobytes(stage: Stage) -> None:
    outside = Outside(stage, Page(200, PAYLOAD))
    long = f"{PRESIGNED}&X-Amz-Security-Token={'t' * 4096}"
    outside.job = job_answer(long)
    job = await notified(stage)
    assert (job.status, job.last_error) == ("completed", None)
    assert stage.provider.requests[1].url == long


async def test_a_large_presigned_payload_is_spilled_and_nothing_of_the_first_answer_is_kept(stage: Stage) -> None:
    big = PAYLOAD * 100_000
    outside = Outside(stage, Page(200, big, {"content-type": "application/octet-stream"}))
    outside.job = job_answer(padding="x" * 600_000)
    job = await notified(stage)
    assert await stage.payload(await stage.result(job.id)) == big
    assert {row["payload_id"] for row in await rows_of(stage.database, schema.payload_chunks)} == {
        (await stage.result(job.id)).payload_id
    }
    assert await count(stage.database, schema.spills) == 0


@pytest.mark.parametrize("status", [400, 403])
async def test_a_stale_address_has_the_job_asked_for_a_fresh_one(stage: Stage, status: int) -> None:
    page = Page(status, b"<Error><Code>AccessDenied</Code></Error>", {"content-type": "application/xml"})
    outside = Outside(stage, page, Page(200, PAYLOAD))
    job = await notified(stage)
    assert (job.status, job.last_error, job.provider_status) == ("fetching", "pending: stale_url", "completed")
    outside.job = job_answer(PRESIGNED + "2")
    await stage.work_through(POLLED)
    job = await stage.the_job()
    assert (job.status, job.attempts) == ("completed", 2)
    assert [request.url for request in stage.provider.requests[1::2]] == [PRESIGNED, PRESIGNED + "2"]
    assert stage.configuration.current.webhooks[job.webhook_id].status is WebhookStatus.ACTIVE


NOT_THERE = [
    Page(404, b""),
    Page(302, b"", {"location": "https://evil.example/"}),
    Page(200, b""),
    Page(206, b"half"),
    Page(503, b"slow down"),
    Page(429, b"", {"retry-after": "3"}),
    errors.ConnectFailed("no"),
    errors.AddressRefused("no"),
    Page(200, PAYLOAD * 50_000, broken=errors.Interrupted("")),
    Page(200, PAYLOAD, broken=errors.BodyTooLarge("")),
]


@pytest.mark.parametrize("page", NOT_THERE, ids=range(len(NOT_THERE)))
async def test_trouble_at_the_storage_is_no_result_and_not_the_providers_fault(sqlite_stage: Stage, page: Any) -> None:
    stage = sqlite_stage
    Outside(stage, *[page] * 8, Page(200, PAYLOAD))
    webhook = await pulse(stage)
    await stage.accept(webhook, {"data": {"job_id": "j-1"}})
    for _ in range(8):
        await stage.work_until_idle()
        assert not stage.gate.is_open(ORIGIN)
        assert await count(stage.database, schema.payload_chunks) == 0
        job = await stage.the_job()
        assert job.status == "fetching" and job.due_at is not None
        stage.clock.advance(seconds_between(stage.clock.now(), job.due_at) + 0.001)
    await stage.work_until_idle()
    assert await stage.payload(await stage.result(job.id)) == PAYLOAD
    assert [request.url for request in stage.provider.requests] == [f"{ORIGIN}/job/j-1", PRESIGNED] * 9


async def test_a_presigned_address_is_in_no_attempt_no_error_no_capture_and_no_line(stage: Stage) -> None:
    echo = f"<Error><Resource>/bucket/{KEY}</Resource><Got>{SIGNATURE}</Got><URL>{PRESIGNED}</URL></Error>".encode()
    Outside(stage, Page(403, echo), Page(503, echo), Page(404, echo), errors.ConnectFailed("x"), Page(200, PAYLOAD))
    with structlog.testing.capture_logs() as lines:
        job = await notified(stage)
        await stage.work_through(60)
    assert (await stage.the_job()).status == "completed"
    await stage.floor.captures.run_once()
    attempts = await stage.attempts(job.id)
    assert attempts[0].response_excerpt is not None and attempts[0].response_excerpt.startswith("<Error>")
    tables = [table for table in schema.metadata.sorted_tables if table.name not in ("payload_chunks", "notifications")]
    said = f"{lines}{[await rows_of(stage.database, table) for table in tables]}"
    for secret in (SIGNATURE, KEY, "X-Amz-Signature="):
        assert secret not in said


async def test_an_answer_about_another_job_is_not_followed(stage: Stage) -> None:
    outside = Outside(stage, Page(200, PAYLOAD))
    outside.job = job_answer(job_id="j-2")
    job = await notified(stage)
    assert (job.status, job.last_error) == ("fetching", "job_id_mismatch")
    assert len(stage.provider.requests) == 1


async def test_all_calls_of_an_attempt_share_one_deadline_and_one_allowance(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    outside = Outside(stage, Page(200, PAYLOAD))
    outside.job = job_answer(padding="x" * 1000)

    async def slow(request: ProviderRequest) -> Page:
        stage.clock.advance(50)
        return await outside(request)

    stage.provider.answering = slow
    await notified(stage)
    asked, hopped = stage.provider.requests
    assert (asked.timeout_seconds, hopped.timeout_seconds) == (120, 70)
    assert asked.max_bytes - hopped.max_bytes == len(outside.job.body)
    assert asked.max_decoded_bytes - hopped.max_decoded_bytes == len(outside.job.body)


async def test_an_attempt_without_time_left_makes_no_further_call(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    outside = Outside(stage, Page(200, PAYLOAD))

    async def slow(request: ProviderRequest) -> Page:
        stage.clock.advance(121)
        return await outside(request)

    stage.provider.answering = slow
    job = await notified(stage)
    assert (job.last_error, len(stage.provider.requests)) == ("timed_out", 1)


# --- hops with credentials ---


async def oxylabs(stage: Stage, href: str, *results: Page) -> Any:
    links = [{"rel": "self", "href": ORIGIN}, {"rel": "results", "href": href}]
    status = json.dumps({"id": "7", "status": "done", "_links": links}).encode()
    left = list(results)

    async def answering(request: ProviderRequest) -> Page:
        if not request.url.endswith("/results"):
            return Page(200, status)
        return left.pop(0) if len(left) > 1 else left[0]

    stage.provider.answering = answering
    await stage.accept(await stage.add_webhook(provider="oxylabs"), {"id": "7", "status": "done"})
    await stage.work_until_idle()
    return await stage.the_job()


async def test_the_answer_is_followed_by_whichever_of_its_ids_the_job_is_called(stage: Stage) -> None:
    job = await oxylabs(stage, f"{ORIGIN}/v1/queries/8/results", Page(503, b""))
    other = {"id": "8", "status": "done", "_links": [{"rel": "results", "href": f"{ORIGIN}/v1/queries/8/results"}]}
    pages = {"": Page(200, json.dumps(other).encode()), "/results": Page(200, b'{"results": [1]}')}

    async def answering(request: ProviderRequest) -> Page:
        return pages["/results" if request.url.endswith("/results") else ""]

    stage.provider.answering = answering
    await stage.work_through(POLLED)
    assert (await stage.the_job()).last_error == "job_id_mismatch"
    row = (job.webhook_id, "id", "8", job.id)
    columns = ("webhook_id", "kind", "value", "job_id")
    await stage.database.write(lambda connection: insert_many(connection, schema.job_keys, columns, [row]))
    await stage.work_through(60)
    job = await stage.the_job()
    assert (job.status, job.provider_job_id) == ("completed", "7")
    assert await stage.payload(await stage.result(job.id)) == b'{"results": [1]}'


@pytest.mark.parametrize("href", [f"{ORIGIN}/v1/queries/7/results", "https://evil.example/v1/queries/7/results"])
async def test_credentials_go_to_the_webhooks_own_origin_whatever_the_answer_names(stage: Stage, href: str) -> None:
    job = await oxylabs(stage, href, Page(200, b'{"results": []}'))
    assert job.status == "completed"
    assert {request.url for request in stage.provider.requests} == {
        f"{ORIGIN}/v1/queries/7",
        f"{ORIGIN}/v1/queries/7/results",
    }
    for request in stage.provider.requests:
        assert request.authorization is not None and request.allowed_origins == {ORIGIN}


async def test_credentials_refused_at_the_hop_mark_the_webhook(stage: Stage) -> None:
    job = await oxylabs(stage, f"{ORIGIN}/v1/queries/7/results", Page(401, b""))
    assert stage.configuration.current.webhooks[job.webhook_id].status is WebhookStatus.CREDENTIALS_REJECTED


async def test_what_is_not_there_yet_behind_a_finished_job_is_asked_again(stage: Stage) -> None:
    page = Page(204, b"")
    job = await oxylabs(stage, f"{ORIGIN}/v1/queries/7/results", page, page, Page(200, b'{"results": [1]}'))
    assert (job.status, job.last_error) == ("fetching", None)
    await stage.work_through(5)
    job = await stage.the_job()
    assert await stage.payload(await stage.result(job.id)) == b'{"results": [1]}'
    assert job.provider_job_id == "7"


# --- the real door ---


class Divided(PlainProvider):
    """The provider is a function; whatever goes out without credentials goes through a real door."""

    def __init__(self, plain: PlainProvider, real: ProviderDoor) -> None:
        super().__init__(plain.answering)
        self._real = real

    @asynccontextmanager
    async def stream(self, request: ProviderRequest) -> AsyncIterator[ProviderAnswer]:
        plain = super().stream(request)
        async with plain if request.authorization is not None else self._real.stream(request) as answer:
            yield answer


@pytest.mark.parametrize(
    ("url", "allowed", "error"),
    [
        ("http://127.0.0.1:{port}/x", (), "url_refused"),
        ("https://127.0.0.1:{port}/x", (), "address_refused"),
        ("https://localhost:{port}/x", (), "url_refused"),
        ("http://127.0.0.1:{port}/x", ("127.0.0.0/8",), None),
        ("http://127.0.0.1:{port}/x?token=" + "t" * 4096, ("127.0.0.0/8",), None),
        ("http://127.0.0.1:{port}/x?token=" + "t" * 8192, ("127.0.0.0/8",), "pending: no_url"),
    ],
)
async def test_a_presigned_address_leads_inside_only_where_that_is_listed(
    sqlite_stage: Stage, clock: FakeClock, url: str, allowed: tuple[str, ...], error: str | None
) -> None:
    stage = sqlite_stage
    async with raw_server(always(response(PAYLOAD))) as server:
        outside = Outside(stage, Page())
        outside.job = job_answer(url.format(port=server.port))
        real = ProviderDoor(AddressPolicy(allowed), clock)
        door = Divided(stage.provider, real)
        fetcher = stage.fetcher
        stage.fetcher = Fetcher(stage.floor, door, stage.gate, fetcher._concluder, FetchLimits(30.0, 1_000_000))
        job = await notified(stage)
        await real.close()
    assert job.last_error == error
    assert len(server.requests) == (0 if error else 1)
    if error is None:
        assert b"authorization" not in server.requests[0].lower() and b"the-key-of" not in server.requests[0]
        assert await stage.payload(await stage.result(job.id)) == PAYLOAD
