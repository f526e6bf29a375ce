"""Is the process alive, can it do its work, and what do its counters say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Components = Callable[[], Awaitable[Mapping[str, str | bool]]]


def health_routes(components: Components, *, patience_seconds: float = 2.0) -> list[Route]:
    """`/livez` and `/readyz`. A component is well when its state is `True` or `"ok"`; states are shown as they are.

    A state that cannot be had within `patience_seconds`, or at all, counts as not ready; the error is not shown.
    """

    async def livez(request: Request) -> Response:
        return _json(200, {"status": "ok"})

    async def readyz(request: Request) -> Response:
        try:
            async with asyncio.timeout(patience_seconds):
                states = dict(await components())
        except Exception:
            # Whoever asks is a load balancer: it needs a no, not our traceback.
            return _json(503, {"status": "unavailable", "components": {}})
        ready = all(state in (True, "ok") for state in states.values())
        return _json(200 if ready else 503, {"status": "ok" if ready else "unavailable", "components": states})

    return [Route("/livez", livez), Route("/readyz", readyz)]


async def _nothing(*_: object) -> None:
    """For who has nothing to look up, or lets everybody in."""


def metrics_route(
    registry: CollectorRegistry,
    refresh: Callable[[], Awaitable[None]] = _nothing,
    admit: Callable[[Request], Awaitable[object]] = _nothing,
) -> Route:
    """`/metrics`: the registry in the format that the scraper asks for, after `refresh`. `admit` raises Problem for who
    may not see it."""

    async def metrics(request: Request) -> Response:
        await admit(request)
        await refresh()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type, "cache-control": "no-store"})

    return Route("/metrics", metrics)


def _json(status: int, document: Mapping[str, object]) -> Response:
    return JSONResponse(document, status, headers={"cache-control": "no-store"})
