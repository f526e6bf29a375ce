"""Content filters: which results a subscription wants, by what stands in the envelope that is delivered.

    {"data.metadata.tenant": {"$in": ["acme", "umbrella"]}, "$not": {"data.payload.score": {"$lt": 0.5}}}

A filter is an object of paths with conditions; all of them have to hold. A condition is an object of operators, all of
which have to hold, or a plain value, which is short for `$eq`. `$and` and `$or` take a list of filters (or, under a
path, of conditions), `$not` takes one; they nest. An empty filter wants everything.

- **Paths** are names joined by dots, beginning as the envelope does (`type`, `timestamp`, `data.…`, of which the
  members are known: a misspelt one is refused). A number is a place in a list, counted from 0, or a name in an object.
  A backslash takes the meaning from a dot or a backslash after it.
- **A missing path** holds nothing: every operator says no, except `$exist: false` and the negations `$neq`, `$nin` and
  `$not`, which are true exactly where what they negate is not. JSON's `null` is a value, and not a missing one.
- **Kinds are never mixed**: `"5"` is not `5`, `1` is not `true`; `1` and `1.0` are one number. `$gt $gte $lt $lte`
  compare numbers with numbers and strings with strings (by code point, so times in one form compare as times); nothing
  else has an order. Numbers beyond 64 bits are compared as doubles. Strings are compared as they are, in their case.
- **A list** at the end of a path holds what its elements hold: one that fits is enough, so that `$neq` and `$nin` ask
  that none does. Lists in lists, and objects, equal nothing; only `$exist` asks after the list itself. The first 1,000
  elements are looked at.
- **`data.payload`** is there where the payload is JSON to every strict parser and has at most 1 MiB: what would not
  stand in an envelope as JSON is missing. Of a name that is given twice the last one counts. `payload_base64` and
  `payload_url` cannot be asked for.

There are no regular expressions: nothing here takes longer than the filter times the value is large, and both are
bounded. A filter is compiled once and does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from relay.frozen import frozen
from relay.store.rows import dump

MISSING: Final = object()
EXCERPT: Final = 200  # characters of a value that is shown
MAX_ELEMENTS: Final = 1000  # of one list: a stranger's payload may hold half a million

Step = tuple[str, int | None]  # a name, and the place that it is in a list
Test = Callable[[Any], bool]


class Subject(Protocol):
    """What is asked about: an envelope, whose payload is looked into only if a filter does."""

    @property
    def head(self) -> Mapping[str, Any]:
        """The envelope without its payload."""
        ...

    @property
    def payload(self) -> Any:
        """The payload's JSON value, MISSING where there is none."""
        ...


@frozen()
class Miss:
    """A condition that did not hold, and what was found in its place."""

    place: str  # `filter.data.metadata.tenant.$eq`
    path: str | None  # None: a `$not` around several
    operator: str
    found: str | None  # as JSON, cut after 200 characters; None: nothing


class Node(Protocol):
    """A part of a compiled filter."""

    def holds(self, subject: Subject) -> bool: ...

    def misses(self, subject: Subject) -> Iterator[Miss]:
        """Why it does not hold; nothing when it does."""
        ...


@frozen()
class Leaf:
    """One operator at one path."""

    keys: tuple[str, ...]
    path: str
    steps: tuple[Step, ...]  # from the top of the payload if `in_payload`, else of the envelope
    in_payload: bool
    operator: str
    test: Test
    wanted: bool  # what the test has to say: `$neq` is a `$eq` that is not wanted

    def find(self, subject: Subject) -> Any:
        return _find(subject.payload if self.in_payload else subject.head, self.steps)

    def holds(self, subject: Subject) -> bool:
        value = self.find(subject)
        if isinstance(value, list) and self.operator != "$exist":
            return any(map(self.test, value[:MAX_ELEMENTS])) is self.wanted
        return self.test(value) is self.wanted

    def misses(self, subject: Subject) -> Iterator[Miss]:
        if not self.holds(subject):
            yield Miss(_place(self.keys), self.path, self.operator, _excerpt(self.find(subject)))


@frozen()
class AllOf:
    """Every one of several."""

    children: tuple[Node, ...]

    def holds(self, subject: Subject) -> bool:
        return all(child.holds(subject) for child in self.children)

    def misses(self, subject: Subject) -> Iterator[Miss]:
        for child in self.children:
            yield from child.misses(subject)


@frozen()
class AnyOf:
    """One of several is enough."""

    children: tuple[Node, ...]

    def holds(self, subject: Subject) -> bool:
        return any(child.holds(subject) for child in self.children)

    def misses(self, subject: Subject) -> Iterator[Miss]:
        if not self.holds(subject):
            for child in self.children:
                yield from child.misses(subject)


@frozen()
class Not:
    """The opposite of another."""

    keys: tuple[str, ...]
    child: Node

    def holds(self, subject: Subject) -> bool:
        return not self.child.holds(subject)

    def misses(self, subject: Subject) -> Iterator[Miss]:
        if not self.holds(subject):
            leaf = self.child if isinstance(self.child, Leaf) else None
            found = None if leaf is None else _excerpt(leaf.find(subject))
            yield Miss(_place(self.keys), None if leaf is None else leaf.path, "$not", found)


@frozen()
class Filter:
    """A filter that can be asked."""

    root: Node
    reads_payload: bool

    def matches(self, subject: Subject) -> bool:
        """Whether everything that it says holds."""
        return self.root.holds(subject)

    def misses(self, subject: Subject) -> Iterator[Miss]:
        """What does not hold; nothing when it matches."""
        return self.root.misses(subject)


def _find(value: Any, steps: tuple[Step, ...]) -> Any:
    for name, place in steps:
        if isinstance(value, dict):
            value = value.get(name, MISSING)
        elif isinstance(value, list) and place is not None and place < len(value):
            value = value[place]
        else:
            return MISSING
    return value


def _place(keys: tuple[str, ...]) -> str:
    return ".".join(("filter", *keys))


def _excerpt(value: Any) -> str | None:
    if value is MISSING:
        return None
    text = dump(value)
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT]}…"
