"""Resident memory over many results, and while 32 results of 16 MiB are in flight."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import psutil

from tests.bench import rig
from tests.bench.report import Line
from tests.bench.results import PATHS, Bench, bench
from tests.bench.scale import Scale

MIB: Final = 1024 * 1024
LARGE: Final = 16 * MIB
IN_FLIGHT: Final = 32
LARGE_SECONDS: Final = 5.0  # over which the provider sends one of them, so that all are under way together
SAMPLE_SECONDS: Final = 0.05


class Watch:
    """The highest resident size of a process while the block runs."""

    def __init__(self, running: rig.Running) -> None:
        self.running = running
        self.peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            try:
                self.peak = max(self.peak, self.running.rss_bytes())
            except psutil.Error:
                return

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        self._thread.join()


def run(scale: Scale) -> list[Line]:
    """Both figures, each over the idle size of a relay just started."""
    return [many(scale), large()]


def _growth(rigged: Bench, play: Callable[[], object]) -> tuple[float, float]:
    """Idle size and the peak over it while playing, in MiB."""
    time.sleep(1.0)
    idle = rigged.relay.running.rss_bytes()
    with Watch(rigged.relay.running) as watch:
        play()
    return idle / MIB, (watch.peak - idle) / MIB


def many(scale: Scale) -> Line:
    """Memory is flat."""
    batch = 10_000

    def play() -> None:
        for start in range(0, scale.memory_results, batch):
            rigged.play(min(batch, scale.memory_results - start), scale.memory_rate)

    with bench() as rigged:
        idle, growth = _growth(rigged, play)
    note = f"{scale.memory_results:,} results; idle {idle:.0f} MiB"
    return Line(
        name="growth over idle", measured=growth, unit="MiB", judged=growth, target=50, at_least=False, note=note
    )


def large() -> Line:
    """32 results of 16 MiB at once."""
    with bench(PATHS[:1], size=LARGE, seconds=LARGE_SECONDS) as rigged:
        idle, growth = _growth(rigged, lambda: rigged.play(IN_FLIGHT, 1000.0))
    note = f"{IN_FLIGHT} results of 16 MiB in flight; idle {idle:.0f} MiB"
    return Line(
        name="peak over idle", measured=growth, unit="MiB", judged=growth, target=256, at_least=False, note=note
    )
