"""The management API: every address in one list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay.metrics import Metrics
from relay.web import docs, openapi, submit
from relay.web.api import (
    captures,
    deliveries,
    events,
    jobs,
    keys,
    messages,
    missing,
    notifications,
    providers,
    replays,
    results,
    stats,
    stream,
    subscriptions,
    webhooks,
)
from relay.web.endpoint import Endpoint
from relay.web.observed import ObservedMiddleware
from relay.web.problems import Problem, ProblemMiddleware, handle
from relay.web.services import Services

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    webhooks.create,
    webhooks.page,
    webhooks.show,
    webhooks.change,
    webhooks.delete,
    webhooks.rotate,
    webhooks.disable,
    webhooks.enable,
    webhooks.test,
    captures.list_captures,
    subscriptions.create,
    subscriptions.page,
    subscriptions.show,
    subscriptions.change,
    subscriptions.delete,
    subscriptions.rotate_secret,
    subscriptions.pause,
    subscriptions.resume,
    subscriptions.enable,
    subscriptions.test,
    messages.take,
    messages.acknowledge,
    messages.release,
    missing.page,
    stream.watch,
    events.page,
    events.show,
    notifications.page,
    notifications.show,
    notifications.reprocess,
    jobs.track,
    jobs.page,
    jobs.show,
    jobs.list_attempts,
    jobs.fetch,
    jobs.cancel,
    results.page,
    results.show,
    results.payload,
    results.erase,
    deliveries.page,
    deliveries.show,
    deliveries.retry,
    deliveries.cancel,
    replays.start,
    replays.page,
    replays.show,
    replays.cancel,
    replays.change,
    replays.pause,
    replays.resume,
    keys.create,
    keys.page,
    keys.show,
    keys.revoke,
    providers.page,
    providers.show,
    stats.show,
)


def build_management_app(
    services: Services, extra_routes: Sequence[BaseRoute] = (), metrics: Metrics | None = None
) -> Starlette:
    """The application. `extra_routes` (health, metrics) come first and answer for themselves."""

    @cache
    def document() -> dict[str, Any]:
        return openapi.document(ENDPOINTS, services.public_url)

    routes = [
        *extra_routes,
        Route("/openapi.json", _fixed(lambda: orjson.dumps(document()), "application/json")),
        Route("/docs", _fixed(lambda: docs.page(document()).encode(), "text/html", docs.HEADERS)),
        *_routes(services),
        Route(submit.PATH, submit.SubmitEndpoint(services)),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(ObservedMiddleware, clock=services.clock, metrics=metrics or Metrics()),
            Middleware(ProblemMiddleware, clock=services.clock),
        ],
        exception_handlers={HTTPException: handle, Problem: handle},
    )
    app.router.redirect_slashes = False  # an address has one spelling
    return app


def _routes(services: Services) -> list[Route]:
    """One route for each address, so that a 405 can name every method that it takes."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for item in ENDPOINTS:
        by_path.setdefault(item.path, {})[item.method] = item
    return [Route(path, _dispatch(services, items), methods=list(items)) for path, items in by_path.items()]


def _dispatch(services: Services, items: dict[str, Endpoint]) -> Callable[[Request], object]:
    async def run(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await items[method](services, request)

    return run


def _fixed(
    make: Callable[[], bytes], media_type: str, headers: dict[str, str] | None = None
) -> Callable[[Request], object]:
    """Always the same answer, made when it is first asked for: a start after a crash has no time for it."""
    content = cache(make)

    async def run(request: Request) -> Response:
        return Response(content(), headers=headers, media_type=media_type)

    return run
