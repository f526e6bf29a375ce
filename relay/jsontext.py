"""JSON as text: is it what every strict parser accepts, and where in it does a value stand.

Payloads are kept and handed on byte for byte, so nothing here builds the tree of a body or writes one anew. Reading is
tolerant: values are found by the grammar of RFC 8259, whatever the size of numbers, and also in bodies with a byte
order mark, `NaN`, `Infinity`, lone surrogates or broken UTF-8. Of duplicate names the last one counts, as with the
parsers that subscribers use. Nothing here recurses with the nesting of its input.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import orjson

Steps = tuple[str | int, ...]
Value = Any  # a memoryview of JSON text, or what such text was read as: str, int, bool, None, list, dict
Level = Callable[["_Node", memoryview], Mapping[str | int, memoryview]]

# The envelope adds two levels, and serde_json, the strictest of the common parsers, stops at 128.
MAX_NESTING: Final = 120
# Bodies that are nested too deeply for the C parser are walked in Python; RFC 8259 §9 allows limits, and this one
# keeps the walk to about a tenth of a second.
MAX_DEEP_BYTES: Final = 131_072

SMALL_BYTES: Final = 65_536
NOT_JSON: Final = object()
_NOTHING: Final = object()
_BOM: Final = b"\xef\xbb\xbf"
# The look-behinds come last in these patterns, so that the search for their literal beginnings stays a fast one.
_NAN: Final = re.compile(rb"NaN(?<=[\[,:\s]NaN)(?=[\s,\]}])")
_INFINITY: Final = re.compile(rb"Infinity(?<=[\[,:\s-]Infinity)(?=[\s,\]}])")
_LONE_SURROGATE: Final = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|[c-fC-F][0-9a-fA-F]{2}(?<!\\u[dD][89abAB]..\\u[dD]...))"
)
_WHOLE_ESCAPES: Final = re.compile(rb"(?:[^\\]++|\\u[0-9a-fA-F]{4}|\\[^u])*+")
_EMPTY: Final = re.compile(rb"null|false|-?0(?:\.0+)?|\"\"|\[\s*\]|\{\s*\}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_TOKEN: Final = re.compile(
    rb'[ \t\r\n]*+(?:("(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+")|([\[\]{},:])|'
    rb"(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+|true|false|null|NaN|-?Infinity))"
)
_BLANK: Final = re.compile(rb"[ \t\r\n]*+")
_NOT_STRUCTURE: Final = bytes(sorted(set(range(256)) - set(b'[]{}"')))


def is_strict_json(data: bytes) -> bool:
    """Whether every strict parser takes `data`, also two levels deep inside another document.

    That is RFC 8259 without what parsers disagree about: byte order marks, invalid UTF-8, lone surrogates, `NaN`,
    numbers beyond a double (`1e400`, integers of more than 308 digits) and nesting below `MAX_NESTING`. It builds
    the tree to know, so ask it of bodies of a few megabytes at most.
    """
    return read_strict(data) is not NOT_JSON


def read_strict(data: bytes) -> Any:
    """The value of what `is_strict_json`, NOT_JSON of anything else."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return NOT_JSON
    return value if data.count(b"[") + data.count(b"{") <= MAX_NESTING or _is_shallow(data) else NOT_JSON


def _is_shallow(data: bytes) -> bool:
    """Whether valid JSON is nested at most `MAX_NESTING` deep; a few passes in C instead of a walk in Python."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = data.translate(None, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in brackets:
        brackets = re.sub(rb'"[^"]*"', b"", brackets)
    for _ in range(MAX_NESTING):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return True
    return False


class Selector:
    """Finds the values of several paths in one body, one pass per level of the paths.

    Make it once and keep it: it compiles a parser that skips everything else without decoding it. Names in paths may
    not contain quotes, backslashes or control characters.
    """

    def __init__(self, paths: Iterable[Steps]) -> None:
        self._root = _Node.tree(paths)

    def select(self, data: bytes) -> Mapping[Steps, memoryview] | None:
        """The JSON text of every path that leads somewhere, as views of `data`; None when `data` is not JSON."""
        if data.startswith(_BOM):
            data = data[len(_BOM) :]
        try:
            return self._select(data, _parsed_level)
        except RecursionError:
            return self._select_deep(data)
        except msgspec.DecodeError:
            pass
        try:
            return self._select(_mended(data), _parsed_level)
        except (RecursionError, msgspec.DecodeError):
            return self._select_deep(data)

    def read(self, data: bytes) -> Mapping[Steps, Value] | None:
        """Like `select`, for `text_of` and `is_empty`: a small body that is plain JSON is read by a quicker way."""
        try:
            quick = self._read_tree(orjson.loads(data)) if len(data) <= SMALL_BYTES else None
        except orjson.JSONDecodeError:
            quick = None
        return self.select(data) if quick is None else quick

    def _read_tree(self, document: object) -> Mapping[Steps, Value] | None:
        """None when a wanted value is a fraction or beyond 64 bits: how it was written cannot be told any more."""
        found: dict[Steps, Value] = {}
        waiting: list[tuple[_Node, object]] = [(self._root, document)]
        while waiting:
            node, tree = waiting.pop()
            of_object = tree.get if type(tree) is dict else None
            for step, child in node.children.items():
                value = _member(tree, step) if of_object is None else of_object(step, _NOTHING)
                if value is _NOTHING:
                    continue
                if child.wanted:
                    if type(value) is float:
                        return None
                    found[child.steps] = value
                if child.children:
                    waiting.append((child, value))
        return found

    def _select_deep(self, data: bytes) -> Mapping[Steps, memoryview] | None:
        if len(data) > MAX_DEEP_BYTES:
            return None
        try:
            return self._select(data, _walked_level)
        except _NotJsonError:
            return None

    def _select(self, data: bytes, level: Level) -> Mapping[Steps, memoryview]:
        found: dict[Steps, memoryview] = {}
        waiting: list[tuple[Steps, _Node, memoryview]] = [((), self._root, memoryview(data))]
        while waiting:
            prefix, node, view = waiting.pop()
            for step, value in level(node, view).items():
                steps, child = (*prefix, step), node.children[step]
                if child.wanted:
                    found[steps] = value
                if child.children:
                    waiting.append((steps, child, value))
        return found


def find(data: bytes, steps: Steps) -> bytes | None:
    """The JSON text at one path, or None. For many paths or many bodies keep a `Selector`."""
    found = Selector([steps]).select(data)
    value = None if found is None else found.get(steps)
    return None if value is None else bytes(value)


def text_of(value: Value, limit: int) -> str | None:
    """A JSON string decoded or a JSON number as written, at most `limit` characters; None for anything else.

    What cannot be stored as text (lone surrogates, broken UTF-8) becomes U+FFFD.
    """
    if isinstance(value, str):
        return value[:limit]
    if not isinstance(value, memoryview):
        return str(value)[:limit] if type(value) is int else None
    first = value[0]
    if first in b"-0123456789":
        return bytes(value[:limit]).decode("ascii")
    if first != ord('"'):
        return None
    inside = bytes(value[1 : min(len(value) - 1, 6 * limit + 1)])  # `\u00e9` is the longest way to write a character
    if b"\\" not in inside:
        return inside.decode("utf-8", "replace")[:limit]
    whole = _WHOLE_ESCAPES.match(inside)
    decoded = json.loads(f'"{whole[0].decode("utf-8", "replace")}"', strict=False) if whole else ""
    return _SURROGATE.sub("\ufffd", str(decoded))[:limit]


def is_empty(value: Value) -> bool:
    """Whether a JSON value says "nothing": null, false, zero, or an empty string, list or object."""
    return _EMPTY.fullmatch(value) is not None if isinstance(value, memoryview) else not value


def opening(value: Value) -> bytes:
    """The first byte of a JSON value, which tells its type: `{`, `[`, `"` or another."""
    if isinstance(value, memoryview):
        return bytes(value[:1])
    if isinstance(value, str):
        return b'"'
    return b"{" if isinstance(value, dict) else b"[" if isinstance(value, list) else b"-"


def _member(tree: object, step: str | int) -> Any:
    if isinstance(tree, dict):
        return tree.get(step, _NOTHING)
    if isinstance(tree, list) and isinstance(step, int) and step < len(tree):
        return tree[step]
    return _NOTHING


class _NotJsonError(Exception):
    """The body does not follow the grammar."""


class _Node:
    """One place in the tree of wanted paths, with parsers for the object or the list that stands there."""

    def __init__(self, steps: Steps = ()) -> None:
        self.steps = steps
        self.wanted = False
        self.children: dict[str | int, _Node] = {}
        self.parsers: dict[int, tuple[msgspec.json.Decoder[Any], tuple[tuple[int, str | int], ...]]] = {}

    @classmethod
    def tree(cls, paths: Iterable[Steps]) -> _Node:
        root = cls()
        nodes = [root]
        for steps in paths:
            node = root
            for step in steps:
                if step not in node.children:
                    node.children[step] = cls((*node.steps, step))
                    nodes.append(node.children[step])
                node = node.children[step]
            node.wanted = True
        for node in nodes:
            node._compile()
        return root

    def _compile(self) -> None:
        names = [step for step in self.children if isinstance(step, str)]
        indexes = [step for step in self.children if isinstance(step, int)]
        if names or not indexes:
            rename = {f"f{number}": name for number, name in enumerate(names)}
            self.parsers[ord("{")] = _parser(len(names), rename), tuple(enumerate(names))
        if indexes:
            places = tuple((index, index) for index in indexes)
            self.parsers[ord("[")] = _parser(max(indexes) + 1, None), places


_ABSENT: Final = msgspec.Raw()


def _parser(count: int, rename: dict[str, str] | None) -> msgspec.json.Decoder[Any]:
    """A parser that keeps `count` members (by name, or the first ones of a list) as raw text and skips the others."""
    fields = [(f"f{number}", msgspec.Raw, _ABSENT) for number in range(count)]
    return msgspec.json.Decoder(msgspec.defstruct("Level", fields, rename=rename, array_like=rename is None, gc=False))


_ANYTHING: Final = msgspec.json.Decoder(msgspec.Raw)


def _parsed_level(node: _Node, view: memoryview) -> Mapping[str | int, memoryview]:
    """The wanted members, by msgspec. Raises msgspec.DecodeError or RecursionError."""
    start = _BLANK.match(view)
    first = view[start.end()] if start is not None and start.end() < len(view) else 0
    if first not in node.parsers:
        _ANYTHING.decode(view)
        return {}
    parser, places = node.parsers[first]
    level = msgspec.structs.astuple(parser.decode(view))
    return {step: memoryview(level[place]) for place, step in places if level[place] is not _ABSENT}


def _walked_level(node: _Node, view: memoryview) -> Mapping[str | int, memoryview]:
    """The same without recursion and without msgspec. Raises _NotJsonError."""
    return {step: view[start:end] for step, start, end in _members(view) if step in node.children}


def _mended(data: bytes) -> bytes:
    """`data` with what msgspec refuses and real providers send put into words that it takes.

    Text inside strings that looks like a bare `NaN` member is changed too; only what is read out of this copy sees it.
    """
    return _LONE_SURROGATE.sub(rb"\\ufffd", _INFINITY.sub(b"0", _NAN.sub(b"0", data)))


def _members(view: memoryview) -> Iterator[tuple[str | int, int, int]]:
    """Name or index, start and end of every member of the outermost object or list."""
    walk = _Walk()
    position = 0
    while walk.expected:
        token = _TOKEN.match(view, position)
        if token is None:
            raise _NotJsonError
        position = token.end()
        if walk.take(token):
            yield walk.step, walk.begin, position
    rest = _BLANK.match(view, position)
    if rest is None or rest.end() != len(view):
        raise _NotJsonError


class _Walk:
    """A stack machine over JSON's tokens.

    `expected` holds what may come next, in JSON's own characters, with `v` for a value and `k` for a name; it is
    empty when the document is complete.
    """

    def __init__(self) -> None:
        self.expected = "v"
        self.closers: list[str] = []
        self.step: str | int = 0
        self.begin = 0

    def take(self, token: re.Match[bytes]) -> bool:
        """Move on by one token; true when it ended a member of the outermost object or list."""
        mark = token[2].decode() if token[2] else "k" if token[1] and "k" in self.expected else "v"
        if ("v" if mark in "[{" else mark) not in self.expected:
            raise _NotJsonError
        if mark in "v[{" and len(self.closers) == 1:
            self.begin = token.start(token.lastindex or 0)
        if mark in "v]}":
            return self._end_value(closes=mark != "v")
        if mark in "[{":
            self._open(mark)
        elif mark == "k":
            self._name(token[1])
        else:
            self._separate(mark)
        return False

    def _end_value(self, *, closes: bool) -> bool:
        if closes:
            self.closers.pop()
        self.expected = "," + self.closers[-1] if self.closers else ""
        return len(self.closers) == 1

    def _open(self, mark: str) -> None:
        self.closers.append("]" if mark == "[" else "}")
        self.expected = "v]" if mark == "[" else "k}"

    def _name(self, string: bytes) -> None:
        self.expected = ":"
        if len(self.closers) == 1:
            self.step = text_of(memoryview(string), len(string)) or ""

    def _separate(self, mark: str) -> None:
        in_list = self.closers[-1] == "]"
        self.expected = "v" if mark == ":" or in_list else "k"
        if mark == "," and len(self.closers) == 1 and isinstance(self.step, int):
            self.step += 1
