"""Reading a content filter: every mistake is named by its place, and what comes of it is bounded in size and depth.

What the words of a filter mean is written in `relay.pipeline.filters`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from relay.frozen import frozen
from relay.pipeline.filters import MISSING, AllOf, AnyOf, Filter, Leaf, Node, Not, Step, Test

MAX_BYTES: Final = 16 * 1024
MAX_CONDITIONS: Final = 100
MAX_DEPTH: Final = 8  # of $and, $or and $not
MAX_LISTED: Final = 500  # values of one $in
MAX_STEPS: Final = 20
MAX_PATH: Final = 500

ENVELOPE: Final = ("type", "timestamp", "data")
DATA: Final = (
    "result_id", "job_id", "provider_job_id", "webhook_id", "webhook_name", "provider", "status", "partial", "error",
    "metadata", "content_type", "payload",
)  # fmt: skip
LOGICAL: Final = ("$and", "$or", "$not")
ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le,
}  # fmt: skip
OPERATORS: Final = ("$eq", "$neq", *ORDER, "$in", "$nin", "$startsWith", "$endsWith", "$exist")

_NAME: Final = re.compile(r"(?:[^.\\]|\\[.\\])+")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,6}")
_NOTHING_EQUALS: Final = object()


class FilterError(ValueError):
    """A filter that says nothing sensible. `keys` lead to the place from the filter's own top."""

    def __init__(self, keys: Sequence[str], detail: str) -> None:
        super().__init__(detail)
        self.keys = tuple(keys)
        self.detail = detail

    @property
    def place(self) -> str:
        """The place as people say it: `filter.data.metadata.tenant.$gt`."""
        return ".".join(("filter", *self.keys))


def compile_filter(given: Mapping[str, Any]) -> Filter:
    """A filter made ready. Raises FilterError, which names the place that is wrong."""
    try:
        size = len(orjson.dumps(given))
    except TypeError:  # nested beyond reason, or not JSON
        raise FilterError((), "is not a JSON object of reasonable depth") from None
    if size > MAX_BYTES:
        raise FilterError((), f"has {size} bytes as JSON; {MAX_BYTES} are allowed")
    compiler = _Compiler()
    return Filter(compiler.filter(given, (), 0), compiler.reads_payload)


class _Compiler:
    """Walks a filter and counts."""

    def __init__(self) -> None:
        self.reads_payload = False
        self._conditions = 0

    def filter(self, given: Any, keys: tuple[str, ...], depth: int) -> Node:
        """An object of paths and logical operators."""
        if not isinstance(given, Mapping):
            raise FilterError(keys, "must be an object of paths with conditions")
        parts: list[Node] = []
        for key, value in given.items():
            here = (*keys, key)
            if key in LOGICAL:
                parts.append(self._logical(key, value, here, depth, self.filter))
            elif key.startswith("$"):
                raise FilterError(here, f"is not known here: paths, and {_listed(LOGICAL)}, are")
            else:
                path = _Path.read(key, here)
                self.reads_payload = self.reads_payload or path.in_payload
                parts.append(self._condition(path, value, here, depth))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _condition(self, path: _Path, given: Any, keys: tuple[str, ...], depth: int) -> Node:
        if not isinstance(given, Mapping):
            if isinstance(given, list):
                raise FilterError(keys, "must be a condition or a single value; for one of several use $in")
            return self._leaf(path, "$eq", given, keys)
        if not given:
            raise FilterError(keys, "is empty: give at least one operator")
        parts: list[Node] = []
        for key, value in given.items():
            here = (*keys, key)
            if key in LOGICAL:

                def nested(inner: Any, at: tuple[str, ...], deeper: int) -> Node:
                    return self._condition(path, inner, at, deeper)

                parts.append(self._logical(key, value, here, depth, nested))
            elif key in OPERATORS:
                parts.append(self._leaf(path, key, value, here))
            else:
                known = _listed((*OPERATORS, *LOGICAL))
                hint = "" if key.startswith("$") else "; what stands inside an object is named by a dotted path"
                raise FilterError(here, f"is not an operator: {known} are{hint}")
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _logical(
        self,
        name: str,
        given: Any,
        keys: tuple[str, ...],
        depth: int,
        inner: Callable[[Any, tuple[str, ...], int], Node],
    ) -> Node:
        if depth >= MAX_DEPTH:
            raise FilterError(keys, f"is nested too deeply: {MAX_DEPTH} levels of {_listed(LOGICAL)} are allowed")
        if name == "$not":
            return Not(keys, inner(given, keys, depth + 1))
        if not isinstance(given, list) or not given:
            raise FilterError(keys, "takes a list of at least one")
        parts = tuple(inner(item, (*keys, str(number)), depth + 1) for number, item in enumerate(given))
        return AllOf(parts) if name == "$and" else AnyOf(parts)

    def _leaf(self, path: _Path, name: str, operand: Any, keys: tuple[str, ...]) -> Leaf:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise FilterError(keys, f"is one condition too many: {MAX_CONDITIONS} are allowed")
        wanted = name not in ("$neq", "$nin") and not (name == "$exist" and operand is False)
        return Leaf(keys, path.text, path.steps, path.in_payload, name, _test(name, operand, keys), wanted)


@frozen()
class _Path:
    """Where a condition looks."""

    text: str
    steps: tuple[Step, ...]
    in_payload: bool

    @classmethod
    def read(cls, text: str, keys: tuple[str, ...]) -> _Path:
        if len(text) > MAX_PATH:
            raise FilterError(keys, f"is a path of over {MAX_PATH} characters")
        found = _NAME.findall(text)
        if not found or ".".join(found) != text:
            raise FilterError(keys, r"is not a path: names joined by dots, with \. and \\ for a dot and a backslash")
        names = [re.sub(r"\\(.)", r"\1", name) for name in found]
        if len(names) > MAX_STEPS:
            raise FilterError(keys, f"is a path of over {MAX_STEPS} names")
        if names[0] not in ENVELOPE:
            raise FilterError(keys, f"is not in the envelope: a path begins with {_listed(ENVELOPE)}")
        if names[0] == "data" and len(names) > 1 and names[1] not in DATA:
            raise FilterError(keys, f"is not in the envelope: below data there are {_listed(DATA)}")
        if names == ["data"]:
            raise FilterError(keys, "is always an object: name a member of it, such as data.provider")
        in_payload = names[:2] == ["data", "payload"]
        steps = [(name, int(name) if _INDEX.fullmatch(name) else None) for name in names]
        return cls(text, tuple(steps[2:] if in_payload else steps), in_payload)


def _test(name: str, operand: Any, keys: tuple[str, ...]) -> Test:
    """What one operator asks of one value."""
    if name in ("$eq", "$neq"):
        return _one_of([_scalar(operand, keys)])
    if name in ("$in", "$nin"):
        if not isinstance(operand, list) or not 1 <= len(operand) <= MAX_LISTED:
            raise FilterError(keys, f"takes a list of 1 to {MAX_LISTED} values")
        return _one_of([_scalar(item, (*keys, str(number))) for number, item in enumerate(operand)])
    if name in ORDER:
        return _ordered(ORDER[name], operand, keys)
    if name == "$exist":
        if not isinstance(operand, bool):
            raise FilterError(keys, "takes true or false")
        return lambda value: value is not MISSING
    if not isinstance(operand, str):
        raise FilterError(keys, "takes a string")
    if name == "$startsWith":
        return lambda value: isinstance(value, str) and value.startswith(operand)
    return lambda value: isinstance(value, str) and value.endswith(operand)


def _one_of(values: list[Any]) -> Test:
    keys = frozenset(map(_key, values))
    return lambda value: _key(value) in keys


def _key(value: Any) -> Any:
    """Equal for equal scalars, and only for them: to Python `True` is 1."""
    if value is True or value is False:
        return ("bool", value)
    return value if value is None or isinstance(value, str | int | float) else _NOTHING_EQUALS


def _ordered(compare: Callable[[Any, Any], bool], operand: Any, keys: tuple[str, ...]) -> Test:
    if isinstance(operand, str):
        return lambda value: isinstance(value, str) and compare(value, operand)
    if isinstance(operand, bool) or not isinstance(operand, int | float):
        raise FilterError(keys, "takes a number or a string")
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and compare(value, operand)


def _scalar(operand: Any, keys: tuple[str, ...]) -> Any:
    if operand is not None and not isinstance(operand, str | int | float):
        raise FilterError(keys, "takes a string, a number, true, false or null")
    return operand


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
