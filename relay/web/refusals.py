"""What the protocol says by itself, to a caller whose request never reached the application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

BAD_REQUEST: Final = "400 Bad Request"
TIMED_OUT: Final = "408 Request Timeout"
HEAD_TOO_LARGE: Final = "431 Request Header Fields Too Large"
UNAVAILABLE: Final = "503 Service Unavailable"
CODES: Final = {
    BAD_REQUEST: "malformed_request",
    TIMED_OUT: "request_timeout",
    HEAD_TOO_LARGE: "headers_too_large",
    UNAVAILABLE: "overloaded",
}


def answer(status: str, request_id: str) -> bytes:
    """A whole response for a caller whose request never reached the application."""
    number, _, title = status.partition(" ")
    code = CODES[status]
    body = f'{{"type":"about:blank","title":"{title}","status":{number},"code":"{code}","request_id":"{request_id}"}}'
    retry = "retry-after: 1\r\n" if status == UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
        f"{retry}connection: close\r\n\r\n"
    )
    return (head + body).encode("ascii")


class LingeringTransport(asyncio.Transport):
    """What a request that ends its connection writes to: an answer given before the body was read stays readable."""

    def __init__(
        self, transport: asyncio.Transport, linger: Callable[[], None], is_unfinished: Callable[[], bool]
    ) -> None:
        super().__init__()
        self._transport = transport
        self._linger = linger
        self._is_unfinished = is_unfinished

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        if self._is_unfinished() and not self._transport.is_closing():
            self._linger()
        else:
            self._transport.close()
