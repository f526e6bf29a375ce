"""A database that goes away and comes back: 503 meanwhile, nothing that was taken is lost, and nobody restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.support.gate import Gate, gate
from tests.support.journey import Told, World, eventually, travelling


@dataclass
class Apart:
    """A world whose database lies behind a gate."""

    world: World
    gate: Gate


@pytest.fixture
async def apart(stage_postgres_url: str, tmp_path: Path) -> AsyncIterator[Apart]:
    parts = urlsplit(stage_postgres_url)
    async with gate((parts.hostname or "", parts.port or 5432)) as between:
        url = urlunsplit(parts._replace(netloc=f"{parts.username}@127.0.0.1:{between.port}"))
        async with travelling(url, tmp_path, lease_seconds=3) as world:  # what was under way waits for its lease to end
            yield Apart(world, between)
            await between.open()  # a relay that is stopped says so in its database


@pytest.mark.acceptance
async def test_while_the_database_is_away_every_answer_is_503_and_the_relay_comes_back_by_itself(apart: Apart) -> None:
    world = apart.world
    webhook = await world.webhook()
    await world.subscribe()
    world.netnut.knobs.pending_answers = 1
    taken = await world.finished_trace(webhook)
    await apart.gate.shut()

    sent = {"traceID": "refused", "response_url": world.netnut.response_url("refused")}
    refused = await world.notify(webhook["callback_url"], sent)
    assert (refused.status, refused.body["code"]) == (503, "unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    large = await world.notify(webhook["callback_url"], b" " * 700_000)  # is written piece by piece before the rest
    assert large.status == 503
    away = await asyncio.gather(*(world.call("GET", path) for path in ("/v1/jobs", "/v1/webhooks", "/readyz")))
    assert [told.status for told in away] == [503, 503, 503]
    assert away[0].body["code"] == "store_unavailable" and away[0].headers["retry-after"]
    assert (await world.call("GET", "/livez")).status == 200

    await apart.gate.open()
    await _until_taken(lambda: world.notify(webhook["callback_url"], {"traceID": taken, "again": True}))
    assert (await world.call("GET", "/readyz")).status == 200
    await world.ended((await world.job_of(taken))["id"])
    assert [message.verified for message in await world.sink.wait_for(1)] == [True]
    assert await world.page("/v1/jobs?provider_job_id=refused") == []


async def _until_taken(ask: Callable[[], Coroutine[Any, Any, Told]]) -> None:
    async def status() -> dict[str, Any]:
        return {"status": (await ask()).status}

    await eventually(status, lambda told: told["status"] == 200, seconds=20)
