"""The exception tree.

RelayError
├── SettingError            a setting is missing or wrong; names the key and the fix
├── ProfileError            a provider profile is wrong; names file, key and what was expected
├── StoreError
│   ├── StoreUnavailable    the write is not known to be durable: answer 503, the caller may try again
│   ├── StoreFull           … because the disk is full
│   ├── SchemaStale         the database needs `relay db upgrade`
│   ├── Conflict            a unique name or key is taken
│   ├── NotFound            no such row
│   └── AlreadyRunning      another process owns the SQLite file
├── OutboundError           an outgoing request did not bring an answer; `code` goes into attempts and logs
│   ├── UrlRefused          the URL is not one we would ever call
│   ├── ForeignOrigin       credentials were asked for an origin they do not belong to
│   ├── AddressRefused      the name leads to an address that policy forbids
│   ├── ResolveFailed       DNS has no usable answer
│   ├── ConnectFailed       TCP or TLS did not come up
│   ├── TimedOut            the total deadline passed
│   ├── Interrupted         the connection broke or the answer was not valid HTTP
│   ├── BodyTooLarge        more bytes than the cap, raw or decoded
│   └── DecodeFailed        the content encoding is broken or refused
├── Torn                    an answer that was begun cannot be finished; its reader must not take it for a whole one
├── SignatureError          a signature, token or sealed value does not verify
└── KeyMissing              a stored row names an encryption key that is not configured

Expected outcomes (a refused delivery, a pending answer) are values, not exceptions.
"""

from __future__ import annotations

from typing import ClassVar


class RelayError(Exception):
    """Base of everything Relay raises on purpose."""


class SettingError(RelayError):
    """A setting is missing or wrong."""


class ProfileError(RelayError):
    """A provider profile is wrong."""


class StoreError(RelayError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):
    """The write is not known to be durable."""


class StoreFull(StoreUnavailable):
    """The disk is full."""


class SchemaStale(StoreError):
    """The database needs `relay db upgrade`."""


class Conflict(StoreError):
    """A unique name or key is taken."""

    def __init__(self, field: str, message: str = "") -> None:
        super().__init__(message or f"{field} is already taken")
        self.field = field


class NotFound(StoreError):
    """No such row."""


class AlreadyRunning(StoreError):
    """Another process owns the SQLite file."""


class Torn(RelayError):
    """An answer that was begun cannot be finished."""


class OutboundError(RelayError):
    """An outgoing request did not bring an answer. Never carries a URL or a header: it is logged."""

    code: ClassVar[str] = "outbound_error"


class UrlRefused(OutboundError):
    """The URL is not one we would ever call."""

    code = "url_refused"


class ForeignOrigin(OutboundError):
    """Credentials were asked for an origin they do not belong to."""

    code = "foreign_origin"


class AddressRefused(OutboundError):
    """The name leads to an address that policy forbids."""

    code = "address_refused"


class ResolveFailed(OutboundError):
    """DNS has no usable answer."""

    code = "resolve_failed"


class ConnectFailed(OutboundError):
    """TCP or TLS did not come up."""

    code = "connect_failed"


class TimedOut(OutboundError):
    """The total deadline passed."""

    code = "timed_out"


class Interrupted(OutboundError):
    """The connection broke or the answer was not valid HTTP."""

    code = "interrupted"


class BodyTooLarge(OutboundError):
    """More bytes than the cap, raw or decoded."""

    code = "body_too_large"


class DecodeFailed(OutboundError):
    """The content encoding is broken or refused."""

    code = "decode_failed"


class SignatureError(RelayError):
    """A signature, token or sealed value does not verify."""


class KeyMissing(RelayError):
    """A stored row names an encryption key that is not configured."""
