"""Two webhooks on one account of a provider: what comes to one reads and changes nothing of the other's jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.app import Relay
from relay.store import schema
from tests.support.journey import Caller, running, settings_of
from tests.support.matrix import Play, playing, same
from tests.support.stage_fixtures import SQLITE_FIRST
from tests.support.store import rows_of

THIN, SIGNED, THICK = "netnut", "openai", "inference-net"
NAMINGS = [(THIN, {}), (THIN, {"sends_id": False}), (SIGNED, {}), (THICK, {})]


@pytest.fixture
async def meeting(provider: str, stage_url: str, tmp_path: Path) -> AsyncIterator[tuple[Play, Relay]]:
    """The webhooks `main` and `quiet` of one account; nothing is polled on the second."""
    times, settings = 10 if stage_url.startswith("sqlite") else 1, settings_of(stage_url, tmp_path)
    async with playing(provider, times, lambda _: None) as (customer, sink, session, foreign, clock):
        play = Play(Caller(session, settings.public_url), customer, sink, foreign, times)
        async with running(settings, clock) as relay:
            await play.register()
            yield play, relay


@pytest.mark.parametrize(("provider", "naming"), NAMINGS)
async def test_a_notification_that_names_the_job_of_another_webhook_reads_and_changes_nothing_there(
    meeting: tuple[Play, Relay], naming: dict[str, bool]
) -> None:
    play, relay = meeting
    job = await play.begin(play.main, **naming)
    job_id = await play.track(job, play.quiet)
    before = await rows_of(relay.database, schema.jobs), await rows_of(relay.database, schema.job_keys)
    same("answer", await play.stand_in.finish(job.id), [200])

    (note,) = await play.caller.page("/v1/notifications")
    assert (note["status"], note["reason"], note["job_id"]) == ("unprocessable", "job_of_another_webhook", None)
    assert note["webhook_id"] == play.main["id"]
    assert await play.caller.page(f"/v1/jobs?webhook_id={play.main['id']}") == []
    assert (await rows_of(relay.database, schema.jobs), await rows_of(relay.database, schema.job_keys)) == before

    job.callback_url = play.quiet["callback_url"]
    same("answer to its own", await play.stand_in.tell(job), [200])
    await play.ended(job_id)
    (result,) = await play.caller.page("/v1/results")
    assert (result["webhook_id"], result["job_id"]) == (play.quiet["id"], job_id)
    assert play.asked(job) == len(await play.caller.attempts(job_id)) == (0 if play.inline else 1)


@SQLITE_FIRST
@pytest.mark.parametrize("provider", [THIN, SIGNED, THICK])
async def test_a_job_that_one_webhook_follows_is_refused_on_the_other(meeting: tuple[Play, Relay]) -> None:
    play, relay = meeting
    job = await play.begin()
    await play.track(job, play.quiet)
    before = await rows_of(relay.database, schema.jobs)
    named = {"provider_job_id": job.id}
    if play.name == THIN:
        named = {"response_url": f"{play.stand_in.url}/results/{job.id}"}
    told = await play.caller.call("POST", "/v1/jobs", {"webhook_id": play.main["id"], **named})
    assert (told.status, await rows_of(relay.database, schema.jobs)) == (409, before), told.raw
    assert job.looks == 0
