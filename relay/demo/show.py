"""`relay demo`: a relay on SQLite between a stand-in NetNut and a subscriber of its own, and one whole round trip.

Everything goes through the public surfaces, as a user would do it: webhook and subscriptions by the API, the request
at the provider with the callback URL in it, the timeline from what the relay tells about notification, job, result
and deliveries. The subscriber checks the signatures itself. State lives in a directory that is gone at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TextIO

import aiohttp
import structlog

from relay.clock import Clock, SystemClock
from relay.demo.act import Act, Cast
from relay.demo.api import Api, DemoFailed
from relay.demo.netnut import Knobs, NetNut
from relay.demo.playground import Playground
from relay.demo.sink import Sink
from relay.demo.timeline import Timeline
from relay.errors import RelayError
from relay.model import Secret
from relay.settings import Settings
from relay.signing.browser import sign_in_url

FAVOURITE_PORT: Final = 8000
ACT_SECONDS: Final = 30.0
STOP_SECONDS: Final = 2.0  # with the stand-ins' own end this stays under the three seconds that are promised
PROVIDER_WORKS_SECONDS: Final = 0.6


class Runnable(Protocol):
    """What the demo needs of a relay."""

    async def start(self) -> None:
        """Listen and work."""
        ...

    async def stop(self) -> None:
        """Finish what is in flight and end."""
        ...


@dataclass(frozen=True)
class Look:
    """Where the demo writes and how."""

    out: TextIO
    color: bool


MakeRelay = Callable[[Settings, socket.socket, Playground], Runnable]  # the socket has the settings' port and listens


async def run_demo(make_relay: MakeRelay, look: Look, *, clock: Clock, stay: bool = True) -> None:
    """Play the round trip, print it, then (with `stay`) show what arrives until cancelled. Raises DemoFailed."""
    timeline = Timeline(look.out, color=look.color)
    async with _stage(make_relay, clock) as cast:
        act = Act(cast, timeline, clock)
        try:
            async with asyncio.timeout(ACT_SECONDS):
                await act.play()
        except TimeoutError:
            raise DemoFailed(
                f"the round trip did not end in {ACT_SECONDS:.0f} s; the last line is where it stands"
            ) from None
        if stay:
            act.invite()
            await act.watch()


@contextlib.asynccontextmanager
async def _stage(make_relay: MakeRelay, clock: Clock) -> AsyncIterator[Cast]:
    knobs = Knobs(work_seconds=PROVIDER_WORKS_SECONDS, pending_answers=1)
    password, admin_key = Secret(secrets.token_hex(8)), Secret(f"rk_{secrets.token_urlsafe(32)}")
    with tempfile.TemporaryDirectory(prefix="relay-demo-", ignore_cleanup_errors=True) as directory:
        async with (
            NetNut(password=password, knobs=knobs, clock=clock) as netnut,
            Sink(clock=clock) as sink,
            Playground(clock) as playground,
        ):
            bound = listening_socket()
            settings = demo_settings(Path(directory), admin_key, bound.getsockname()[1], netnut.port, sink.port)
            async with _running(make_relay(settings, bound, playground)), aiohttp.ClientSession() as session:
                api = Api(session, settings.public_url, admin_key, clock)
                link = sign_in_url(settings.public_url, settings.secret_keys, clock.now())
                yield Cast(netnut, sink, api, session, settings.public_url, admin_key, link)


def demo_settings(directory: Path, admin_key: Secret, port: int, provider_port: int, subscriber_port: int) -> Settings:
    """Settings of a relay for one demo; the environment and `relay.toml` have no say in it."""
    return Settings.model_validate(
        {
            "data_dir": directory,
            "port": port,
            "public_url": f"http://127.0.0.1:{port}",
            "secret_keys": (secrets.token_urlsafe(48),),
            "admin_key": admin_key.reveal(),
            "egress_allow": (f"127.0.0.1/32:{subscriber_port}",),
            "provider_egress_allow": (f"127.0.0.1/32:{provider_port}",),
            "log_level": "warning",
            "shutdown_seconds": 1,
        }
    )


@contextlib.asynccontextmanager
async def _running(relay: Runnable) -> AsyncIterator[None]:
    await relay.start()
    try:
        yield
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await relay.stop()


def listening_socket() -> socket.socket:
    """On the port that the documentation speaks of, or any other where it is taken. It listens, so it has the port."""
    for wanted in (FAVOURITE_PORT, 0):
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", wanted))
    raise DemoFailed("no port of 127.0.0.1 is free")


async def _until_interrupted(make_relay: MakeRelay, look: Look) -> int:
    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    try:
        await run_demo(make_relay, look, clock=SystemClock())
    except asyncio.CancelledError:
        return 0  # Ctrl-C is how the demo is meant to end
    except (DemoFailed, RelayError, OSError) as failed:
        sys.stderr.write(f"relay demo: {failed}\n")
        return 1
    return 0


def main() -> int:
    """Run the demo in this terminal until Ctrl-C; the exit code."""
    from relay.app import Relay

    def make_relay(settings: Settings, bound: socket.socket, playground: Playground) -> Runnable:
        return Relay(settings, bound=bound, playground=playground)

    # The timeline tells what happens; the log would tell it again between its lines.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    with asyncio.Runner() as runner:
        return runner.run(_until_interrupted(make_relay, Look(sys.stdout, color=sys.stdout.isatty())))
