"""Every management request, counted and written down: by the template of its path, for paths hold ids and keys."""

from __future__ import annotations

from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay.clock import Clock
from relay.metrics import Metrics
from relay.web.problems import SUBMIT

QUIET: Final = frozenset({"/livez", "/readyz", "/metrics"})
READING: Final = frozenset({"GET", "HEAD"})
UNMATCHED: Final = "unmatched"


class ObservedMiddleware:
    """The outermost layer: sees what was really answered."""

    def __init__(self, app: ASGIApp, clock: Clock, metrics: Metrics) -> None:
        self._app = app
        self._clock = clock
        self._metrics = metrics
        self._log: Any = structlog.get_logger("relay.web").bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock.monotonic()
        status = 0  # none was sent: the caller is gone, or the connection was

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_see)
        finally:
            self._write(scope, status, self._clock.monotonic() - began)

    def _write(self, scope: Scope, status: int, seconds: float) -> None:
        """What only looks, and what has a line of its own, is for those who look closely."""
        route = getattr(scope.get("route"), "path", UNMATCHED)
        method: str = scope["method"]
        self._metrics.requested(method, route, status, seconds)
        quiet = (method in READING and status < 500) or scope["path"] in QUIET or scope["path"].startswith(SUBMIT)
        (self._log.debug if quiet else self._log.info)(
            "request.answered",
            request_id=scope.get("state", {}).get("request_id"),
            method=method,
            route=route,
            http_status=status,
            duration_ms=round(seconds * 1000, 2),
        )
