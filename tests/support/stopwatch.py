"""Real time for promises of the kind "within a second": without what other programs took of the processor meanwhile."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path
from typing import Any

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


def waited_for_processor(pid: int) -> float:
    """Seconds in which the process's present threads were ready to run and others ran; 0 where nobody counts them."""
    nanoseconds = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            nanoseconds += int(path.read_text().split()[1])
    return nanoseconds / 1e9


def own_seconds_to_end(process: subprocess.Popen[Any], patience: float) -> float:
    """How long a process takes to end from now on, without its waits for the processor. Raises TimeoutExpired."""
    began, before = time.monotonic(), waited_for_processor(process.pid)
    waited = before
    while process.poll() is None:
        if time.monotonic() - began > patience:
            raise subprocess.TimeoutExpired(process.args, patience)
        waited = max(waited, waited_for_processor(process.pid))
        time.sleep(LOOK_AGAIN_SECONDS)
    return time.monotonic() - began - (waited - before)
