"""What the callback URL answers: the stored ids, a problem document (RFC 9457), or a page for a person who looks."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import orjson
from starlette.types import Send

Headers = list[tuple[bytes, bytes]]

_GUARD: Final = ((b"referrer-policy", b"no-referrer"), (b"cache-control", b"no-store"))
_PAGE_GUARD: Final = (
    *_GUARD,
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-robots-tag", b"noindex"),
)
_STORED: Final = ((b"content-type", b"application/json"), *_GUARD)
_PAGE: Final = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Callback address</title></head>
<body><h1>This is a callback address</h1>
<p>It is meant for programs: a provider sends its completion notification here with an HTTP POST.
There is nothing to see in a browser.</p></body></html>
"""
CODES: Final = {
    400: "bad_request",
    401: "not_authentic",
    404: "not_found",
    405: "method_not_allowed",
    410: "gone",
    413: "too_large",
    503: "unavailable",
}


@dataclass(slots=True)
class Reply:
    """A whole HTTP answer. Its content-length is not among `headers`: who sends it says it."""

    http_status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    async def send(self, send: Send) -> None:
        """Hand it to the server."""
        headers = [*self.headers, (b"content-length", b"%d" % len(self.body))] if self.body else list(self.headers)
        await send({"type": "http.response.start", "status": self.http_status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def stored(http_status: int, notification_id: str | None, job_id: str | None, status: str, reason: str | None) -> Reply:
    """The notification is on stable storage."""
    document = {"notification_id": notification_id, "job_id": job_id, "status": status}
    if reason is not None:
        document["reason"] = reason
    return Reply(http_status, _STORED, orjson.dumps(document))


def problem(
    http_status: int,
    request_id: str,
    *,
    detail: str | None = None,
    retry_after: int | None = None,
    allow: str | None = None,
    closing: bool = False,
) -> Reply:
    """An error, with nothing in it that tells one wrong token from another."""
    document: dict[str, str | int] = {
        "type": "about:blank",
        "title": HTTPStatus(http_status).phrase,
        "status": http_status,
        "code": CODES.get(http_status, "refused"),
        "request_id": request_id,
    }
    if detail is not None:
        document["detail"] = detail
    headers = [(b"content-type", b"application/problem+json"), *_GUARD]
    if retry_after is not None:
        headers.append((b"retry-after", b"%d" % retry_after))
    if allow is not None:
        headers.append((b"allow", allow.encode("latin-1")))
    if closing:
        headers.append((b"connection", b"close"))
    return Reply(http_status, tuple(headers), orjson.dumps(document))


def page() -> Reply:
    """For a person with a browser; the same for every address, real or not.

    Not a 2xx: nothing was stored, and some HTTP libraries send a browser's Accept header.
    """
    return Reply(405, ((b"content-type", b"text/html; charset=utf-8"), (b"allow", b"POST"), *_PAGE_GUARD), _PAGE)


def options() -> Reply:
    """What may be sent here, the same for every address."""
    return Reply(204, ((b"allow", b"POST, OPTIONS"), *_GUARD), b"")
