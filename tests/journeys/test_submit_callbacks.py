"""Callbacks that beat the answer to a submit where they all come to one URL, or are signed with published keys.

Those of the other providers that take a URL for each job are in test_submit.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from relay.demo.knobs import Knobs
from relay.demo.stand_in import StandIn
from tests.support.providers.ways import at, start
from tests.support.through import Through, through
from tests.support.trip import profiles_with_keys_of

TENANT = {"relay-metadata": '{"tenant": "acme"}'}
PICTURE = "https://storage.example/a-picture"


@pytest.fixture(params=["openai", "pulse", "reducto", "inference-net"])
async def dashboard(request: pytest.FixtureRequest, stage_url: str, tmp_path: Path) -> AsyncIterator[Through]:
    """The providers whose dashboard holds one URL for all jobs."""
    async with through(stage_url, tmp_path, request.param) as opened:
        yield opened


@pytest.fixture
async def fal(sqlite_stage_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Through]:
    """Its keys are where the stand-in publishes them."""
    started: list[StandIn] = []

    def starting(name: str) -> StandIn:
        started.append(start(name))
        monkeypatch.setattr(started[0].storage, "put", lambda *_, **__: PICTURE)
        return started[0]

    monkeypatch.setattr("tests.support.through.start", starting)
    monkeypatch.setattr("relay.app.relay.load_profiles", lambda _: profiles_with_keys_of(started[0]))
    async with through(sqlite_stage_url, tmp_path, "fal") as opened:
        yield opened


async def lands(opened: Through, knobs: Knobs) -> None:
    """What the knobs make of the callback, there is one job in the end, and one delivery of it."""
    opened.stand_in.knobs = knobs
    told = await opened.submit(headers=TENANT)
    await opened.stand_in.wait_for("notified", 1)
    job = await opened.caller.ended(told.headers["relay-job-id"])
    assert (job["id"], job["provider_job_id"]) == ((await opened.the_job())["id"], at(told.body, opened.way.job_id))
    (notification,) = await opened.caller.page("/v1/notifications")
    assert (notification["status"], notification["job_id"]) == ("accepted", job["id"])
    assert job["notified_at"] is not None
    (message,) = await opened.sink.wait_for(1)
    data = orjson.loads(message.body)["data"]
    assert (data["job_id"], data["status"], data["metadata"]) == (job["id"], "completed", {"tenant": "acme"})


async def test_a_callback_to_the_shared_url_that_beats_the_answer_is_for_the_same_job(dashboard: Through) -> None:
    await lands(dashboard, Knobs(calls_back_first=True))


@pytest.mark.parametrize("knobs", [Knobs(calls_back_first=True), Knobs(sends_id=False)], ids=["first", "nameless"])
async def test_a_callback_signed_with_a_published_key_lands_on_its_job(fal: Through, knobs: Knobs) -> None:
    await lands(fal, knobs)


async def test_a_signed_callback_whose_path_names_another_job_finds_none(fal: Through) -> None:
    fal.stand_in.knobs = Knobs(work_seconds=None)
    mine, other = [(await fal.submit()).headers["relay-job-id"].removeprefix("job_") for _ in range(2)]
    (first, _) = fal.stand_in.jobs.values()
    assert first.callback_url is not None and mine in first.callback_url
    first.callback_url = first.callback_url.replace(mine, other)
    assert await fal.stand_in.finish(first.id) == [404]
    assert await fal.caller.page("/v1/notifications") == []
    assert [job["notified_at"] for job in await fal.caller.page("/v1/jobs")] == [None, None]
