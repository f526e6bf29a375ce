"""Medians, percentiles and verdicts, and the table that shows them."""

from __future__ import annotations

import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson
import psutil

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One figure beside its floor and its target."""

    name: str
    measured: float
    unit: str
    target: float
    at_least: bool  # whether the judged figure must reach the target, or stay under it
    floor: float | None = None
    ratio: float | None = None
    aim: float | None = None
    judged: float  # what is held against the target
    note: str = ""

    @property
    def met(self) -> bool:
        return self.judged >= self.target if self.at_least else self.judged <= self.target


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is at least as large as `share` of all; infinite for none."""
    if not values:
        return float("inf")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def interleave(rounds: int, *runs: Callable[[], T]) -> list[list[T]]:
    """Call every run once per round, in turning order, so that drift of the machine falls on all alike."""
    results: list[list[T]] = [[] for _ in runs]
    for number in range(rounds):
        order = range(len(runs)) if number % 2 == 0 else reversed(range(len(runs)))
        for index in order:
            results[index].append(runs[index]())
    return results


def table(lines: Sequence[Line]) -> str:
    """The figures as aligned columns."""
    head = ["", "relay", "floor", "ratio", "target", "verdict", ""]
    rows = [head, *(_row(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(line: Line) -> list[str]:
    target = f"{'>=' if line.at_least else '<='} {line.target:g}"
    if line.aim is not None:
        target += f" (aim {line.aim:g})"
    return [
        line.name,
        f"{line.measured:,.4g} {line.unit}" if line.measured < 1000 else f"{line.measured:,.0f} {line.unit}",
        "" if line.floor is None else f"{line.floor:,.4g}" if line.floor < 1000 else f"{line.floor:,.0f}",
        "" if line.ratio is None else f"{line.ratio:.2f}",
        target,
        "ok" if line.met else "MISSED",
        line.note,
    ]


def machine(directory: Path) -> dict[str, Any]:
    """Where the figures come from."""
    partitions = [p for p in psutil.disk_partitions(all=True) if directory.is_relative_to(p.mountpoint)]
    nearest = max(partitions, key=lambda partition: len(partition.mountpoint), default=None)
    return {
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
        "filesystem": nearest.fstype if nearest else "unknown",
        "fsync_ms": round(fsync_seconds(directory) * 1000, 3),
    }


def fsync_seconds(directory: Path) -> float:
    """Median time of appending 4 KiB and `fdatasync`: what a durable answer cannot be faster than."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(50):
            os.write(file.fileno(), b"x" * 4096)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return median(times)


def as_json(lines: Sequence[Line], where: dict[str, Any]) -> bytes:
    """Everything, for a file."""
    return orjson.dumps(
        {"machine": where, "lines": [{**asdict(line), "met": line.met} for line in lines]},
        option=orjson.OPT_INDENT_2,
    )
