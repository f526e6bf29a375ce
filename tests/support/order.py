"""Which tests come first when several processes share them: each begins with its part and then takes from others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]
TOGETHER: Final = "browser"  # the room whose files share what takes long to start
LONG: Final = ("browser", "crash", "demo", "deploy", "journeys")  # rooms in which tests start programs


def in_parts(items: Sequence[pytest.Item], parts: int) -> list[pytest.Item]:
    """As many parts of the same size, each of which begins with its share of the long files and goes on with others."""
    files = [list(group) for _, group in groupby(items, key=_unit)]
    long = [file for file in files if _room(file[0]) in LONG]
    short = iter([item for file in files if _room(file[0]) not in LONG for item in file])
    ordered: list[pytest.Item] = []
    for part in range(parts):
        ordered += [item for file in long[part::parts] for item in file]
        goal = len(items) * (part + 1) // parts
        while len(ordered) < goal and (item := next(short, None)) is not None:
            ordered.append(item)
    return [*ordered, *short]


def _unit(item: pytest.Item) -> Path:
    """What one process begins with as a whole: a file, or a room."""
    return TESTS / TOGETHER if _room(item) == TOGETHER else item.path


def _room(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]
