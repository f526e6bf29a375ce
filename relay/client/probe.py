"""Asking whatever is at an address, without a key: for `relay doctor`."""

from __future__ import annotations

import contextlib
import http.client
import select
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import relay

SECONDS: Final = 5.0
EARLY_SECONDS: Final = 0.5
PIECE_BYTES: Final = 64 * 1024
MOST_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Told:
    """What was answered."""

    status: int
    content_type: str
    location: str
    date: str
    body: bytes


def ask(url: str, method: str = "GET", body_bytes: int | None = None) -> Told | str:
    """The answer, or in words why there is none. Redirects are not followed, as providers do not follow them.

    A body of zeros is sent only if nothing was answered to its announcement: some judge by that.
    """
    parts = urlsplit(url)
    try:
        connection = _connection(parts.scheme, parts.hostname or "", parts.port)
        try:
            connection.putrequest(method, parts.path or "/", skip_accept_encoding=True)
            connection.putheader("user-agent", f"relay-doctor/{relay.__version__}")
            if body_bytes is not None:
                connection.putheader("content-type", "application/json")
                connection.putheader("content-length", str(body_bytes))
            connection.endheaders()
            if body_bytes is not None:
                _send(connection, body_bytes)
            answer = connection.getresponse()
            return Told(
                answer.status,
                answer.getheader("content-type", ""),
                answer.getheader("location", ""),
                answer.getheader("date", ""),
                answer.read(MOST_BYTES),
            )
        finally:
            connection.close()
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not valid: {error.verify_message}"
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__


def _send(connection: http.client.HTTPConnection, size: int) -> None:
    piece = bytes(PIECE_BYTES)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it was answered meanwhile
        for sent in range(0, size, PIECE_BYTES):
            if select.select([connection.sock], [], [], 0.0 if sent else EARLY_SECONDS)[0]:
                return
            connection.send(piece[: size - sent])


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=SECONDS)
    return http.client.HTTPConnection(host, port, timeout=SECONDS)
