"""A TOML table read strictly: every key is asked for by name and type, and what nobody asked for is an error.

Problems are noted, not raised: whoever wrote the file gets all of them at once. What is wrong or missing reads as its
default, so that reading goes on; the profile that comes of it is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from relay.providers.path import Path, Paths

T = TypeVar("T")
_MISSING = object()


class Table:
    """One table of one file; its problems name the key, dotted, and what was expected."""

    def __init__(self, prefix: str, values: Mapping[str, Any], problems: list[str]) -> None:
        self._prefix = prefix
        self._values = values
        self._problems = problems
        self._asked: set[str] = set()
        self._sure = True  # which keys belong here is known

    def problem(self, key: str, expected: str) -> None:
        """Note what is wrong with one key."""
        self._problems.append(f"{self._prefix}{key}: {expected}")

    def done(self) -> None:
        """Refuse the keys that nobody asked for."""
        for key in self._values:
            if key not in self._asked and self._sure:
                self.problem(key, f"unknown key; expected one of {', '.join(sorted(self._asked))}")

    def has(self, key: str) -> bool:
        """Whether the key is there at all."""
        return key in self._values

    def string(self, key: str, default: str | None = None) -> str:
        """Text; required if there is no default."""
        value = self._take(key, str, "text in quotes", default)
        if value == "" and default is None:
            self.problem(key, "expected text that is not empty")
        return str(value or "")

    def choice(self, key: str, options: Mapping[str, T], default: str | None = None) -> T:
        """One of some words, as what it stands for."""
        before = len(self._problems)
        word = self.string(key, default)
        if word in options:
            return options[word]
        self._sure = False
        if len(self._problems) == before:
            self.problem(key, f"expected one of {_quoted(options)}, got {word!r}")
        return next(iter(options.values()))

    def boolean(self, key: str, default: bool = False) -> bool:
        """True or false."""
        return bool(self._take(key, bool, "true or false", default))

    def seconds(self, key: str, default: float | None = None) -> float | None:
        """A positive number of seconds, or the default."""
        value = self._take(key, (int, float), "a number of seconds above 0", default)
        return None if value is None else self._number(key, value, positive=True)

    def waits(self, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        """A list of waits in seconds; not empty."""
        values = self._list(key, (int, float), "a list of seconds such as [2, 5, 10]", default)
        if not values:
            self.problem(key, "expected at least one wait in seconds")
        return tuple(self._number(key, value, positive=False) for value in values) or default

    def strings(self, key: str, check: Callable[[str], str | None] | None = None) -> tuple[str, ...]:
        """A list of texts, or nothing; `check` says what is wrong with one."""
        values = tuple(self._list(key, str, 'a list of texts such as ["a", "b"]', ()))
        for value in values:
            problem = check(value) if check else None
            if problem:
                self.problem(key, f"{value!r}: {problem}")
        return values

    def codes(self, key: str, default: Iterable[int]) -> frozenset[int]:
        """A list of HTTP status codes."""
        values = self._list(key, int, "a list of HTTP status codes such as [202, 425]", tuple(default))
        for value in values:
            if not 100 <= value <= 599:
                self.problem(key, f"expected HTTP status codes from 100 to 599, got {value}")
        return frozenset(values)

    def paths(self, key: str) -> Paths:
        """One path or a list of alternatives, or nothing."""
        value = self._values.get(key)
        texts = (self.string(key),) if isinstance(value, str) else self.strings(key)
        return tuple(path for text in texts if (path := self.path(key, text)) is not None)

    def path(self, key: str, text: str) -> Path | None:
        """One path, given as text; None and a problem where it is none."""
        try:
            return Path.parse(text)
        except ValueError as error:
            self.problem(key, str(error))
            return None

    def body_paths(self, key: str) -> Paths:
        """The same as `paths` where only the JSON body can hold the value."""
        paths = self.paths(key)
        for path in paths:
            if path.source != "body":
                self.problem(key, f"expected paths in the JSON body, got '{path}'")
        return paths

    def anything(self, key: str) -> Any:
        """Any value; required."""
        self._asked.add(key)
        if key not in self._values:
            self.problem(key, "is missing; expected a value of any kind")
        return self._values.get(key)

    def table(self, key: str) -> Table:
        """A table inside this one; an absent one is empty."""
        values = self._take(key, dict, f"a table [{self._prefix}{key}]", {})
        return Table(f"{self._prefix}{key}.", values, self._problems)

    def optional_table(self, key: str) -> Table | None:
        """The same, or None where there is none."""
        self._asked.add(key)
        return self.table(key) if key in self._values else None

    def tables(self, key: str) -> list[Table]:
        """A list of tables."""
        values = self._list(key, dict, f"a list of tables [[{self._prefix}{key}]]", ())
        return [Table(f"{self._prefix}{key}[{n}].", value, self._problems) for n, value in enumerate(values)]

    def _take(self, key: str, kind: type | tuple[type, ...], expected: str, default: Any = _MISSING) -> Any:
        self._asked.add(key)
        if key not in self._values:
            if default is None and kind is str:
                self.problem(key, f"is missing; expected {expected}")
            return default
        value = self._values[key]
        if not _is_a(value, kind):
            self.problem(key, f"expected {expected}, got {_kind_of(value)}")
            return default
        return value

    def _list(self, key: str, kind: type | tuple[type, ...], expected: str, default: Any) -> Any:
        values = self._take(key, list, expected, default)
        wrong = next((value for value in values if not _is_a(value, kind)), None)
        if wrong is None:
            return values
        self.problem(key, f"expected {expected}, got {_kind_of(wrong)} in it")
        return default

    def _number(self, key: str, value: float, *, positive: bool) -> float:
        if not 0 <= value < 10**9 or (positive and value == 0):
            self.problem(key, f"expected seconds {'above' if positive else 'from'} 0, got {value}")
            return 1.0
        return float(value)


def _is_a(value: object, kind: type | tuple[type, ...]) -> bool:
    # Python counts true and false among the integers; TOML does not.
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _kind_of(value: object) -> str:
    words = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a table"}
    return words.get(type(value), f"a {type(value).__name__}")


def _quoted(options: Iterable[str]) -> str:
    return ", ".join(f'"{option}"' for option in options)
