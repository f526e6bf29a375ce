"""Clients submit through the relay: real sockets, and a stand-in of each of the fourteen providers behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from relay.demo.knobs import Knobs
from tests.support.journey import ADMIN_KEY
from tests.support.providers import PROVIDERS
from tests.support.providers.ways import KEY, at
from tests.support.through import Through, through

TEXT = b"earlier, smaller, colder"
# They take a callback URL for each job, and say nothing that could not be checked here.
CALLED_PER_JOB = sorted(set(PROVIDERS) - {"openai", "pulse", "inference-net", "reducto", "freddy", "fal"})

BOTH = ("fal", "firecrawl", "netnut", "replicate")  # on PostgreSQL: a provider is the same to both databases


def _on_both(providers: Sequence[str]) -> list[Any]:
    """All of them on SQLite and some on PostgreSQL; `make proofs` has the others."""
    kept = {provider: () if provider in BOTH else pytest.mark.slow for provider in providers}
    on_postgresql = [pytest.param("postgres", provider, marks=marks) for provider, marks in kept.items()]
    return [*(pytest.param("sqlite", provider) for provider in providers), *on_postgresql]


@pytest.fixture
async def each(request: pytest.FixtureRequest, database: str, provider: str, tmp_path: Path) -> AsyncIterator[Through]:
    """A provider in front of a relay on one of the databases."""
    url: str = request.getfixturevalue("sqlite_stage_url" if database == "sqlite" else "stage_postgres_url")
    async with through(url, tmp_path, provider) as opened:
        yield opened


@pytest.fixture(params=sorted(PROVIDERS))
async def quick(request: pytest.FixtureRequest, sqlite_stage_url: str, tmp_path: Path) -> AsyncIterator[Through]:
    """Every provider, where the database does not matter; waits are short."""
    async with through(sqlite_stage_url, tmp_path, request.param, hurry=10) as opened:
        yield opened


@pytest.mark.parametrize(("database", "provider"), _on_both(sorted(PROVIDERS)))
async def test_a_submitted_job_ends_as_a_delivered_result(each: Through) -> None:
    told = await each.submit(headers={"relay-metadata": '{"tenant": "acme"}'})
    assert told.status == each.way.taken, told.raw
    assert told.headers["content-type"].startswith("application/json")
    job = await each.job(told)
    assert job["provider_job_id"] == at(told.body, each.way.job_id)
    (message,) = await each.sink.wait_for(1)
    assert message.verified
    data = orjson.loads(message.body)["data"]
    assert (data["status"], data["job_id"], data["metadata"]) == ("completed", job["id"], {"tenant": "acme"})
    assert data["provider_job_id"] == job["provider_job_id"]
    assert TEXT in message.body
    assert len(each.sink.messages) == 1


async def test_it_is_polled_when_no_callback_ever_comes(quick: Through) -> None:
    quick.stand_in.knobs = Knobs(calls_back=False)
    told = await quick.submit()
    job = await quick.caller.ended(told.headers["relay-job-id"])
    assert (job["notified_at"], job["provider_job_id"]) == (None, at(told.body, quick.way.job_id))
    (message,) = await quick.sink.wait_for(1)
    assert TEXT in message.body


async def test_relays_key_is_shown_in_the_providers_own_form_and_goes_no_further(
    quick: Through, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    told = await quick.submit(bare=True, headers={**quick.own_form(), "x-copy": f"my {ADMIN_KEY}", "x-team": "a"})
    assert told.status == quick.way.taken, told.raw
    await quick.caller.ended(told.headers["relay-job-id"])
    assert quick.stand_in.requests and all(asked.authorized for asked in quick.stand_in.requests)
    for asked in quick.stand_in.requests:
        assert ADMIN_KEY not in f"{asked.path}?{asked.query}" + repr(dict(asked.headers))
        assert len(asked.credentials) == 1
    (submit,) = quick.stand_in.asked("POST", quick.way.submit(None).path)
    assert submit.headers["x-team"] == "a" and "x-copy" not in submit.headers
    printed = caplog.text + "".join(capfd.readouterr())
    assert "submit.forwarded" in printed
    assert ADMIN_KEY not in printed and KEY not in printed


async def test_a_wrong_key_in_any_form_starts_nothing(quick: Through) -> None:
    wrong = "rk_" + "x" * 40
    for headers in ({"authorization": f"Bearer {wrong}"}, quick.own_form(wrong), {}, {"x-api-key": KEY}):
        told = await quick.submit(bare=True, headers=headers)
        assert (told.status, told.body["status"]) == (401, 401)
    assert not quick.stand_in.requests
    assert await quick.caller.page("/v1/jobs") == []


@pytest.mark.parametrize(("database", "provider"), _on_both(CALLED_PER_JOB))
async def test_a_callback_that_beats_the_answer_finds_its_job(each: Through) -> None:
    each.stand_in.knobs = Knobs(calls_back_first=True)
    told = await each.submit(headers={"relay-metadata": '{"tenant": "acme"}'})
    job = await each.caller.ended(told.headers["relay-job-id"])
    assert (job["provider_job_id"], job["id"]) == (at(told.body, each.way.job_id), (await each.the_job())["id"])
    (message,) = await each.sink.wait_for(1)
    assert orjson.loads(message.body)["data"]["metadata"] == {"tenant": "acme"}


@pytest.mark.parametrize(("database", "provider"), _on_both(CALLED_PER_JOB))
async def test_a_callback_without_any_id_finds_its_job(each: Through) -> None:
    each.stand_in.knobs = Knobs(sends_id=False)
    told = await each.submit()
    await each.stand_in.wait_for("notified", 1)
    job = await each.caller.ended(told.headers["relay-job-id"])
    (notification,) = await each.caller.page("/v1/notifications")
    assert (notification["status"], notification["job_id"]) == ("accepted", job["id"])
    assert (await each.the_job())["id"] == job["id"]


@pytest.mark.parametrize("provider", CALLED_PER_JOB)
async def test_a_callback_whose_path_was_tampered_with_finds_none(
    provider: str, sqlite_stage_url: str, tmp_path: Path
) -> None:
    async with through(sqlite_stage_url, tmp_path, provider) as called:
        await _tamper(called)


async def _tamper(called: Through) -> None:
    called.stand_in.knobs = Knobs(calls_back=False, work_seconds=None)
    told = await called.submit()
    (asked,) = called.stand_in.jobs.values()
    assert asked.callback_url is not None and asked.callback_url.startswith(called.caller.url + "/in/")
    job_part = told.headers["relay-job-id"].removeprefix("job_")
    assert job_part in asked.callback_url
    other = job_part[:-1] + ("0" if job_part[-1] != "0" else "1")
    for url in (
        asked.callback_url.replace(job_part, other),
        asked.callback_url.replace("." + job_part, ""),
        asked.callback_url[:-1],
    ):
        assert (await called.caller.notify(url, {"status": "completed"})).status == 404
    assert await called.caller.page("/v1/notifications") == []
    assert (await called.the_job())["notified_at"] is None
