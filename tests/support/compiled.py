"""SQLAlchemy compiles a statement once for each engine; every test has engines of its own, and all say the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, MutableMapping
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.util import LRUCache

STATEMENTS = 2000


class CompiledOnce(MutableMapping[Any, Any]):
    """What was compiled for one class of dialect: the key's first part, the engine's own dialect, does not count."""

    def __init__(self) -> None:
        self._compiled: LRUCache[Any, Any] = LRUCache(STATEMENTS)

    def __getitem__(self, key: Any) -> Any:
        return self._compiled[key[1:]]

    def get(self, key: Any, default: Any = None) -> Any:
        return self._compiled.get(key[1:], default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        self._compiled[key[1:]] = compiled

    def __delitem__(self, key: Any) -> None:
        del self._compiled[key[1:]]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._compiled)

    def __len__(self) -> int:
        return len(self._compiled)


def compile_once() -> None:
    """From now on every engine of this process takes part."""
    shared: dict[type, CompiledOnce] = defaultdict(CompiledOnce)
    place = property(lambda engine: shared[type(engine.dialect)], lambda engine, own: None)
    setattr(Engine, "_compiled_cache", place)  # noqa: B010 - the type checker need not know
