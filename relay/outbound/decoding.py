"""Content codings undone in small bounded pieces, and refused when they smell of a bomb.

Only gzip: it is all that is asked for. The HTTP library could do it too, but it takes a gzip stream that stops half-way
without a word, and a result cut short must not be stored as whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from relay.errors import BodyTooLarge, DecodeFailed

PIECE_BYTES: Final = 256 * 1024
MAX_CODINGS: Final = 2
MAX_MEMBERS: Final = 10_000
MAX_RATIO: Final = 200
RATIO_FREE_BYTES: Final = 1024 * 1024

_GZIP: Final = 16 + zlib.MAX_WBITS  # zlib's way of asking for the gzip format
_GZIP_NAMES: Final = frozenset({"gzip", "x-gzip"})


class BodyDecoder:
    """Undoes the codings of one `Content-Encoding` value. Raises DecodeFailed (RFC 9110 section 8.4).

    `max_bytes` is how much may come out of it.
    """

    __slots__ = ("_decoded", "_max_bytes", "_raw", "_stages")

    def __init__(self, content_encoding: str, max_bytes: int) -> None:
        names = [name for part in content_encoding.lower().split(",") if (name := part.strip()) not in ("", "identity")]
        if len(names) > MAX_CODINGS:
            raise DecodeFailed(f"more than {MAX_CODINGS} content codings")
        if not _GZIP_NAMES.issuperset(names):
            raise DecodeFailed("a content coding that was not asked for")
        self._max_bytes = max_bytes
        self._stages = [_Gunzip() for _ in names]
        self._raw = 0
        self._decoded = 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The decoded pieces of the next `data`, each at most 256 KiB when a coding is undone.

        Raises BodyTooLarge or DecodeFailed.
        """
        if not data:
            return
        self._raw += len(data)
        for piece in self._through(data, 0):
            self._decoded += len(piece)
            if self._stages and self._decoded > max(RATIO_FREE_BYTES, MAX_RATIO * self._raw):
                raise DecodeFailed(f"the body decodes to more than {MAX_RATIO} times its size")
            if self._decoded > self._max_bytes:
                raise BodyTooLarge(f"the body decodes to more than {self._max_bytes} bytes")
            yield piece

    def finish(self) -> None:
        """Say that no more data comes. Raises DecodeFailed if a stream is not complete."""
        if self._raw and not all(stage.complete for stage in self._stages):
            raise DecodeFailed("the encoded body is cut short")

    def _through(self, data: bytes, stage: int) -> Iterator[bytes]:
        if stage == len(self._stages):
            yield data
            return
        for piece in self._stages[stage].decode(data):
            yield from self._through(piece, stage + 1)


class _Gunzip:
    """One gzip stream of one or more members (RFC 1952). Zeros behind a member are padding, as for gzip(1)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._members = 1

    @property
    def complete(self) -> bool:
        return self._member.eof

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member.eof:
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._next_member()
            try:
                piece = self._member.decompress(data, PIECE_BYTES)
            except zlib.error:
                raise DecodeFailed("the encoded body is broken") from None
            if piece:
                yield piece
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def _next_member(self) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise DecodeFailed(f"more than {MAX_MEMBERS} gzip members")
        self._member = zlib.decompressobj(_GZIP)
