"""`relay serve`, `relay worker` and `relay demo`: the commands that are a relay rather than speak to one."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from relay.app.run import OpenPlayground


@click.command()
@click.option(
    "--no-worker", is_flag=True, help="Only receive and answer; `relay worker` processes do the rest (PostgreSQL)."
)
@click.option("--host", help="Address to listen on; RELAY_HOST.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on; RELAY_PORT.")
@click.option("--playground", is_flag=True, help="Have stand-ins to play with on the dashboard; RELAY_PLAYGROUND=on.")
@click.pass_context
def serve(ctx: click.Context, no_worker: bool, host: str | None, port: int | None, playground: bool) -> None:
    """Receive notifications, answer the API and, unless told otherwise, do the work."""
    with _in_a_hurry():
        from relay import settings

        given = {"host": host, "port": port, "playground": "on" if playground else None}
        loaded = settings.ensure_secrets(settings.load(given))
        from relay import app  # after the settings: a wrong one is said at once

        ctx.exit(app.run_serve(loaded, with_worker=not no_worker, playground=_stand_ins(loaded.playground)))


@click.command()
@click.option(
    "--health-port", type=click.IntRange(1, 65535), help="Also answer /livez, /readyz and /metrics on this port."
)
@click.pass_context
def worker(ctx: click.Context, health_port: int | None) -> None:
    """Fetch and deliver only: more hands for relays that share a PostgreSQL database."""
    with _in_a_hurry():
        from relay import settings

        loaded = settings.ensure_secrets(settings.load())
        from relay import app

        ctx.exit(app.run_worker(loaded, health_port=health_port))


@click.command()
@click.pass_context
def demo(ctx: click.Context) -> None:
    """Play one round trip on this machine, with a provider and a subscriber of its own, and stay up to be tried."""
    _import_structlog()
    from relay.demo import show

    ctx.exit(show.main())


def _stand_ins(switch: str) -> OpenPlayground | None:
    """What opens the playground, where it is wanted; a relay without one does not even import it."""
    if switch == "off":
        return None
    from relay.demo.playground import Playground

    return Playground


@contextmanager
def _in_a_hurry() -> Iterator[None]:
    """After a crash everybody waits for the ready line; a relay that is ready collects garbage again by itself."""
    gc.disable()  # what is made until then stays
    try:
        _import_structlog()
        yield
    finally:
        gc.enable()


def _import_structlog() -> None:
    """Import it as if rich were not there: it would take 80 ms for tracebacks in a style that Relay does not print."""
    if not {"rich", "structlog"} & sys.modules.keys():
        sys.modules["rich"] = None  # type: ignore[assignment]  # how `import` is told that there is none
        try:
            import structlog  # noqa: F401
        finally:
            del sys.modules["rich"]
