"""Frozen values that cost little to make.

`dataclass(frozen=True)` stores every field through `object.__setattr__`, which makes an object of twenty fields cost
5 µs instead of 2, and a notification needs a dozen objects. Here the type checker alone holds values frozen; it is
strict and runs with the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """A dataclass with slots that compares and hashes by its fields and is never assigned to."""
    return dataclass(slots=True, kw_only=kw_only, unsafe_hash=True)
