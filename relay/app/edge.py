"""What is listened on: callback URLs, the management API and health, on one port or on two."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from relay.clock import Clock, after
from relay.metrics import Metrics
from relay.model import Scope
from relay.pipeline.receive import Receiver
from relay.settings import Settings
from relay.signing.tokens import PayloadLinks
from relay.tracing import Tracer
from relay.web.auth import authenticate
from relay.web.callback import CallbackEndpoint
from relay.web.connections import ConnectionLimits
from relay.web.health import health_routes, metrics_route
from relay.web.management import build_management_app
from relay.web.server import Site, connections_allowed
from relay.web.services import Services
from relay.web.split import Split, plain_app, public_app
from relay.web.ui.routes import ui_routes

if TYPE_CHECKING:
    from relay.app.observing import Observer

HEALTH_CONNECTIONS: Final = 64
PAYLOAD_URL_SECONDS: Final = 7 * 86_400.0

Components = Callable[[], Awaitable[Mapping[str, str | bool]]]


def sites(
    settings: Settings,
    services: Services,
    callback: CallbackEndpoint,
    components: Components,
    observer: Observer,
    bound: socket.socket | None = None,
) -> list[Site]:
    """The applications and where they listen. `bound` is a socket that has the (public) port already."""
    limits = ConnectionLimits(
        max_connections=connections_allowed(settings.max_connections),
        request_seconds=settings.request_timeout_seconds,
    )
    health = health_routes(components)
    if settings.management_port is None:
        # The names of webhooks and what comes in are nobody's business who merely knows where providers call.
        admit = partial(authenticate, services, scope=Scope.READ)
        metrics = metrics_route(observer.registry, observer.refresh, admit)
    else:
        metrics = metrics_route(observer.registry, observer.refresh)
    pages = ui_routes(services, settings)
    management = build_management_app(services, [*health, metrics, *pages], observer.metrics)
    if settings.management_port is None:
        both = Split(callback, management)
        return [Site(app=both, direct=callback, host=settings.host, port=settings.port, bound=bound, limits=limits)]
    public = public_app(callback, [*health])
    return [
        Site(app=public, direct=callback, host=settings.host, port=settings.port, bound=bound, limits=limits),
        Site(app=management, host=settings.host, port=settings.management_port, limits=limits),
    ]


def callback_endpoint(
    settings: Settings, receiver: Receiver, clock: Clock, metrics: Metrics, tracer: Tracer | None
) -> CallbackEndpoint:
    """What answers providers."""
    return CallbackEndpoint(
        receiver,
        clock,
        max_notification_bytes=settings.max_notification_bytes,
        intake_budget_bytes=settings.intake_budget_bytes,
        metrics=metrics,
        tracer=tracer,
    )


def health_site(settings: Settings, port: int, components: Components, observer: Observer) -> Site:
    """Health and metrics of a process that serves nothing else."""
    app = plain_app([*health_routes(components), metrics_route(observer.registry, observer.refresh)])
    return Site(app=app, host=settings.host, port=port, limits=ConnectionLimits(max_connections=HEALTH_CONNECTIONS))


def payload_urls(settings: Settings, links: PayloadLinks, clock: Clock) -> Callable[[str], str]:
    """Makes signed links to payloads, for deliveries that do not carry them.

    They are served with the management API: at the public address, or at `url` where that has a port of its own.
    """
    base = settings.public_url if settings.management_port is None else settings.url

    def payload_url(result_id: str) -> str:
        token = links.mint(result_id, after(clock.now(), PAYLOAD_URL_SECONDS))
        return f"{base}/v1/results/{result_id}/payload?token={token}"

    return payload_url
