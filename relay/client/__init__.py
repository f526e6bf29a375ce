"""Speaks to a relay over its HTTP API: for the command line, and for programs that `import relay.client`.

    from relay.client import Relay, unwrap

`Relay` and `AsyncRelay` are the same client, with and without an event loop. `unwrap` verifies and reads a delivery: it
needs neither of them, and no network library is loaded for it.

What needs the network is written once, in `relay.client.aio`; `relay.client.blocking` is made from it, line by line, by
`python -m tests.client.make_blocking`, and a test compares.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from relay.client.errors import (
    ApiError,
    Conflict,
    FieldError,
    Invalid,
    JobCancelled,
    JobEnded,
    JobExpired,
    JobFailed,
    NotAllowed,
    NotFound,
    ProviderRefused,
    Unavailable,
    Unexpected,
    Unreachable,
    WaitTimeout,
)
from relay.client.receiving import Event, NotAnEnvelope, unwrap, verify
from relay.errors import RelayError, SignatureError

if TYPE_CHECKING:
    from relay.client.aio.relay import AsyncRelay
    from relay.client.blocking.relay import Relay

_LATER: Final = {"AsyncRelay": "relay.client.aio.relay", "Relay": "relay.client.blocking.relay"}

__all__ = [
    "ApiError",
    "AsyncRelay",
    "Conflict",
    "Event",
    "FieldError",
    "Invalid",
    "JobCancelled",
    "JobEnded",
    "JobExpired",
    "JobFailed",
    "NotAllowed",
    "NotAnEnvelope",
    "NotFound",
    "ProviderRefused",
    "Relay",
    "RelayError",
    "SignatureError",
    "Unavailable",
    "Unexpected",
    "Unreachable",
    "WaitTimeout",
    "unwrap",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)
