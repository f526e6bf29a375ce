"""The exact bytes of a payload over HTTP: validators and ranges (RFC 9110), streamed piece by piece.

The bytes are a stranger's: they are never shown as a page of ours (attachment, nosniff, sandbox).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from relay.errors import StoreError
from relay.model import Result
from relay.store import results
from relay.store.database import Database
from relay.web.problems import Problem

_RANGE: Final = re.compile(r"bytes=(?:(\d{1,15})-(\d{0,15})|-(\d{1,15}))", re.ASCII)
_MEDIA_TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+( *;[ -~]*)?", re.ASCII)


async def serve(database: Database, request: Request, result: Result) -> Response:
    """The payload, the asked part of it, or 304. Raises Problem 404 and 416."""
    if result.payload_id is None or result.size_bytes is None:
        raise Problem(404, "payload_absent", "This result has no payload, or it was erased.")
    etag = f'"{result.sha256}"'
    headers = _headers(result, etag)
    if _matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers={"etag": etag, "cache-control": headers["cache-control"]})
    size = result.size_bytes
    asked = _asked(request, etag, size)
    first, last = asked or (0, size - 1)
    headers["content-length"] = str(last - first + 1)
    if asked is not None:
        headers["content-range"] = f"bytes {first}-{last}/{size}"
    if request.method == "HEAD" or size == 0:
        return Response(status_code=200, headers=headers)
    stream = _stream(database, result.payload_id, first, last)
    head = await anext(stream)  # trouble with the database is still a problem document, not a torn body
    return StreamingResponse(_chained(head, stream), 200 if asked is None else 206, headers)


def _headers(result: Result, etag: str) -> dict[str, str]:
    given = result.content_type or ""
    return {
        "content-type": given if _MEDIA_TYPE.fullmatch(given) else "application/octet-stream",
        "etag": etag,
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
        "content-disposition": f'attachment; filename="{result.id}"',
        "content-security-policy": "sandbox; default-src 'none'",
        "cross-origin-resource-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }


def _matches(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in tags or etag in tags


def _asked(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """First and last byte of the one range that is asked for; None for all. Raises Problem 416.

    What is not one well-formed range is ignored, as RFC 9110 section 14.2 has it.
    """
    condition = request.headers.get("if-range")
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if request.method != "GET" or match is None or (condition is not None and condition.strip() != etag):
        return None
    start, end, suffix = match.groups()
    if suffix is not None:
        first, last = max(0, size - int(suffix)), size - 1
    else:
        first, last = int(start), min(int(end), size - 1) if end else size - 1
        if end and int(end) < first:
            return None
    if first >= size or suffix == "0":
        detail = f"The payload has {size} bytes."
        raise Problem(416, "range_not_satisfiable", detail, headers={"content-range": f"bytes */{size}"})
    return first, last


async def _stream(database: Database, payload_id: str, first: int, last: int) -> AsyncIterator[bytes]:
    sizes = await database.read(partial(results.chunk_sizes, payload_id=payload_id))
    begin = 0
    for seq, size in enumerate(sizes):
        if begin <= last and begin + size > first:
            piece = await database.read(partial(results.payload_chunk, payload_id=payload_id, seq=seq))
            if piece is None:  # erased while it was being read: the reader must see that the body is torn
                raise StoreError("the payload was erased")
            yield bytes(piece[max(0, first - begin) : last - begin + 1])
        begin += size
    if begin <= last:
        raise StoreError("the payload is shorter than its result says")


async def _chained(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for piece in rest:
        yield piece
