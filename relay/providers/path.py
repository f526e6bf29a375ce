"""Where a value stands in a message.

    data.id                      member `id` of member `data` of the JSON body
    items[0].id                  member `id` of the first element of the list `items`
    _links[rel=results].href     member `href` of the first element of `_links` whose `rel` is `results`
    header:X-Event               a header
    query:job                    a query parameter

A path knows nothing of JSON itself: `relay.jsontext` follows its steps, and `relay.providers.message` picks elements.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

_TOKEN: Final = re.compile(r"[A-Za-z0-9_$@:/-]+\Z")
_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_SEGMENT: Final = re.compile(r"([^.\[\]]+)((?:\[\d{1,6}\])*)\Z")
_PICK: Final = re.compile(r"(.+)\[([A-Za-z0-9_$@:/-]+)=([A-Za-z0-9_$@:/-]+)\](?:\.(.+))?\Z")

MAX_STEPS: Final = 16

Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Path:
    """One parsed path; `steps` are member names and list indexes, or the one name of a header or query parameter.

    With `pick`, `steps` lead to a list, `pick` is name and text of the member that tells its wanted element, and `rest`
    leads on from that element.
    """

    source: Literal["body", "header", "query"]
    steps: Steps
    pick: tuple[str, str] | None = None
    rest: Steps = ()

    @classmethod
    def parse(cls, text: str) -> Path:
        """Read a path. Raises ValueError saying what is wrong."""
        scheme, colon, name = text.partition(":")
        if colon and scheme in ("header", "query"):
            if not _FIELD_NAME.match(name):
                raise ValueError(f"{text!r} needs a {scheme} name after the colon")
            return cls("header", (name.lower(),)) if scheme == "header" else cls("query", (name,))
        picked = _PICK.match(text)
        if picked is None:
            return cls("body", _steps(text, text))
        rest = _steps(text, picked[4]) if picked[4] else ()
        return cls("body", _steps(text, picked[1]), (picked[2], picked[3]), rest)

    def __str__(self) -> str:
        if self.source != "body":
            return f"{self.source}:{self.steps[0]}"
        if self.pick is None:
            return _dotted(self.steps)
        rest = f".{_dotted(self.rest)}" if self.rest else ""
        return f"{_dotted(self.steps)}[{self.pick[0]}={self.pick[1]}]{rest}"


Paths = tuple[Path, ...]


def _dotted(steps: Steps) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def _steps(text: str, part: str) -> Steps:
    steps = tuple(step for segment in part.split(".") for step in _segment(text, segment))
    if len(steps) > MAX_STEPS:
        raise ValueError(f"{text!r} has more than {MAX_STEPS} steps")
    return steps


def _segment(text: str, segment: str) -> list[str | int]:
    match = _SEGMENT.match(segment)
    if match is None or not _TOKEN.match(match[1]):
        raise ValueError(f"{text!r} is no path; write for example data.id, items[0].id, header:X-Id or query:id")
    return [match[1], *(int(index) for index in match[2][1:-1].split("][") if index)]
