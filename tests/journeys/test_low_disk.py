"""A disk that is nearly full: nothing more is taken in, and everything that is in still goes out."""

from __future__ import annotations

from pathlib import Path

from tests.support import crowd
from tests.support.clock import START
from tests.support.journey import travelling


async def test_intake_refuses_and_says_so_while_deliveries_go_on_and_are_settled(
    sqlite_stage_url: str, tmp_path: Path
) -> None:
    await crowd.store_results(sqlite_stage_url, 20, START)
    async with travelling(sqlite_stage_url, tmp_path, free_disk_floor_bytes=1 << 60) as world:
        webhook = await world.webhook()
        refused = await world.notify(webhook["callback_url"], {"response_url": f"{world.netnut.url}/responses/1"})
        assert refused.status == 503 and int(refused.headers["Retry-After"]) > 0
        ready = await world.call("GET", "/readyz")
        assert (ready.status, ready.body["components"]["disk"]) == (503, "low")
        await world.subscribe()
        made = await world.post("/v1/replays", {"filter": {"created_before": "2030-01-01T00:00:00Z"}})
        done = await world.until(f"/v1/replays/{made['id']}", lambda replay: replay["status"] == "done")
        assert (done["delivered"], done["failed"]) == (20, 0)
        assert len(await world.sink.wait_for(20)) == 20
        [delivery, *_] = await world.page(f"/v1/deliveries?replay_id={made['id']}")
        [attempt] = (await world.get(f"/v1/deliveries/{delivery['id']}"))["attempts"]
        assert attempt["trigger"] == "replay" and attempt["first_byte_ms"] is not None
