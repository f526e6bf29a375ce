"""Putting a member into a JSON object by splicing its bytes: every other byte stays, also odd spacing, big numbers and
names that occur twice. Nothing here builds the tree of a document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from relay.jsontext import SMALL_BYTES, Selector
from relay.providers.submit import Existing

_BLANK: Final = rb"[ \t\r\n]*+"
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_MEMBER: Final = re.compile(_BLANK + b"(" + _STRING + b")" + _BLANK + b":" + _BLANK, re.DOTALL)
_TO_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+([\[\]{}])", re.DOTALL)
_SCALAR: Final = re.compile(_STRING + rb"|[^,\]}\s]++", re.DOTALL)
_SPACE: Final = re.compile(_BLANK)
_DOCUMENT: Final = msgspec.json.Decoder(msgspec.Raw)


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a request cannot be sent on, and the place that is to blame.

    `reason` is `not_a_json_object`, `in_the_way` (something else than an object stands on the way to the place),
    `taken` (the caller's own value stands there), `refused` (the profile does not let it through) or `no_such_field`.
    """

    reason: str
    at: str


class UnfitError(Exception):
    """Carries an Unfit out of the walk."""

    def __init__(self, reason: str, at: Sequence[str]) -> None:
        super().__init__(reason)
        self.unfit = Unfit(reason, ".".join(at))


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: bytes


def put_member(body: bytes, at: Sequence[str], value: Any, existing: Existing, own_url: str = "") -> bytes:
    """`body`, a JSON object, with `value` at the place `at`; objects on the way there are made if missing.

    A null counts as missing. Where a name occurs twice, every one is treated alike. `existing` says what becomes of
    another value that is there; one that holds a URL beginning with `own_url` is Relay's own and always replaced.
    Raises UnfitError.
    """
    start = object_start(body)
    if start is None:
        raise UnfitError("not_a_json_object", at)
    text = written(value).encode()
    if len(body) > SMALL_BYTES and not Selector([(at[0],)]).select(body):
        edits = [_added(body, start, at, text)]  # a walk over a large body is saved where there is nothing to find
    else:
        edits = _edits(body, start, tuple(at), 0, text, existing, own_url)
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        body = body[: edit.start] + edit.text + body[edit.end :]
    return body


def written(value: Any) -> str:
    """A value as JSON text without spaces."""
    return json.dumps(value, separators=(",", ":"))


def object_start(body: bytes) -> int | None:
    """Where the object opens that is the whole of `body`; None if `body` is anything else."""
    space = _SPACE.match(body)
    start = 0 if space is None else space.end()
    if body[start : start + 1] != b"{":
        return None
    try:
        _DOCUMENT.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    return start


def _edits(
    body: bytes, start: int, at: tuple[str, ...], depth: int, value: bytes, existing: Existing, own_url: str
) -> list[_Edit]:
    last = depth == len(at) - 1
    found = list(_values(body, start, at[depth]))
    if not found:
        return [_added(body, start, at[depth:], value)]
    edits: list[_Edit] = []
    for begin, end in found:
        old = body[begin:end]
        if old == b"null":
            edits.append(_Edit(begin, end, _wrapped(at[depth + 1 :], value)))
        elif last:
            edits += _over(begin, end, old, value, existing, own_url, at)
        elif old.startswith(b"{"):
            edits += _edits(body, begin, at, depth + 1, value, existing, own_url)
        else:
            raise UnfitError("in_the_way", at[: depth + 1])
    return edits


def _added(body: bytes, start: int, names: Sequence[str], value: bytes) -> _Edit:
    """A first member for the object that opens at `start`."""
    after_brace = _SPACE.match(body, start + 1)
    empty = after_brace is not None and body[after_brace.end() : after_brace.end() + 1] == b"}"
    text = json.dumps(names[0]).encode() + b":" + _wrapped(names[1:], value)
    return _Edit(start + 1, start + 1, text if empty else text + b",")


def _over(
    begin: int, end: int, old: bytes, value: bytes, existing: Existing, own_url: str, at: tuple[str, ...]
) -> list[_Edit]:
    """What to do where a value of the caller's stands already."""
    if same_json(old, value):
        return []
    if existing == "replace" or (own_url and holds_text(old, own_url)):
        return [_Edit(begin, end, value)]
    if existing == "refuse":
        raise UnfitError("taken", at)
    return []


def _wrapped(names: Sequence[str], value: bytes) -> bytes:
    opening = b"".join(b"{" + json.dumps(name).encode() + b":" for name in names)
    return opening + value + b"}" * len(names)


def _values(body: bytes, start: int, name: str) -> Iterator[tuple[int, int]]:
    """Where the values of the members called `name` stand in the object that opens at `start`. The text is valid."""
    position = start + 1
    while (named := _MEMBER.match(body, position)) is not None:
        begin = named.end()
        end = _end_of_value(body, begin)
        if _is_name(named[1], name):
            yield begin, end
        space = _SPACE.match(body, end)
        comma = end if space is None else space.end()
        if body[comma : comma + 1] != b",":
            return
        position = comma + 1


def _end_of_value(body: bytes, begin: int) -> int:
    if body[begin : begin + 1] not in (b"{", b"["):
        scalar = _SCALAR.match(body, begin)
        return begin if scalar is None else scalar.end()
    depth, position = 0, begin
    while (bracket := _TO_BRACKET.match(body, position)) is not None:
        depth += 1 if bracket[1] in b"[{" else -1
        position = bracket.end()
        if depth == 0:
            break
    return position


def _is_name(text: bytes, name: str) -> bool:
    if b"\\" not in text:
        return text[1:-1] == name.encode()
    try:
        return bool(json.loads(text) == name)
    except ValueError:  # broken UTF-8
        return False


def same_json(one: bytes, other: bytes) -> bool:
    """Whether two JSON texts say the same."""
    try:
        # Written anew, because in Python 1 equals true.
        return one == other or _anew(one) == _anew(other)
    except (ValueError, RecursionError):
        return False


def _anew(text: bytes) -> str:
    return json.dumps(json.loads(text), sort_keys=True)


def holds_text(text: bytes, beginning: str) -> bool:
    """Whether a JSON text is or holds a string that begins so."""
    try:
        waiting: list[Any] = [json.loads(text)]
    except (ValueError, RecursionError):
        return False
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and value.startswith(beginning):
            return True
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value
    return False
