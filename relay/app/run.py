"""A process around a relay: the event loop, signals, the ready line, the exit code."""

from __future__ import annotations

import asyncio
import errno
import gc
import re
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

import structlog

from relay import logs
from relay.app.relay import Relay
from relay.clock import Clock, SystemClock
from relay.errors import RelayError, StoreUnavailable
from relay.settings import Settings
from relay.signing.browser import sign_in_url
from relay.web.playground import Playground
from relay.web.server import new_event_loop

# A thread of the database gives the interpreter away at each statement and must win it back from the event loop. A busy
# loop gives it up and takes it again with each request, too quickly for whom that wakes; only who has waited for this
# long is given it for certain, so it has to be shorter than a request takes.
SWITCH_SECONDS: Final = 0.00002

log = structlog.get_logger(__name__)


OpenPlayground = Callable[[Clock], AbstractAsyncContextManager[Playground]]


def run_serve(settings: Settings, *, with_worker: bool, playground: OpenPlayground | None = None) -> int:
    """Serve, and work unless others do, until a signal; the exit code."""
    if settings.is_sqlite and not with_worker:
        sys.stderr.write("relay: --no-worker needs PostgreSQL: a SQLite database serves one process\n")
        return 2
    if playground is not None and not settings.is_sqlite:
        sys.stderr.write(
            "relay: RELAY_PLAYGROUND needs SQLite: on PostgreSQL other processes take jobs whose stand-ins are here\n"
        )
        return 2
    return _run(settings, serves=True, works=with_worker, playground=playground)


def run_worker(settings: Settings, *, health_port: int | None = None) -> int:
    """Work until a signal; the exit code. Health and metrics are to be had at `health_port`."""
    if settings.is_sqlite:
        sys.stderr.write("relay: `relay worker` needs PostgreSQL: a SQLite database serves one process\n")
        return 2
    return _run(settings, serves=False, works=True, health_port=health_port)


def _run(
    settings: Settings,
    *,
    serves: bool,
    works: bool,
    health_port: int | None = None,
    playground: OpenPlayground | None = None,
) -> int:
    clock = SystemClock()
    logs.configure(format=settings.log_format, level=settings.log_level, clock=clock)

    async def live() -> int:
        async with nullcontext() if playground is None else playground(clock) as played:
            relay = Relay(settings, serves=serves, works=works, clock=clock, health_port=health_port, playground=played)
            return await _live(relay)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(live())


async def _live(relay: Relay) -> int:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    try:
        await relay.start()
    except StoreUnavailable as error:
        sys.stderr.write(f"relay: {error}; RELAY_DATABASE_URL says where the database is\n")
        return 1
    except (RelayError, OSError) as error:
        sys.stderr.write(f"relay: {error}{_hint(error, relay.settings)}\n")
        return 1
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()  # what is there now stays: collections need not look at it
    gc.set_threshold(20_000, 20, 50)  # what a request allocates is gone by itself; cycles are rare
    gc.enable()
    _welcome(relay)
    waits = [asyncio.ensure_future(event.wait()) for event in (asked, relay.failed)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    failed = relay.failed.is_set()
    log.info("stopping", reason="the database file failed to sync" if failed else "signal")
    await relay.stop()
    return 1 if failed else 0


def _hint(error: Exception, settings: Settings) -> str:
    """Which setting would help where an address cannot be had."""
    if isinstance(error, socket.gaierror) or getattr(error, "errno", None) == errno.EADDRNOTAVAIL:
        return f"; {settings.host} stands in --host or RELAY_HOST, which takes an address of this machine"
    if getattr(error, "errno", None) != errno.EADDRINUSE:
        return ""
    of_management = settings.management_port and re.search(rf", {settings.management_port}[,)]", str(error))
    return f"; {'RELAY_MANAGEMENT_PORT' if of_management else '--port or RELAY_PORT'} takes another one"


def _welcome(relay: Relay) -> None:
    sys.stderr.write(ready_line(relay) + "\n")
    if sys.stderr.isatty() and relay.callback is not None:  # never into a log: who has the link is the administrator
        settings = relay.settings
        kept = settings.data_dir / "admin-key"
        if settings.is_sqlite and kept.exists():  # where it is, not what: terminals are shown to others
            sys.stderr.write(f"API key    in {kept}; commands run here find it by themselves\n")
        sys.stderr.write(f"dashboard  {sign_in_url(settings.url, settings.secret_keys, relay.clock.now())}\n")
    sys.stderr.flush()


def ready_line(relay: Relay) -> str:
    """What is said, always, once everything runs."""
    settings = relay.settings
    database = "SQLite" if settings.is_sqlite else "PostgreSQL"
    if relay.server is None:
        return f"ready  worker on {database}"
    if relay.callback is None:
        return f"ready  worker on {database}  health http://{_host(settings)}:{relay.server.ports[0]}/readyz"
    host = _host(settings)
    ports = relay.server.ports
    management = "" if len(ports) == 1 else f"  management http://{host}:{ports[1]}"
    work = "" if relay.fetching is not None else ", without a worker"
    return f"ready  http://{host}:{ports[0]}{management}  on {database}{work}  callbacks {settings.public_url}/in/…"


def _host(settings: Settings) -> str:
    return f"[{settings.host}]" if ":" in settings.host else settings.host
