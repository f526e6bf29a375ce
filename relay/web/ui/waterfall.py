"""One job's life as a picture: rows of marks along one axis of time.

A job's moments are milliseconds apart and its retries hours. So the axis is squeezed: each pause between two moments
takes a width by its logarithm, nothing falls together and nothing is far away. The ruler says what is when.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Final

from relay.frozen import frozen
from relay.web.ui.words import span

LEFT, RIGHT, WIDTH = 150, 960, 1000
ROW: Final = 28
TOP: Final = 34
LEAST_BAR: Final = 5.0
TICK_APART: Final = 70.0
LETTER: Final = 6.5


@frozen(kw_only=True)
class Mark:
    """One thing that happened, or will."""

    start: int  # instants
    end: int
    tone: str
    label: str  # short, beside the mark
    title: str  # whole, for who points at it or cannot see it
    hollow: bool = False  # not yet


@frozen(kw_only=True)
class Lane:
    """One row."""

    name: str
    marks: Sequence[Mark]


@frozen(kw_only=True)
class Placed:
    """A mark with its place."""

    mark: Mark
    x: float
    width: float


@frozen(kw_only=True)
class Row:
    """A row with its place."""

    name: str
    y: int
    marks: list[Placed]


@frozen(kw_only=True)
class Tick:
    """A place on the ruler."""

    x: float
    label: str


@frozen(kw_only=True)
class Picture:
    """What the template draws."""

    rows: list[Row]
    ticks: list[Tick]
    now: float | None
    expiry: float | None
    height: int


class Axis:
    """Instants to places."""

    def __init__(self, instants: Iterable[int]) -> None:
        self._points = sorted(set(instants))
        gaps = [math.log1p((b - a) / 20) for a, b in zip(self._points, self._points[1:], strict=False)]
        total = sum(gaps) or 1.0
        self._places = [float(LEFT)]
        for gap in gaps:
            self._places.append(self._places[-1] + (RIGHT - LEFT) * gap / total)

    def place(self, instant: int) -> float:
        """Where one of the given instants is."""
        return round(self._places[self._points.index(instant)], 1)

    def ticks(self) -> list[Tick]:
        """Offsets from the beginning, as many as there is room for."""
        made: list[Tick] = []
        for point, place in zip(self._points, self._places, strict=True):
            label = "0" if point == self._points[0] else f"+{span((point - self._points[0]) / 1000)}"
            if not made or (place - made[-1].x >= TICK_APART and label != made[-1].label):
                made.append(Tick(x=round(place, 1), label=label))
        return made


def picture(lanes: Sequence[Lane], *, now: int | None, expiry: int | None) -> Picture:
    """Lay everything out. `now` is drawn for a job that is not over, `expiry` as a line of its own."""
    marks = [mark for lane in lanes for mark in lane.marks]
    extra = [instant for instant in (now, expiry) if instant is not None]
    axis = Axis([*(mark.start for mark in marks), *(mark.end for mark in marks), *extra])
    rows = [
        Row(name=lane.name, y=TOP + place * ROW, marks=_readable([_placed(mark, axis) for mark in lane.marks]))
        for place, lane in enumerate(lanes)
    ]
    return Picture(
        rows=rows,
        ticks=axis.ticks(),
        now=None if now is None else axis.place(now),
        expiry=None if expiry is None else axis.place(expiry),
        height=TOP + len(lanes) * ROW + 20,
    )


def _readable(marks: list[Placed]) -> list[Placed]:
    """Without the labels that the next mark would be drawn over."""
    made: list[Placed] = []
    for placed, following in zip_longest(marks, marks[1:]):
        end = placed.x + placed.width + 4 + LETTER * len(placed.mark.label)
        hidden = end > (WIDTH if following is None else following.x)
        made.append(replace(placed, mark=replace(placed.mark, label="")) if hidden else placed)
    return made


def _placed(mark: Mark, axis: Axis) -> Placed:
    x = axis.place(mark.start)
    return Placed(mark=mark, x=x, width=max(LEAST_BAR, round(axis.place(mark.end) - x, 1)))
