"""PNG files made smaller: at most 256 colours, which a screenshot of flat areas and text hardly shows."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
COLOURS: Final = 256

Colour = tuple[int, int, int]


def with_palette(png: bytes) -> bytes:
    """The same picture in the colours that say most, each other one as the nearest of them. Raises ValueError."""
    width, rows = decoded(png)
    pixels = [list(zip(row[0::3], row[1::3], row[2::3], strict=True)) for row in rows]
    counted = Counter(pixel for row in pixels for pixel in row)
    kept, place = _chosen(counted)
    lines = b"".join(b"\0" + bytes([place[pixel] for pixel in row]) for row in pixels)
    header = struct.pack(">IIBBBBB", width, len(rows), 8, 3, 0, 0, 0)
    palette = bytes(part for colour in kept for part in colour)
    parts = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(name, data) for name, data in parts)


def size_of(png: bytes) -> tuple[int, int]:
    """Its width and height in pixels. Raises ValueError."""
    if not png.startswith(SIGNATURE):
        raise ValueError("no PNG file")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def decoded(png: bytes) -> tuple[int, list[bytes]]:
    """Its width and its rows of red, green and blue. Raises ValueError."""
    width, height = size_of(png)
    depth, kind, _, _, interlaced = png[24:29]
    if (depth, interlaced) != (8, 0) or kind not in (2, 6):
        raise ValueError("only RGB and RGBA of 8 bits, not interlaced, is read")
    step = 3 if kind == 2 else 4
    raw = zlib.decompress(b"".join(data for name, data in _chunks(png) if name == b"IDAT"))
    length, above, rows = width * step, bytes(width * step), list[bytes]()
    for at in range(0, height * (length + 1), length + 1):
        above = _unfiltered(raw[at], bytearray(raw[at + 1 : at + 1 + length]), above, step)
        rows.append(above if step == 3 else _without_alpha(above))
    return width, rows


def _chosen(counted: Counter[Colour]) -> tuple[list[Colour], dict[Colour, int]]:
    """The palette, and each colour's place in it: one after the other what would be furthest off without."""
    ((first, _),) = counted.most_common(1)
    kept, place = [first], dict.fromkeys(counted, 0)
    apart = {colour: _apart(first, colour) for colour in counted}
    while len(kept) < min(COLOURS, len(counted)):
        added = max(apart, key=lambda colour: counted[colour] * apart[colour])
        for colour, least in apart.items():
            distance = _apart(added, colour)
            if distance < least:
                apart[colour], place[colour] = distance, len(kept)
        kept.append(added)
    return kept, place


def _apart(one: Colour, other: Colour) -> int:
    return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2 + (one[2] - other[2]) ** 2


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += length + 12


def _without_alpha(row: bytes) -> bytes:
    return bytes(part for at in range(0, len(row), 4) for part in row[at : at + 3])


def _unfiltered(kind: int, row: bytearray, above: bytes, step: int) -> bytes:
    if kind == 0:
        return bytes(row)
    for at, value in enumerate(row):
        left = row[at - step] if at >= step else 0
        up, corner = above[at], above[at - step] if at >= step else 0
        row[at] = (value + _guess(kind, left, up, corner)) & 255
    return bytes(row)


def _guess(kind: int, left: int, up: int, corner: int) -> int:
    if kind < 4:
        return (0, left, up, (left + up) // 2)[kind]
    most = left + up - corner
    return min((left, up, corner), key=lambda one: abs(most - one))  # of equals the first, as the format wants
