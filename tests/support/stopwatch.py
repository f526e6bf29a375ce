"""Real time for promises of the kind "within a second": without what other programs took of the processor meanwhile."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

LOOK_AGAIN_SECONDS = 0.01


class Stopwatch:
    """Runs from its making."""

    def __init__(self) -> None:
        self._began, self._waited = time.monotonic(), waited_for_processor(os.getpid())

    @property
    def seconds(self) -> float:
        """What a clock on the wall shows: for "not before"."""
        return time.monotonic() - self._began

    @property
    def own_seconds(self) -> float:
        """Without the time in which this process could have run and others did: for "not after"."""
        return self.seconds - (waited_for_processor(os.getpid()) - self._waited)


def waited_for_processor(pid: int, thread: str = "*") -> float:
    """Seconds in which the process's present threads were ready to run and others ran; 0 where nobody counts them."""
    return sum(_waits(pid, thread).values())


def _waits(pid: int, thread: str = "*") -> dict[str, float]:
    waits = {}
    for path in Path(f"/proc/{pid}/task").glob(f"{thread}/schedstat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            waits[path.parent.name] = int(path.read_text().split()[1]) / 1e9
    return waits


def own_seconds_to_end(process: subprocess.Popen[Any], patience: float) -> float:
    """How long a process takes to end from now on, without its waits for the processor. Raises TimeoutExpired."""
    began, before = time.monotonic(), _waits(process.pid)
    waited = dict(before)  # by thread: one that has ended is not shown any more
    while process.poll() is None:
        if time.monotonic() - began > patience:
            raise subprocess.TimeoutExpired(process.args, patience)
        waited |= _waits(process.pid)
        time.sleep(LOOK_AGAIN_SECONDS)
    return time.monotonic() - began - (sum(waited.values()) - sum(before.values()))


def own_seconds_until(process: subprocess.Popen[Any], happened: Callable[[], bool], patience: float) -> float:
    """How long until something happened, without the waits for the processor of the process and whatever it starts.

    Only main threads are looked at, and of processes that work one after the other: what waits at one time would be
    taken off twice. Raises TimeoutError after `patience` seconds on the wall, or when the process ends without it.
    """
    began, waited = time.monotonic(), dict[int, float]()
    while not happened():
        if time.monotonic() - began > patience or (process.poll() is not None and not happened()):
            raise TimeoutError(f"it did not happen in {time.monotonic() - began:.1f} s")
        for pid in (process.pid, *_descendants(process.pid)):
            waited[pid] = max(waited.get(pid, 0.0), waited_for_processor(pid, thread=str(pid)))
        time.sleep(LOOK_AGAIN_SECONDS)
    return time.monotonic() - began - sum(waited.values())


def _descendants(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []
