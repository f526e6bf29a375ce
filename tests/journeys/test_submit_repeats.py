"""`Idempotency-Key` through the relay, clients that hang up, and a relay that dies in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import orjson
import pytest

from relay.demo.knobs import Knobs
from tests.support.journey import Told, World, process_environment, processes, stand_ins
from tests.support.ports import free_port
from tests.support.raw_provider import Heard, RawProvider, answer
from tests.support.through import Through, through

ONCE = {"idempotency-key": "order-4711"}


@pytest.fixture
async def netnut(stage_url: str, tmp_path: Path) -> AsyncIterator[Through]:
    async with through(stage_url, tmp_path, "netnut") as opened:
        yield opened


@pytest.fixture
async def raw() -> AsyncIterator[RawProvider]:
    async with RawProvider() as running:
        yield running


@pytest.fixture
async def behind(sqlite_stage_url: str, tmp_path: Path, raw: RawProvider) -> AsyncIterator[Through]:
    """A webhook of NetNut's profile whose provider is a socket."""
    async with through(sqlite_stage_url, tmp_path, "netnut", webhook={"origins": [raw.url]}) as opened:
        yield opened


async def test_a_repeat_gets_the_first_answer_again_and_starts_nothing(netnut: Through) -> None:
    first = await netnut.submit(headers=ONCE)
    second = await netnut.submit(headers=ONCE)
    assert (second.status, second.raw) == (first.status, first.raw)
    for name in ("content-type", "relay-job-id"):
        assert second.headers[name] == first.headers[name]
    assert (first.headers.get("idempotent-replayed"), second.headers["idempotent-replayed"]) == (None, "true")
    (submit,) = netnut.stand_in.asked("POST")
    assert submit.headers["idempotency-key"] == "order-4711"
    assert len(await netnut.caller.page("/v1/jobs")) == 1


async def test_another_body_with_the_same_key_is_refused(netnut: Through) -> None:
    await netnut.submit(headers=ONCE)
    other = await netnut.submit(headers=ONCE, json={"prompt": "tea"})
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")
    assert len(netnut.stand_in.asked("POST")) == 1


async def test_a_repeat_while_the_first_is_under_way_is_told_so(netnut: Through) -> None:
    netnut.stand_in.knobs = Knobs(submit_seconds=0.5)
    told = await asyncio.gather(*(netnut.submit(headers=ONCE) for _ in range(5)))
    taken = [one for one in told if one.status == 202]
    busy = [one for one in told if one.status == 409]
    assert (len(taken), len(busy), len(netnut.stand_in.asked("POST"))) == (1, 4, 1)
    assert {one.body["code"] for one in busy} == {"idempotency_key_running"}
    assert {one.headers["retry-after"] for one in busy} == {"1"}
    assert (await netnut.submit(headers=ONCE)).raw == taken[0].raw


async def test_a_refusal_is_not_kept(netnut: Through) -> None:
    netnut.stand_in.knobs = Knobs(submit_statuses=[429])
    refused = await netnut.submit(headers=ONCE)
    assert refused.status == 429
    job = await netnut.job(refused)
    assert (job["status"], job["result_id"], job["next_attempt_at"]) == ("failed", None, None)
    assert job["last_error"].startswith("submit refused: HTTP 429")
    assert (await netnut.submit(headers=ONCE)).status == 202
    assert len(netnut.stand_in.asked("POST")) == 2
    await netnut.sink.wait_for(1)
    assert len(netnut.sink.messages) == 1  # for the job that was taken alone


async def test_a_failure_of_the_provider_is_tried_again_for_the_same_job(netnut: Through) -> None:
    netnut.stand_in.knobs = Knobs(submit_statuses=[503])
    failed = await netnut.submit(headers=ONCE)
    assert failed.status == 503
    job = await netnut.job(failed)
    assert (job["status"], job["last_error"].partition(":")[0]) == ("waiting", "submit unclear")
    again = await netnut.submit(headers=ONCE)
    assert (again.status, again.headers["relay-job-id"]) == (202, job["id"])
    (taken,) = netnut.stand_in.jobs.values()
    assert job["id"].removeprefix("job_") in (taken.callback_url or "")
    assert (await netnut.caller.ended(job["id"]))["last_error"] is None
    assert len(await netnut.caller.page("/v1/jobs")) == 1


async def test_what_became_of_a_request_without_an_answer_is_not_known(behind: Through, raw: RawProvider) -> None:
    raw.says = None  # the connection ends where the answer should be
    lost = await behind.submit(headers=ONCE)
    assert (lost.status, lost.body["code"]) == (502, "submit_outcome_unknown")
    repeated = await behind.submit(headers=ONCE)
    assert (repeated.status, repeated.body["code"]) == (409, "submit_outcome_unknown")
    assert repeated.headers["relay-job-id"] == lost.headers["relay-job-id"]
    assert len(raw.heard) == 1
    job = await behind.job(lost)
    assert (job["status"], job["last_error"]) == ("waiting", "submit unclear: interrupted")
    callback_url = orjson.loads(raw.heard[0].body)["callback_url"]
    thick = {"traceID": "t-1", "response": {"text": "it was taken after all"}}
    assert (await behind.caller.notify(callback_url, thick)).status == 200
    assert (await behind.caller.ended(job["id"]))["provider_job_id"] == "t-1"


async def test_a_provider_that_was_not_reached_has_no_job(behind: Through, raw: RawProvider) -> None:
    raw._server.close()
    for _ in range(2):
        told = await behind.submit(headers=ONCE)
        assert (told.status, told.body["code"]) == (502, "provider_not_reached")
        assert (await behind.job(told))["status"] == "failed"


async def test_the_job_is_there_before_the_provider_hears_of_it(behind: Through, raw: RawProvider) -> None:
    seen: list[tuple[str, str]] = []

    async def saying(heard: Heard) -> bytes:
        job = await behind.the_job()
        seen.append((job["id"], job["status"]))
        return answer(202, b'{"traceId": "t-1", "response_url": "%s/r/1"}' % raw.url.encode())

    raw.saying = saying
    told = await behind.submit()
    assert seen == [(told.headers["relay-job-id"], "waiting")]
    assert seen[0][0].removeprefix("job_") in orjson.loads(raw.heard[0].body)["callback_url"]


async def test_a_client_that_hangs_up_loses_nothing(behind: Through, raw: RawProvider) -> None:
    raw.hold = asyncio.Event()
    raw.says = answer(202, b'{"traceId": "t-1", "response_url": "%s/r/1"}' % raw.url.encode())
    waiting = asyncio.create_task(behind.submit(headers=ONCE))
    await raw.arrived.wait()
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    raw.hold.set()
    (job,) = (await behind.caller.until("/v1/jobs", lambda page: page["data"][0]["provider_job_id"] is not None))[
        "data"
    ]
    assert (job["provider_job_id"], job["response_url"]) == ("t-1", f"{raw.url}/r/1")
    again = await behind.submit(headers=ONCE)
    assert (again.status, again.headers["relay-job-id"]) == (202, job["id"])
    assert len([heard for heard in raw.heard if heard.line.startswith("POST")]) == 1


async def test_a_relay_that_is_killed_while_the_provider_works_has_the_job(tmp_path: Path, raw: RawProvider) -> None:
    raw.hold = asyncio.Event()
    environment = process_environment(f"sqlite:///{tmp_path}/relay.db", tmp_path, port := free_port())
    command = ([sys.executable, "-m", "relay", "serve"], environment)
    async with stand_ins() as (netnut, sink, session):
        world = World(session, f"http://127.0.0.1:{port}", netnut, sink)
        async with processes(tmp_path, first=command) as [program]:
            webhook = await world.webhook(origins=[raw.url])
            client = asyncio.create_task(_submit(world, webhook))
            await raw.arrived.wait()
            os.kill(program.process.pid, signal.SIGKILL)
            with pytest.raises(aiohttp.ClientError):
                await client
        async with processes(tmp_path, second=command):
            (job,) = await world.page("/v1/jobs")
            assert (job["status"], job["provider_job_id"]) == ("waiting", None)
            told = await _submit(world, webhook)
            assert (told.status, told.body["code"]) == (409, "idempotency_key_running")  # nobody can know better yet
            assert told.headers["relay-job-id"] == job["id"]
            assert len(raw.heard) == 1
            callback_url = orjson.loads(raw.heard[0].body)["callback_url"]
            thick = {"traceID": "t-1", "response": {"text": "done"}}
            assert (await world.notify(callback_url, thick)).status == 200
            assert (await world.ended(job["id"]))["provider_job_id"] == "t-1"


async def _submit(world: World, webhook: dict[str, str]) -> Told:
    path = f"/submit/{webhook['id']}/search"
    return await world.call("POST", path, {"prompt": "tea"}, ONCE)
