"""Content codings undone in bounded pieces."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import BodyTooLarge, DecodeFailed
from relay.outbound.decoding import MAX_MEMBERS, PIECE_BYTES, BodyDecoder

MIB = 1024 * 1024


def decoded(encoding: str, data: bytes, size: int = 1000) -> bytes:
    decoder = BodyDecoder(encoding, 64 * MIB)
    parts: list[bytes] = []
    for at in range(0, len(data), size):
        parts.extend(decoder.decode(data[at : at + size]))
    decoder.finish()
    return b"".join(parts)


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    " X-GZip ": gzip.compress,
    "gzip, gzip": lambda data: gzip.compress(gzip.compress(data)),
    "identity, gzip": gzip.compress,
}


@pytest.mark.parametrize("encoding", CODINGS)
@given(data=st.binary(max_size=5000), size=st.integers(1, 100))
def test_what_was_encoded_comes_back_however_it_is_cut(encoding: str, data: bytes, size: int) -> None:
    assert decoded(encoding, CODINGS[encoding](data), size) == data


def test_several_gzip_members_are_one_body() -> None:
    assert decoded("gzip", gzip.compress(b"one,") + gzip.compress(b"two"), 7) == b"one,two"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_zeros_behind_a_gzip_member_are_padding(size: int) -> None:
    assert decoded("gzip", gzip.compress(b"one") + bytes(700), size) == b"one"
    assert decoded("gzip", gzip.compress(b"one") + bytes(9) + gzip.compress(b"two"), size) == b"onetwo"
    assert decoded("gzip, gzip", gzip.compress(gzip.compress(b"one") + bytes(512)), size) == b"one"


@pytest.mark.parametrize("tail", [bytes(9) + b"x", bytes(9) + gzip.compress(b"two")[:-1], b"\x1f"])
def test_what_is_no_padding_behind_a_gzip_member_is_refused(tail: bytes) -> None:
    with pytest.raises(DecodeFailed):
        decoded("gzip", gzip.compress(b"one") + tail)


def test_an_empty_body_needs_no_coding() -> None:
    assert decoded("gzip", b"") == b""


def broken_crc() -> bytes:
    data = bytearray(gzip.compress(b"hello" * 100))
    data[-8] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    "encoding, data",
    [
        ("gzip", gzip.compress(b"x" * 10_000)[:-1]),
        ("gzip", gzip.compress(os.urandom(5_000))[:2_500]),
        ("gzip", gzip.compress(b"one") + gzip.compress(b"two")[:-3]),
        ("gzip", broken_crc()),
        ("gzip", gzip.compress(b"x") + b"garbage"),
        ("gzip", b"plain text"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x" * 10_000)[:-1])),
        ("gzip", gzip.compress(b"") * (MAX_MEMBERS + 1)),
    ],
)
def test_a_broken_body_is_refused(encoding: str, data: bytes) -> None:
    with pytest.raises(DecodeFailed):
        decoded(encoding, data)


@pytest.mark.parametrize(
    "encoding",
    ["br", "zstd", "deflate", "compress", "gzip, br", "gzip;q=1", "gzip, gzip, gzip", ", ".join(["gzip"] * 1000), "é"],
)
def test_a_coding_that_was_not_asked_for_and_long_chains_are_refused(encoding: str) -> None:
    with pytest.raises(DecodeFailed):
        BodyDecoder(encoding, MIB)


BOMB = b"\0" * (16 * MIB)
BOMBS: dict[str, Callable[[], bytes]] = {  # made when they are needed: every process that runs tests collects these
    "gzip": lambda: gzip.compress(BOMB),
    "deflate": lambda: zlib.compress(BOMB),
    "gzip, gzip": lambda: gzip.compress(gzip.compress(BOMB)),
    "br": lambda: brotli.compress(BOMB, quality=1),
    "zstd": lambda: zstandard.compress(BOMB),
}


@pytest.mark.parametrize("encoding", BOMBS)
def test_a_bomb_is_refused_before_it_grows(encoding: str) -> None:
    bomb, largest = BOMBS[encoding](), 0
    tracemalloc.start()
    try:
        with pytest.raises(DecodeFailed):
            for piece in BodyDecoder(encoding, 64 * MIB).decode(bomb):
                largest = max(largest, len(piece))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert largest <= PIECE_BYTES
    assert peak < 4 * MIB


def test_an_ordinary_ratio_is_not_a_bomb() -> None:
    data = b"".join(b'{"title": "a repeated record", "price": %d}\n' % price for price in range(100_000))
    assert decoded("gzip", gzip.compress(data), 65536) == data


@pytest.mark.parametrize("encoding", ["", "gzip", "gzip, gzip"])
def test_no_more_comes_out_than_may(encoding: str) -> None:
    data = CODINGS[encoding](os.urandom(1000))
    exact, tight = BodyDecoder(encoding, 1000), BodyDecoder(encoding, 999)
    assert len(b"".join([*exact.decode(data), *exact.decode(b"")])) == 1000
    with pytest.raises(BodyTooLarge):
        list(tight.decode(data[:500])), list(tight.decode(data[500:]))
