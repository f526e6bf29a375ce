"""For commands that stay: the time of day, waiting, and a line on the terminal that says how it stands."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from relay.cli.text import safe

if TYPE_CHECKING:
    from relay.clock import Clock


def clock_time() -> str:
    """The time of day here, to the second."""
    from datetime import datetime

    from relay.clock import SystemClock

    return f"{datetime.fromtimestamp(SystemClock().now() / 1000):%H:%M:%S}"


def pausing(clock: Clock) -> Callable[[float], None]:
    """Waits by this clock."""
    import asyncio

    def pause(seconds: float) -> None:
        asyncio.run(clock.sleep(seconds))

    return pause


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does: tidily."""

    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class StateLine:
    """One line at the bottom of a terminal, overwritten by the next; nothing where stderr is none."""

    def __init__(self) -> None:
        self._shown = False

    def show(self, text: str) -> None:
        """Replace it."""
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{safe(text)}", err=True, nl=False)
            self._shown = True

    def clear(self) -> None:
        """Make room for other lines."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._shown = False
