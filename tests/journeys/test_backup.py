"""A copy that is made while notifications come in, and put in the place of the database."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from relay.store.backup import back_up
from tests.support.journey import World, eventually, running, settings_of, travelling

ENOUGH = 20


async def _notify(world: World, callback_url: str, acknowledged: list[str], stop: asyncio.Event) -> None:
    """One after the other, so that what is acknowledged has an order."""
    while not stop.is_set():
        trace = world.netnut.open()
        sent = {"traceID": trace.id, "response_url": world.netnut.response_url(trace.id)}
        acknowledged.append((await world.notify(callback_url, sent)).body["notification_id"])


async def _more_than(acknowledged: list[str], count: int) -> None:
    async def counted() -> dict[str, int]:
        return {"count": len(acknowledged)}

    await eventually(counted, lambda found: found["count"] > count)


@pytest.mark.acceptance
async def test_a_copy_made_under_load_holds_what_was_acknowledged_before_it_and_goes_on_from_there(
    sqlite_stage_url: str, tmp_path: Path
) -> None:
    source, copy = Path(sqlite_stage_url.removeprefix("sqlite:///")), tmp_path / "copy.db"
    acknowledged: list[str] = []
    stop = asyncio.Event()
    async with travelling(sqlite_stage_url, tmp_path) as world:
        webhook = await world.webhook()
        await world.subscribe()
        notifying = asyncio.ensure_future(_notify(world, webhook["callback_url"], acknowledged, stop))
        await _more_than(acknowledged, ENOUGH)
        before = len(acknowledged)
        await asyncio.to_thread(partial(back_up, source, copy))
        await _more_than(acknowledged, before + 5)
        stop.set()
        await notifying

        settings = settings_of(f"sqlite:///{copy}", tmp_path / "restored")
        async with running(settings):
            restored = World(world.session, settings.public_url, world.netnut, world.sink)
            kept = [item["id"] for item in reversed(await restored.page("/v1/notifications?limit=200"))]
            assert before <= len(kept) < len(acknowledged)
            assert kept == acknowledged[: len(kept)], "a beginning of what was acknowledged, without a gap"
            await restored.until("/v1/jobs?status=waiting,fetching", lambda page: not page["data"])
            made = await restored.post("/v1/replays", {"filter": {"webhook_id": webhook["id"]}, "mode": "all"})
            done = await restored.until(f"/v1/replays/{made['id']}", lambda replay: replay["status"] == "done")
            assert (done["delivered"], done["failed"]) == (len(kept), 0)
            token = webhook["callback_url"].rpartition("/")[2]
            assert (await restored.notify(f"{settings.public_url}/in/{token}", {})).status == 200
