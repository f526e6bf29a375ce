"""One message of a provider, read by the paths of a profile. Whatever comes out can be stored and shown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from relay import jsontext
from relay.clock import Instant, parse_rfc3339
from relay.jsontext import Steps, Value
from relay.providers.callback import MarkerType
from relay.providers.fetch import Condition, fold_status
from relay.providers.path import Path, Paths

MAX_ID_CHARS: Final = 256
MAX_URL_CHARS: Final = 8192
MAX_WORD_CHARS: Final = 200
MAX_ERROR_CHARS: Final = 500
MAX_PICK_BYTES: Final = 65_536
UNSTORABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_ID: Final = re.compile(r"[\x21-\x7e]{1,256}\Z")
_ABSOLUTE: Final = re.compile(r"https?://", re.IGNORECASE)
_LEADS_ON: Final = re.compile(r"https?://|/(?!/)", re.IGNORECASE)
_UNIX_TIME: Final = re.compile(r"[0-9]{9,14}(?:\.[0-9]{1,9})?\Z")
_OPENING: Final[Mapping[MarkerType, bytes]] = {"any": b"", "object": b"{", "array": b"[", "string": b'"'}
_NO_VALUE: Final = object()
_EARLIEST: Final = 946_684_800_000  # the year 2000
_LATEST: Final = 4_102_444_800_000  # the year 2100


class Message:
    """A message's values by path; of several paths the first that leads to a usable value wins."""

    def __init__(self, values: Mapping[Steps, Value], headers: Mapping[str, str], query: str) -> None:
        self._values = values
        self._headers = headers
        self._query = query

    def has(self, paths: Paths, marker: MarkerType) -> bool:
        """Whether something that is not empty and of the marker's type stands at one of the paths."""
        values = (self._value(path) for path in paths if path.source == "body")
        return any(
            value is not _NO_VALUE
            and jsontext.opening(value).startswith(_OPENING[marker])
            and not jsontext.is_empty(value)
            for value in values
        )

    def text(self, paths: Paths, limit: int) -> str | None:
        for path in paths:
            found: str | None
            if path.source == "body":
                value = self._values.get(path.steps) if path.pick is None else self._value(path)
                if type(value) is str:
                    found = value
                else:
                    found = None if value is _NO_VALUE or value is None else jsontext.text_of(value, limit)
            elif path.source == "header":
                found = header(self._headers, str(path.steps[0]))
            else:
                found = _query_value(self._query, str(path.steps[0]))
            if found:
                return found[:limit]
        return None

    def _value(self, path: Path) -> Value:
        value = self._values.get(path.steps, _NO_VALUE)
        return value if path.pick is None or value is _NO_VALUE else _picked(value, path.pick, path.rest)

    def holds(self, condition: Condition) -> bool:
        """Whether what the condition asks for stands there."""
        if condition.equals is None:
            return self.has((condition.path,), "any")
        word = self.word((condition.path,))
        return word is not None and fold_status(word) == fold_status(condition.equals)

    def holds_one(self, conditions: tuple[Condition, ...]) -> bool:
        """Whether one of them holds; of none at all, none does."""
        return any(self.holds(condition) for condition in conditions)

    def url(self, paths: Paths) -> str | None:
        """An absolute URL as sent, or None if there is none that could be stored. Whether it may be called is not
        said."""
        text = self.text(paths, MAX_URL_CHARS + 1)
        return text if text is not None and _ABSOLUTE.match(text) and is_storable_url(text) else None

    def place(self, paths: Paths) -> str | None:
        """The same, or such a path as leads on at the origin that the message came from: `/more?page=2`."""
        text = self.text(paths, MAX_URL_CHARS + 1)
        return text if text is not None and _LEADS_ON.match(text) and is_storable_url(text) else None

    def word(self, paths: Paths) -> str | None:
        """An event or a status, in a form that can be stored and shown."""
        text = self.text(paths, MAX_WORD_CHARS)
        return text if text is None or text.isalnum() else UNSTORABLE.sub(" ", text)

    def identifier(self, paths: Paths) -> str | None:
        """An id, or None if it is not one that could stand in a URL or a header."""
        return identifier(self.text(paths, MAX_ID_CHARS + 1))

    def error(self, paths: Paths) -> str | None:
        text = self.text(paths, MAX_ERROR_CHARS)
        return None if text is None else UNSTORABLE.sub(" ", text)

    def instant(self, paths: Paths) -> Instant | None:
        """A time in RFC 3339 with an offset, or in Unix seconds or milliseconds. Without an offset it is none."""
        text = self.text(paths, 40)
        if text is None:
            return None
        try:
            instant = _unix_instant(text) if _UNIX_TIME.match(text) else parse_rfc3339(text)
        except (ValueError, OverflowError):
            return None
        return instant if _EARLIEST <= instant <= _LATEST else None


def identifier(text: str | None) -> str | None:
    """`text` if it is at most 256 visible ASCII characters and no dot segment."""
    return text if text is not None and _ID.match(text) and text not in (".", "..") else None


def is_storable_url(url: str) -> bool:
    """Whether the text is short enough and has no control characters."""
    return len(url) <= MAX_URL_CHARS and not UNSTORABLE.search(url)


def _picked(value: Value, pick: tuple[str, str], rest: Steps) -> Value:
    """What `rest` leads to in the first element of a list whose member `pick[0]` is the text `pick[1]`."""
    if isinstance(value, memoryview):
        try:
            value = json.loads(bytes(value)) if len(value) <= MAX_PICK_BYTES else None
        except (ValueError, RecursionError):
            return _NO_VALUE
    if not isinstance(value, list):
        return _NO_VALUE
    name, text = pick
    found: Value = next((item for item in value if isinstance(item, dict) and item.get(name) == text), _NO_VALUE)
    for step in rest:
        if isinstance(found, dict):
            found = found.get(step, _NO_VALUE)
        elif isinstance(found, list) and isinstance(step, int) and step < len(found):
            found = found[step]
        else:
            return _NO_VALUE
    return found


def _unix_instant(text: str) -> Instant:
    number = float(text)
    return Instant(round(number if number >= 100_000_000_000 else number * 1000))


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header by its lower-case name; callers' mappings may or may not ignore case themselves."""
    value = headers.get(name)
    if value is not None:
        return value
    return next((value for key, value in headers.items() if key.lower() == name), None)


def _query_value(query: str, name: str) -> str | None:
    try:
        pairs = parse_qsl(query, max_num_fields=200)
    except ValueError:
        return None
    return next((value for key, value in pairs if key == name), None)
