"""A payload as text for a person: the stored bytes, with line breaks put in where they are small JSON.

Numbers, the order of names and every character inside strings stay as they are: nothing is parsed into values.
"""

from __future__ import annotations

import re
from typing import Final

from relay.frozen import frozen
from relay.jsontext import is_strict_json
from relay.model import Result

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')
DEEPEST: Final = 60
LONGEST_LINE: Final = 5000


@frozen(kw_only=True)
class Shown:
    """What a page says of a payload."""

    text: str  # the stored bytes as text
    pretty: str | None  # with line breaks; None where that cannot be
    whole: bool  # or only the beginning
    size: int


def shown_payload(result: Result | None, beginning: bytes | None, most: int) -> Shown | None:
    """The payload of a result, of which the first `most` bytes were read at most; None when there is none."""
    if result is None or beginning is None:
        return None
    return shown_bytes(beginning, result.size_bytes or 0, most)


def shown_bytes(beginning: bytes, size: int, most: int) -> Shown:
    """The first bytes, `most` at most, of `size`."""
    whole = size <= most and size == len(beginning)
    text = beginning.decode("utf-8", "replace")
    broken = indented(text) if whole and is_strict_json(beginning) else None
    return Shown(text=_wrapped(text), pretty=broken, whole=whole, size=size)


def _wrapped(text: str) -> str:
    """A line of megabytes is broken somewhere: browsers do not like it."""
    return "\n".join(
        line[start : start + LONGEST_LINE]
        for line in text.split("\n")
        for start in range(0, max(1, len(line)), LONGEST_LINE)
    )


def indented(text: str) -> str:
    """JSON with a line for each member. The input must be JSON."""
    parts: list[str] = []
    depth, before = 0, ""
    for token in _TOKEN.findall(text):
        if token in "}]":
            depth -= 1
            parts.append(token if before in "{[" else _line(depth) + token)
        elif before and before in "{[,":
            parts.append(_line(depth) + token)
        else:
            parts.append(token)
        if token in "{[":
            depth += 1
        elif token == ":":
            parts.append(" ")
        before = token
    return "".join(parts)


def _line(depth: int) -> str:
    return "\n" + "  " * min(depth, DEEPEST)
