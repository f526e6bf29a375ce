"""Large packages that few tests need: every process that runs tests collects all of them, and would load all these."""

from __future__ import annotations

import importlib
from typing import Any


class Later:
    """A module that is loaded when something public in it is first asked for; pytest, which looks at all that a file
    holds, does not wake it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what pytest asks for
            raise AttributeError(name)
        return getattr(importlib.import_module(self._name), name)


def later(name: str) -> Any:
    """The module of this name, later."""
    return Later(name)
