"""`DELETE /v1/jobs/{id}`: cancelled at the provider, and told honestly whether it took."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from relay.demo.knobs import Knobs
from tests.support.journey import Told
from tests.support.providers.ways import KEY, WAYS
from tests.support.raw_provider import Heard, RawProvider, answer
from tests.support.through import Through, through

CANCELS = sorted(name for name, way in WAYS.items() if way.cancel is not None)
TOOK = frozenset(
    {"apify", "freddy", "openai", "reducto", "replicate", "runpod", "firecrawl"}
)  # their answer says that it is cancelled
UNFINISHED = Knobs(work_seconds=None)


@pytest.fixture(params=[*(("sqlite", name) for name in CANCELS), *(("postgres", name) for name in ("fal", "openai"))])
async def each(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Through]:
    """Every provider that can cancel; nothing is polled but because of a cancel.

    On PostgreSQL one whose answer says that it is cancelled and one whose does not: the others are in the matrix.
    """
    database, name = request.param
    url = request.getfixturevalue("sqlite_stage_url" if database == "sqlite" else "stage_postgres_url")
    async with through(url, tmp_path, name, webhook={"poll_seconds": [3600]}) as opened:
        yield opened


@pytest.fixture
async def raw() -> AsyncIterator[RawProvider]:
    async with RawProvider() as running:
        yield running


@pytest.fixture
async def openai(sqlite_stage_url: str, tmp_path: Path, raw: RawProvider) -> AsyncIterator[Through]:
    """A webhook of OpenAI's profile whose provider is a socket."""
    webhook = {"origins": [raw.url], "poll_seconds": [3600]}
    async with through(sqlite_stage_url, tmp_path, "openai", webhook=webhook) as opened:
        yield opened


async def cancel(opened: Through, job_id: str) -> Told:
    return await opened.caller.call("DELETE", f"/v1/jobs/{job_id}")


async def submitted(opened: Through) -> str:
    told = await opened.submit()
    assert told.status < 300, told.raw
    return told.headers["relay-job-id"]


async def test_a_job_is_cancelled_at_its_provider(each: Through) -> None:
    each.stand_in.knobs = Knobs(work_seconds=None, calls_back=False)
    job_id, name = await submitted(each), each.stand_in.NAME
    told = await cancel(each, job_id)
    assert told.status == (200 if name in TOOK else 202), told.raw
    assert each.stand_in.counts["cancelled"] == 1
    status = "failed" if name == "fal" else "cancelled"  # a cancelled request of fal's ends as an error
    job = await each.caller.ended(job_id, status)
    if name in TOOK:
        assert told.body == job
    (message,) = await each.sink.wait_for(1)
    envelope = orjson.loads(message.body)
    assert message.verified
    assert (envelope["type"], envelope["data"]["result_id"]) == (f"result.{status}", job["result_id"])


async def test_a_request_that_the_provider_only_noted_cancels_nothing_yet(each: Through) -> None:
    each.stand_in.knobs = Knobs(work_seconds=None, calls_back=False, cancels=False)
    job_id = await submitted(each)
    told = await cancel(each, job_id)
    assert (told.status, told.body["status"]) == (202, "waiting")
    for job in each.stand_in.jobs:
        each.stand_in.complete(job)
    await each.caller.call("POST", f"/v1/jobs/{job_id}/fetch", {})
    await each.caller.ended(job_id)


async def test_a_job_that_has_ended_at_the_provider_is_too_late_and_fetched_at_once(each: Through) -> None:
    each.stand_in.knobs = Knobs(work_seconds=None, calls_back=False)
    job_id = await submitted(each)
    for job in each.stand_in.jobs:
        each.stand_in.complete(job)
    told = await cancel(each, job_id)
    codes = {202: None, 409: "too_late_to_cancel", 502: "provider_refused"}  # some answer as if they had taken it
    assert told.status in codes and told.body.get("code") == codes[told.status], told.raw
    await each.caller.ended(job_id)
    ended = await cancel(each, job_id)
    assert (ended.status, ended.body["code"]) == (409, "job_is_final")


@pytest.mark.parametrize(
    ("says", "status", "code"),
    [
        (answer(500), 502, "provider_again"),
        (answer(429), 502, "provider_again"),
        (answer(401), 502, "provider_rejected_credentials"),
        (answer(422, b'{"error": {"message": "not yours"}}'), 502, "provider_refused"),
        (answer(404), 409, "job_unknown_to_provider"),
        (answer(409), 409, "too_late_to_cancel"),
        (None, 502, "provider_not_reached"),
        (answer(302, b"", location="https://evil.example/"), 502, "provider_refused"),
    ],
)
async def test_what_a_provider_says_instead_is_told(
    openai: Through, raw: RawProvider, says: bytes | None, status: int, code: str
) -> None:
    job_id = await submitted(openai)
    raw.says = says
    told = await cancel(openai, job_id)
    assert (told.status, told.body["code"]) == (status, code)
    assert raw.heard[1].line == "POST /v1/responses/p-1/cancel HTTP/1.1"
    assert raw.heard[1].all("authorization") == [f"Bearer {KEY}"]
    assert (await openai.caller.get(f"/v1/jobs/{job_id}"))["status"] == "waiting"


async def test_a_job_that_the_provider_has_not_acknowledged_cannot_be_cancelled(
    openai: Through, raw: RawProvider
) -> None:
    raw.says = answer(200, b"{}")
    told = await cancel(openai, await submitted(openai))
    assert (told.status, told.body["code"]) == (409, "job_not_acknowledged")
    assert len(raw.heard) == 1


async def test_who_was_fetching_a_job_that_was_cancelled_changes_nothing(openai: Through, raw: RawProvider) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def saying(heard: Heard) -> bytes:
        if heard.line.startswith("GET"):
            asked.set()
            await go_on.wait()
            return answer(200, b'{"id": "p-1", "status": "completed", "output": []}')
        return answer(200, b'{"id": "p-1", "status": "cancelled"}' if "cancel" in heard.line else b'{"id": "p-1"}')

    raw.saying = saying
    job_id = await submitted(openai)
    await openai.caller.call("POST", f"/v1/jobs/{job_id}/fetch", {})
    await asked.wait()
    assert (await cancel(openai, job_id)).status == 200
    go_on.set()
    (message,) = await openai.sink.wait_for(1)
    job = await openai.caller.ended(job_id, "cancelled")
    assert [result["id"] for result in await openai.caller.page("/v1/results")] == [job["result_id"]]
    assert message.message_id == job["result_id"]


async def test_a_cancel_url_is_called_on_the_webhooks_origins_alone(
    sqlite_stage_url: str, tmp_path: Path, raw: RawProvider
) -> None:
    webhook: dict[str, Any] = {"origins": [raw.url], "poll_seconds": [3600], "verification": {}}
    async with (
        RawProvider() as foreign,
        through(sqlite_stage_url, tmp_path, "replicate", webhook=webhook) as opened,
    ):
        for place, expected in ((raw.url, "/odd/place"), (foreign.url, "/v1/predictions/p-2/cancel")):
            made = {"id": f"p-{1 + len(raw.heard) // 2}", "urls": {"cancel": f"{place}/odd/place"}}
            raw.says = answer(201, orjson.dumps(made))
            job_id = await submitted(opened)
            raw.says = answer(200, b'{"status": "canceled"}')
            assert (await cancel(opened, job_id)).status == 200
            assert raw.heard[-1].line == f"POST {expected} HTTP/1.1"
        assert foreign.heard == []


async def test_a_provider_without_a_cancel_says_so(sqlite_stage_url: str, tmp_path: Path) -> None:
    async with through(sqlite_stage_url, tmp_path, "netnut") as opened:
        opened.stand_in.knobs = UNFINISHED
        told = await cancel(opened, await submitted(opened))
        assert (told.status, told.body["code"]) == (409, "cancel_not_supported")
