"""Callback URLs to one application, everything else to another: the hot path passes no router."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send


class Split:
    """ASGI application in front of the two."""

    def __init__(self, callback: ASGIApp, rest: ASGIApp) -> None:
        self._callback = callback
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_callback = scope["type"] == "http" and scope["path"].startswith("/in/")
        await (self._callback if is_callback else self._rest)(scope, receive, send)


def plain_app(routes: list[BaseRoute]) -> ASGIApp:
    """An application of a few routes that answer for themselves."""
    return Starlette(routes=routes)


def public_app(callback: ASGIApp, health: list[BaseRoute]) -> Split:
    """What is served to providers when the management API has a port of its own."""
    return Split(callback, Starlette(routes=health))
