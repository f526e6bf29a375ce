"""Planted secrets, and looking for them in whatever form somebody may have written them down."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, quote_plus

PIECE: Final = 12  # so many characters of a secret in a row are a leak too: an excerpt may have been cut
STEP: Final = 8
FILLING: Final = re.compile(rb"(x|\0| ){64,}")  # large payloads and empty pages are not worth searching


class Needles:
    """Secrets by name. Each should be random text of some length, so that it is nowhere by chance."""

    def __init__(self) -> None:
        self._pieces: dict[str, set[bytes]] = {}

    def plant(self, name: str, value: str) -> str:
        """Look for this from now on; gives it back."""
        assert len(value) > PIECE, name
        self._pieces[name] = {piece for form in _forms(value.encode()) for piece in _pieces(form)}
        return value

    def plant_all(self, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            self.plant(name, value)

    def found_in(self, place: str, haystack: bytes) -> list[str]:
        """One line for each secret that is in there."""
        haystack = FILLING.sub(b"", haystack)
        return [
            f"{name} is in {place}, as {around!r}"
            for name, pieces in self._pieces.items()
            if (around := next((_around(haystack, piece) for piece in pieces if piece in haystack), None)) is not None
        ]


def _forms(value: bytes) -> Iterator[bytes]:
    """Plain, URL-encoded, hexadecimal, and base64 wherever in a longer text the secret may begin."""
    yield value
    yield quote(value, safe="").encode()
    yield quote_plus(value).encode()
    yield value.hex().encode()
    yield value.hex().upper().encode()
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + value)
        known = whole[4 if before else 0 : -4]  # the first and last characters depend on what stands around it
        yield known
        yield known.replace(b"+", b"-").replace(b"/", b"_")


def _pieces(form: bytes) -> Iterator[bytes]:
    for start in range(0, max(1, len(form) - PIECE), STEP):
        yield form[start : start + PIECE]
    yield form[-PIECE:]


def _around(haystack: bytes, piece: bytes) -> bytes:
    at = haystack.index(piece)
    return haystack[max(0, at - 60) : at + PIECE + 10]
