"""One relay's HTTP API, as the command line speaks to it."""

from __future__ import annotations

from relay.client.answers import ServerEvent
from relay.client.blocking.api import ANSWER_SECONDS, CHUNK_BYTES, CONNECT_SECONDS, Api
from relay.client.errors import ApiError, FieldError, Unexpected, Unreachable

__all__ = [
    "ANSWER_SECONDS",
    "CHUNK_BYTES",
    "CONNECT_SECONDS",
    "Api",
    "ApiError",
    "FieldError",
    "ServerEvent",
    "Unexpected",
    "Unreachable",
]
