"""A result that the provider gives away once, in our hands while the database is away."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from relay.errors import StoreUnavailable
from relay.model import Webhook
from relay.outbound.provider_door import ProviderRequest
from relay.store import schema, tracking, usage
from relay.store.settlement import SETTLE_FETCH
from tests.support.doors import Page, answer_with
from tests.support.stage import DEFAULT_PLAN, Stage
from tests.support.stage_fixtures import Opening
from tests.support.store import rows_of

ONCE: Final = """
name = "once"
title = "Gives a result away once"
origins = ["https://provider.example"]
base_url = "https://provider.example"
[callback]
job_id = ["id"]
[fetch]
kind = "template"
template = "/jobs/{job_id}"
status = ["status"]
[fetch.statuses]
pending = ["running"]
completed = ["done"]
[retention]
seconds = 60
single_use = true
"""
DONE: Final = Page(200, b'{"status": "done", "text": "paid for"}')


class Away:
    """What is claimed for the first time cannot be settled for now."""

    def __init__(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = True
        self._submit = stage.database.submit
        monkeypatch.setattr(stage.database, "submit", self)

    async def __call__(self, operation: Any, item: Any) -> Any:
        if self.now and operation is SETTLE_FETCH and item.claims == 1:
            raise StoreUnavailable("away")
        return await self._submit(operation, item)


async def opened(open_stage: Opening, directory: Path) -> tuple[Stage, Webhook]:
    (directory / "once.toml").write_text(ONCE, encoding="utf-8")
    stage = await open_stage(replace(DEFAULT_PLAN, providers_dir=directory))
    await stage.add_subscription()
    return stage, await stage.add_webhook(provider="once", credentials={}, retention_seconds=None)


@pytest.mark.parametrize(("away_seconds", "told"), [(40, ["completed"]), (140, ["expired", "completed"])])
@pytest.mark.parametrize("noticed", [False, True], ids=["", "lease keeper first"])
async def test_it_is_stored_though_another_node_got_the_job_and_was_told_that_it_is_gone(
    open_stage: Opening,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    away_seconds: float,
    told: list[str],
    noticed: bool,
) -> None:
    """Its lease had run out with the database away: what was paid for was dropped, and nobody could fetch it again."""
    stage, webhook = await opened(open_stage, tmp_path)
    away = Away(stage, monkeypatch)
    stage.provider.answering = answer_with(DONE)
    await stage.accept(webhook, {"id": "j-1"})
    await stage.work_until_idle()
    stage.clock.advance(away_seconds)
    other = await stage.another()
    other.provider.answering = answer_with(Page(404, b""))
    await other.work_until_idle()
    assert len(other.provider.requests) == 1
    if noticed:
        await stage.fetching.leases.run_once()
        assert stage.fetching.leases.lost == 1
    away.now = False
    await stage.elapse(2)
    await stage.work_until_idle()
    job = await stage.the_job()
    assert (job.status, job.due_at, len(stage.provider.requests)) == ("completed", None, 1)
    assert await stage.payload(await stage.result(job.id)) == DONE.body
    assert [attempt.http_status for attempt in await stage.attempts(job.id)] == [404, 200]
    assert [row["status"] for row in await rows_of(stage.database, schema.results)] == told
    sent = [message.data["status"] for message in (*other.subscribers.sent, *stage.subscribers.sent)]
    assert sent == told


async def test_it_is_dropped_where_the_job_was_cancelled_meanwhile(
    open_stage: Opening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, webhook = await opened(open_stage, tmp_path)
    away = Away(stage, monkeypatch)
    stage.provider.answering = answer_with(DONE)
    await stage.accept(webhook, {"id": "j-1"})
    await stage.work_until_idle()
    job = await stage.the_job()
    ended = schema.jobs.update().values(status="cancelled", claims=job.claims + 1, due_at=None)
    await stage.database.write(lambda connection: connection.execute(ended))
    away.now = False
    await stage.elapse(2)
    assert (await stage.the_job()).status == "cancelled"
    assert not await rows_of(stage.database, schema.results)
    take = partial(tracking.take_for_result, lease_until=stage.clock.now())
    assert await stage.database.write(partial(take, job_id=job.id)) is None
    assert await stage.database.write(partial(take, job_id="job_gone")) is None


async def test_it_is_counted_however_late_it_lands(
    open_stage: Opening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id was older than one that was counted: it never was, and was subtracted when it was deleted."""
    stage, webhook = await opened(open_stage, tmp_path)
    submit, away = stage.database.submit, True

    async def answering(request: ProviderRequest) -> Page:
        return DONE

    async def late(operation: Any, item: Any) -> Any:
        if away and operation is SETTLE_FETCH and item.job_id == first.job_id:
            raise StoreUnavailable("away")
        return await submit(operation, item)

    async def count() -> int:
        stage.clock.advance(100)
        return await stage.database.write(partial(usage.count_some, webhook_id=webhook.id, now=stage.clock.now()))

    stage.provider.answering = answering
    first = await stage.accept(webhook, {"id": "j-1"})
    monkeypatch.setattr(stage.database, "submit", late)
    await stage.work_until_idle()
    stage.clock.advance(70)
    await stage.accept(webhook, {"id": "j-2"})
    await stage.work_until_idle()
    assert await count() == 1
    away = False
    await stage.elapse(2)
    assert await count() == 1
    [counted] = await rows_of(stage.database, schema.usage)
    assert counted["bytes"] == 2 * len(DONE.body)
