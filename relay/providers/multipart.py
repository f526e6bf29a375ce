"""Putting a field into a `multipart/form-data` body (RFC 7578), with every other byte as it was."""

from __future__ import annotations

import re
from typing import Final

from relay.providers.splice import UnfitError
from relay.providers.submit import Existing

_BOUNDARY: Final = re.compile(
    r"multipart/form-data\s*;(?:.*;)?\s*boundary=(?:\"([^\"\r\n]{1,70})\"|([^\s;\"]{1,70}))", re.I
)
_NAME: Final = re.compile(rb"^content-disposition\s*:[^\r\n]*?[;\s]name=(?:\"([^\"\r\n]*)\"|([^\s;\"]+))", re.I | re.M)
_HEADERS_END: Final = b"\r\n\r\n"


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a content type names; None if it is not form data or names none."""
    match = _BOUNDARY.match(content_type.strip())
    if match is None:
        return None
    try:
        return (match[1] or match[2]).encode("ascii")
    except UnicodeEncodeError:
        return None


def put_field(body: bytes, boundary: bytes, name: str, value: str, existing: Existing) -> bytes:
    """`body` with the text field `name`, put first if it is not there yet. Raises UnfitError."""
    opening = b"--" + boundary
    first = 0 if body.startswith(opening) else body.find(b"\r\n" + opening) + 2
    if not body.startswith(opening, first) or first == 1:
        raise UnfitError("not_form_data", [name])
    places = _places(body, opening, first, name.encode())
    text = value.encode()
    if not places:
        field = opening + b'\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n' + text + b"\r\n"
        return body[:first] + field + body[first:]
    for begin, end in reversed(places):
        if body[begin:end] == text or existing == "keep":
            continue
        if existing == "refuse":
            raise UnfitError("taken", [name])
        body = body[:begin] + text + body[end:]
    return body


def _places(body: bytes, opening: bytes, first: int, name: bytes) -> list[tuple[int, int]]:
    """Where the contents of the parts called `name` stand."""
    delimiter = b"\r\n" + opening
    found: list[tuple[int, int]] = []
    start = first
    while True:
        end = body.find(delimiter, start + len(opening))
        headers_end = body.find(_HEADERS_END, start)
        if end < 0 or headers_end < 0:
            return found
        if headers_end + len(_HEADERS_END) <= end:
            named = _NAME.search(body, start, headers_end)
            if named is not None and (named[1] if named[1] is not None else named[2]) == name:
                found.append((headers_end + len(_HEADERS_END), end))
        start = end + 2
