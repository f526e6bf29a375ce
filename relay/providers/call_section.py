"""Calls and URL suffixes as they are written in a profile file."""

from __future__ import annotations

import re
from typing import Final

from relay.providers.call import Call
from relay.providers.profile import Parameter
from relay.providers.table import Table

METHODS: Final = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE"))
_PATTERN: Final = re.compile(
    r"/(?:(?:[A-Za-z0-9._~:@-]|\*{1,2}|\{[a-z][a-z0-9_]*\})+/)*(?:[A-Za-z0-9._~:@-]|\*{1,2}|\{[a-z][a-z0-9_]*\})+\Z"
)
_SUFFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)+\Z")
_NAMED: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def calls(table: Table, key: str, parameters: tuple[Parameter, ...]) -> tuple[Call, ...]:
    """A list such as `["POST /v1/jobs", "GET /v1/jobs/*"]`."""
    required = {parameter.name for parameter in parameters if parameter.required}
    found = []
    for text in table.strings(key):
        method, _, pattern = text.partition(" ")
        names = _NAMED.findall(pattern)
        if method not in METHODS or not _PATTERN.match(pattern):
            table.problem(key, f"{text!r}: expected a method and a path, such as POST /v1/jobs or GET /v1/jobs/*")
        elif not set(names) <= required or len(set(names)) < len(names):
            table.problem(key, f"{text!r}: expected in braces required parameters only, and each once")
        else:
            found.append(Call(method, pattern))
    return tuple(found)


def suffix(table: Table, key: str) -> str:
    """What is put behind a URL, such as `/status`; may be missing."""
    text = table.string(key, "")
    if text and not _SUFFIX.match(text):
        table.problem(key, "expected a path such as /status, which is put behind the job's URL")
    return text
