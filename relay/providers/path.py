"""Where a value stands in a message.

    data.id         member `id` of member `data` of the JSON body
    items[0].id     member `id` of the first element of the list `items`
    header:X-Event  a request header
    query:job       a query parameter

A path knows nothing of JSON itself: `relay.jsontext` follows its steps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

_TOKEN: Final = re.compile(r"[A-Za-z0-9_$@:/-]+\Z")
_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_SEGMENT: Final = re.compile(r"([^.\[\]]+)((?:\[\d{1,6}\])*)\Z")

MAX_STEPS: Final = 16


@dataclass(frozen=True, slots=True)
class Path:
    """One parsed path; `steps` are member names and list indexes, or the one name of a header or query parameter."""

    source: Literal["body", "header", "query"]
    steps: tuple[str | int, ...]

    @classmethod
    def parse(cls, text: str) -> Path:
        """Read a path. Raises ValueError saying what is wrong."""
        scheme, colon, name = text.partition(":")
        if colon and scheme in ("header", "query"):
            if not _FIELD_NAME.match(name):
                raise ValueError(f"{text!r} needs a {scheme} name after the colon")
            return cls("header", (name.lower(),)) if scheme == "header" else cls("query", (name,))
        steps = tuple(step for segment in text.split(".") for step in _steps(text, segment))
        if len(steps) > MAX_STEPS:
            raise ValueError(f"{text!r} has more than {MAX_STEPS} steps")
        return cls("body", steps)

    def __str__(self) -> str:
        if self.source != "body":
            return f"{self.source}:{self.steps[0]}"
        return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.steps).removeprefix(".")


Paths = tuple[Path, ...]


def _steps(text: str, segment: str) -> list[str | int]:
    match = _SEGMENT.match(segment)
    if match is None or not _TOKEN.match(match[1]):
        raise ValueError(f"{text!r} is no path; write for example data.id, items[0].id, header:X-Id or query:id")
    return [match[1], *(int(index) for index in match[2][1:-1].split("][") if index)]
