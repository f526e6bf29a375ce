"""What a relay listens on, and what its handlers are given."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from relay.app import edge
from relay.app.observing import Observer
from relay.signing.tokens import Cursors
from relay.web.server import Site
from relay.web.services import Services

if TYPE_CHECKING:
    from relay.app.relay import Relay


def listening(of: Relay, *, serves: bool, health_port: int | None, bound: socket.socket | None) -> list[Site]:
    """What this process listens on: everything, its health alone, or nothing."""
    settings, metrics = of.settings, of.floor.metrics
    observer = Observer(of, metrics)
    if serves:
        of.callback = edge.callback_endpoint(settings, of.receiver, of.clock, metrics, of.floor.tracer)
        return edge.sites(settings, services(of), of.callback, of.components, observer, bound)
    return [] if health_port is None else [edge.health_site(settings, health_port, of.components, observer)]


def services(of: Relay) -> Services:
    """What the management API's handlers need."""
    return Services(
        database=of.database,
        configuration=of.configuration,
        vault=of.vault,
        clock=of.clock,
        callback_tokens=of.tokens,
        payload_links=of.links,
        cursors=Cursors(of.settings.secret_keys),
        profiles=of.profiles,
        admin_key=of.settings.admin_key,
        public_url=of.settings.public_url,
        tracker=of.tracker,
        submitter=of.submitter,
        receiver=of.receiver,
        replayer=of.replayer,
        puller=of.puller,
        tester=of.probe,
        door=of.deliveries_door,
        waker=of,
        counters=of.floor.counters,
        streams=of.streams,
        playground=of.playground,
        stopping=of.stopping,
    )
