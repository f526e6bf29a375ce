"""`/metrics` and the log of a relay at work, and who may see the first."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import pytest

from relay import metrics
from relay.metrics import described
from tests.support.journey import SECRET_KEY, World, running, settings_of, stand_ins, travelling
from tests.support.ports import free_port

AFTER_TROUBLE = {"relay_deliveries_exhausted_total"}


async def _scraped(world: World) -> str:
    told = await world.call("GET", "/metrics")
    assert told.status == 200
    return told.raw.decode()


async def test_a_round_trip_shows_in_every_metric_that_is_described(sqlite_stage_url: str, tmp_path: Path) -> None:
    async with travelling(sqlite_stage_url, tmp_path) as world:
        webhook = await world.webhook()
        await world.subscribe()
        await world.ask(webhook, "tea")
        (message,) = await world.sink.wait_for(1)
        await world.until("/v1/deliveries", lambda page: page["data"][0]["status"] == "delivered")
        await world.notify(f"{world.url}/in/not-a-token", {})
        text = await _scraped(world)
    series = set(re.findall(r"^(relay_\w+)", text, re.M))
    known = {name for metric in described() for name in metric.series}
    assert series <= known
    assert known - series == AFTER_TROUBLE
    assert 'relay_notifications_total{outcome="accepted",provider="netnut",webhook="netnut-prod"} 1.0' in text
    assert 'relay_notifications_total{outcome="unknown",provider="",webhook=""} 1.0' in text
    assert 'relay_stored_to_delivered_seconds_count{subscription="billing"} 1.0' in text
    assert 'relay_results_total{provider="netnut",status="completed"} 1.0' in text
    assert 'relay_http_requests_total{method="POST",route="/v1/webhooks",status_class="2xx"} 1.0' in text
    assert 'relay_build_info{database="sqlite"' in text
    assert 'relay_queue_due{queue="fetch"} 0.0' in text
    for secret in (
        webhook["callback_url"].rpartition("/")[2],
        message.headers["webhook-id"],
        webhook["id"],
        SECRET_KEY,
    ):
        assert secret not in text


async def test_names_beyond_those_that_labels_may_have_share_one_series_that_hides_nobody(
    sqlite_stage_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MOST_NAMES", 1)
    async with travelling(sqlite_stage_url, tmp_path) as world:
        for name in ("first", "second", "third"):
            made = await world.post("/v1/subscriptions", {"name": name, "url": f"{world.sink.url}/{name}"})
            if name == "second":
                await world.post(f"/v1/subscriptions/{made['id']}/pause", {})
        text = await _scraped(world)
    assert re.findall(r"^relay_subscription_paused.*", text, re.M) == [
        'relay_subscription_paused{subscription="first"} 0.0',
        'relay_subscription_paused{subscription="other"} 1.0',
    ]
    assert len(re.findall(r"^relay_breaker_open", text, re.M)) == 2, "no series twice"


async def test_on_the_port_that_providers_call_only_a_key_opens_metrics(sqlite_stage_url: str, tmp_path: Path) -> None:
    async with travelling(sqlite_stage_url, tmp_path) as world:
        reader = await world.post("/v1/keys", {"name": "prometheus", "scope": "read"})
        async with world.session.get(f"{world.url}/metrics") as refused:
            assert refused.status == 401
            assert "relay_" not in await refused.text()
        headers = {"authorization": f"Bearer {reader['key']}"}
        async with world.session.get(f"{world.url}/metrics", headers=headers) as taken:
            assert taken.status == 200
            assert "relay_build_info" in await taken.text()


async def test_on_a_management_port_metrics_are_open_and_not_on_the_other(
    sqlite_stage_url: str, tmp_path: Path
) -> None:
    port = free_port()
    settings = settings_of(sqlite_stage_url, tmp_path, management_port=port)
    async with stand_ins() as (_, _, session), running(settings):
        assert await _status(session, f"http://127.0.0.1:{port}/metrics") == 200
        assert await _status(session, f"{settings.public_url}/metrics") == 404


async def test_a_management_port_has_all_but_the_callbacks_and_the_other_has_those_and_health_alone(
    sqlite_stage_url: str, tmp_path: Path
) -> None:
    port = free_port()
    settings = settings_of(sqlite_stage_url, tmp_path, management_port=port)
    async with stand_ins() as (netnut, sink, session), running(settings):
        world = World(session, f"http://127.0.0.1:{port}", netnut, sink)
        webhook = await world.webhook()
        for path in ("/v1/jobs", "/v1/stream", "/docs", "/openapi.json", "/ui", f"/submit/{webhook['id']}/search"):
            assert await _status(session, settings.public_url + path) == 404, path
        for path in ("/livez", "/readyz"):
            both = [await _status(session, base + path) for base in (settings.public_url, world.url)]
            assert both == [200, 200], path
        token = webhook["callback_url"].removeprefix(f"{settings.public_url}/in/")
        assert (await world.notify(f"{world.url}/in/{token}", {"traceID": "1"})).status == 404
        assert (await world.notify(webhook["callback_url"], {"traceID": "1"})).status == 200
        assert len(await world.page("/v1/notifications")) == 1


async def test_a_worker_tells_of_itself_on_its_health_port(stage_postgres_url: str, tmp_path: Path) -> None:
    from relay.app import Relay

    port = free_port()
    relay = Relay(settings_of(stage_postgres_url, tmp_path), serves=False, health_port=port)
    await relay.start()
    try:
        async with aiohttp.ClientSession() as session:
            assert await _status(session, f"http://127.0.0.1:{port}/readyz") == 200
            async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                text = await answer.text()
            assert await _status(session, f"http://127.0.0.1:{port}/v1/jobs") == 404
    finally:
        await relay.stop()
    assert 'relay_work_slots{stage="fetch"} 64.0' in text
    assert 'database="postgresql"' in text
    assert "relay_workers 1.0" in text
    assert "relay_store_bytes" not in text


async def _status(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as answer:
        return answer.status
