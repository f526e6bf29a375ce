"""The pictures in README and guide: all there, shown, small, and as wide as the window they were taken in."""

from __future__ import annotations

import struct
import zlib

import pytest

from tests.architecture.tree import TOP
from tests.browser.pictures import PICTURES, WIDTH
from tests.support.pages import links
from tests.support.png import SIGNATURE, decoded, size_of, with_palette

LARGEST_BYTES = 150_000
ROWS = [bytes((31 * at * row + at) % 256 for at in range(9)) for row in range(5)]


def test_every_picture_is_shown_somewhere_and_costs_readers_little() -> None:
    made = sorted(PICTURES.iterdir())
    pages = (TOP / "README.md", TOP / "deploy/guide/dashboard.md")
    shown = {
        (page.parent / link).resolve() for page in pages for link in links(page.read_text("utf-8")) if "#" not in link
    }
    assert len(made) == 4 and set(made) <= shown
    assert [path.name for path in made if path.stat().st_size > LARGEST_BYTES] == []
    assert {size_of(path.read_bytes())[0] for path in made} == {WIDTH}


def _filtered(kind: int, row: bytes, above: bytes) -> bytes:
    """As the format has it, from three bytes to the left, above, and both."""
    made = [kind]
    for at, value in enumerate(row):
        left, corner = (row[at - 3], above[at - 3]) if at >= 3 else (0, 0)
        up = above[at]
        apart = [(abs(left + up - corner - one), place, one) for place, one in enumerate((left, up, corner))]
        guesses = (0, left, up, (left + up) // 2, min(apart)[2])
        made.append((value - guesses[kind]) % 256)
    return bytes(made)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_a_picture_with_a_palette_is_the_same_picture() -> None:
    above = [bytes(9), *ROWS]
    lines = b"".join(_filtered(kind, row, above[kind]) for kind, row in enumerate(ROWS))
    header = struct.pack(">IIBBBBB", 3, len(ROWS), 8, 2, 0, 0, 0)
    png = SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")
    assert decoded(png) == (3, ROWS)
    small = with_palette(png)
    palette = small[small.index(b"PLTE") + 4 :]
    at = small.index(b"IDAT")
    (length,) = struct.unpack(">I", small[at - 4 : at])
    places = zlib.decompress(small[at + 4 : at + 4 + length])
    pixels = b"".join(
        palette[3 * place : 3 * place + 3] for row in range(5) for place in places[row * 4 + 1 : row * 4 + 4]
    )
    assert size_of(small) == (3, 5) and pixels == b"".join(ROWS)
    with pytest.raises(ValueError, match="no PNG"):
        size_of(b"GIF89a")
