"""A call that a client may make: a method and a pattern of paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

_PIECE: Final = re.compile(r"(\*\*|\*|\{[a-z][a-z0-9_]*\})")


@dataclass(frozen=True)
class Call:
    """A method and a path. `*` is one segment, `**` one or more, `{name}` the webhook's parameter of that name."""

    method: str
    pattern: str

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile("".join(_expression_of(piece) for piece in _PIECE.split(self.pattern)) + r"\Z")

    def fits(self, method: str, path: str, parameters: Mapping[str, str]) -> bool:
        """Whether a request is such a call."""
        match = self._expression.match(path) if method == self.method else None
        return match is not None and all(parameters.get(name) == part for name, part in match.groupdict().items())


def _expression_of(piece: str) -> str:
    if piece == "**":
        return r"[^/]+(?:/[^/]+)*"
    if piece == "*":
        return r"[^/]+"
    return f"(?P<{piece[1:-1]}>[^/]+)" if piece.startswith("{") else re.escape(piece)
