"""Health and metrics, as a load balancer and a scraper see them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from httpx2 import ASGITransport, AsyncClient
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette

from relay.web.health import Components, health_routes, metrics_route


def client_of(components: Components) -> AsyncClient:
    app = Starlette(routes=health_routes(components, patience_seconds=0.05))
    return AsyncClient(transport=ASGITransport(app=app), base_url="http://relay")


async def test_a_process_whose_components_are_well_is_ready() -> None:
    async def components() -> Mapping[str, str | bool]:
        return {"database": "ok", "clock": True}

    async with client_of(components) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "components": {"database": "ok", "clock": True}}
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("state", ["away", "draining", "stale", False, ""])
async def test_one_component_that_is_not_well_makes_it_unready_but_not_dead(state: str | bool) -> None:
    async def components() -> Mapping[str, str | bool]:
        return {"clock": "ok", "database": state}

    async with client_of(components) as client:
        answer = await client.get("/readyz")
        alive = await client.get("/livez")
    assert answer.status_code == 503
    assert answer.json() == {"status": "unavailable", "components": {"clock": "ok", "database": state}}
    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})


async def test_an_error_is_not_shown() -> None:
    async def components() -> Mapping[str, str | bool]:
        raise RuntimeError("postgresql://user:password@db")

    async with client_of(components) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "unavailable", "components": {}}


async def test_a_component_that_does_not_answer_is_not_waited_for() -> None:
    async def components() -> Mapping[str, str | bool]:
        await asyncio.Event().wait()
        return {}

    async with client_of(components) as client:
        assert (await client.get("/readyz")).status_code == 503


async def test_metrics_show_the_given_registry_and_no_other() -> None:
    registry = CollectorRegistry()
    Counter("relay_notifications", "Notifications.", registry=registry).inc(3)
    app = Starlette(routes=[metrics_route(registry)])
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://relay") as client:
        plain = await client.get("/metrics")
        open_metrics = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert "relay_notifications_total 3.0" in plain.text
    assert "python_info" not in plain.text
    assert plain.headers["content-type"].startswith("text/plain")
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")
