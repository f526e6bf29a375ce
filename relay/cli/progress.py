"""Following a replay: a bar on a terminal, elsewhere a line for every tenth of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from relay.cli.output import note

POLL_SECONDS: Final = 0.5
STANDS: Final = frozenset(("done", "cancelled", "paused"))

Ask = Callable[[], dict[str, Any]]


def follow(ask: Ask, timeout: float) -> dict[str, Any]:
    """The replay as `ask` shows it once it is over or paused, or the time is; meanwhile stderr tells how far it is."""
    import asyncio

    from relay.clock import SystemClock

    clock = SystemClock()
    end = clock.monotonic() + timeout
    show = _bar() if sys.stderr.isatty() else _lines()
    try:
        while True:
            replay = ask()
            show(replay)
            if replay.get("status") in STANDS or clock.monotonic() >= end:
                return replay
            asyncio.run(clock.sleep(POLL_SECONDS))
    finally:
        show(None)


def settled(replay: dict[str, Any]) -> int:
    """How many of its deliveries have come to an end."""
    return int(replay.get("delivered", 0)) + int(replay.get("failed", 0))


def _lines() -> Callable[[dict[str, Any] | None], None]:
    said = -1

    def show(replay: dict[str, Any] | None) -> None:
        nonlocal said
        if replay is None or not replay.get("total"):
            return
        tenth = settled(replay) * 10 // replay["total"]
        if tenth > said:
            said = tenth
            note(f"{tenth * 10:3} %  {replay['delivered']} delivered, {replay['failed']} failed of {replay['total']}")

    return show


def _bar() -> Callable[[dict[str, Any] | None], None]:
    from rich.console import Console  # 50 ms: only where a bar is drawn
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    task = progress.add_task("replay", total=None)
    progress.start()

    def show(replay: dict[str, Any] | None) -> None:
        if replay is None:
            progress.stop()
        else:
            failed = f", {replay['failed']} failed" if replay.get("failed") else ""
            description = f"{replay.get('status')}{failed}"
            progress.update(task, total=replay.get("total") or None, completed=settled(replay), description=description)

    return show
