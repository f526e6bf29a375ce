"""Ids: a prefix that tells the noun, and a UUIDv7 that tells the time, so that rows sort by when they were made."""

from __future__ import annotations

from typing import Final

from uuid_utils import uuid7

from relay.clock import Instant

ID_LENGTH: Final = 32


def new_id(prefix: str, now: Instant) -> str:
    """A sortable id: the prefix and a UUIDv7 of `now` in 32 hexadecimal digits."""
    return f"{prefix}_{uuid7(nanoseconds=now * 1_000_000).hex}"


def replayed_id(prefix: str, now: Instant) -> str:
    """An id like `new_id`'s that says by the UUID's version, 8, that its row came of a replay: keys alone tell."""
    made = uuid7(nanoseconds=now * 1_000_000).hex
    return f"{prefix}_{made[:12]}8{made[13:]}"


def is_replayed(row_id: str) -> bool:
    """Whether `replayed_id` made this id."""
    return row_id[-20:-19] == "8"


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` has the form of an id with this prefix."""
    head, _, tail = text.partition("_")
    return head == prefix and len(tail) == ID_LENGTH and all(c in "0123456789abcdef" for c in tail)


def lowest_id(prefix: str, instant: Instant) -> str:
    """The id that sorts before every id made at `instant` or later, so that a bound in time is a bound in ids."""
    milliseconds = min(max(instant, 0), (1 << 48) - 1)
    return f"{prefix}_{milliseconds:012x}".ljust(len(prefix) + 1 + ID_LENGTH, "0")


def instant_of(row_id: str) -> Instant:
    """When the row with this id was made."""
    return Instant(int(row_id.rpartition("_")[2][:12], 16))
