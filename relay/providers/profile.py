"""A provider profile: everything that differs between providers, as frozen data.

`relay.providers.loader` makes profiles from TOML, `relay.providers.reading` reads notifications and answers by them.
Nothing here opens a file or a connection.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from relay.model import Secret
from relay.providers.callback import Callback, Inline, KeyEncoding, MarkerType, VerificationKind, VerificationScheme
from relay.providers.fetch import PLACEHOLDER, Fetch, Hop, Place, fold_status
from relay.providers.path import Path, Paths
from relay.providers.submit import Cancel, Submit

__all__ = [
    "PLACEHOLDER",
    "Auth",
    "AuthKind",
    "Callback",
    "Cancel",
    "Fetch",
    "Hop",
    "Inline",
    "KeyEncoding",
    "MarkerType",
    "Parameter",
    "Path",
    "Paths",
    "Place",
    "Poll",
    "Profile",
    "Retention",
    "Submit",
    "VerificationKind",
    "VerificationScheme",
    "fold_status",
]

UNKNOWN_RETENTION_SECONDS: Final = 600.0

AuthKind = Literal["none", "basic", "bearer", "header"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """How requests to the provider are authenticated."""

    kind: AuthKind = "none"
    header: str = "Authorization"
    value_prefix: str = ""  # for kind "header": `Key `, `Token `, or nothing

    @property
    def credential_fields(self) -> tuple[str, ...]:
        """The credentials that a webhook of this provider must bring."""
        if self.kind == "none":
            return ()
        return ("username", "password") if self.kind == "basic" else ("api_key",)

    def headers(self, credentials: Mapping[str, Secret]) -> Mapping[str, Secret]:
        """The request headers that carry the credentials.

        Basic is built by RFC 7617 with UTF-8. Raises ValueError, naming the field and never its value, when a
        credential is missing or cannot stand in a header.
        """
        values = {name: self._value(credentials, name) for name in self.credential_fields}
        if self.kind == "none":
            return {}
        if self.kind == "basic":
            if ":" in values["username"]:
                raise ValueError("the credential 'username' may not contain a colon (RFC 7617)")
            pair = f"{values['username']}:{values['password']}".encode()
            return {self.header: Secret("Basic " + base64.b64encode(pair).decode())}
        prefix = "Bearer " if self.kind == "bearer" else self.value_prefix
        return {self.header: Secret(prefix + values["api_key"])}

    def _value(self, credentials: Mapping[str, Secret], name: str) -> str:
        secret = credentials.get(name)
        value = secret.reveal() if secret is not None else ""
        if not value and name != "password":
            raise ValueError(f"the credential {name!r} is missing")
        if any(ord(c) < 32 or ord(c) == 127 for c in value):
            raise ValueError(f"the credential {name!r} contains a control character")
        if self.kind != "basic" and not value.isascii():
            raise ValueError(f"the credential {name!r} contains a character outside ASCII")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What a webhook of this provider is asked for besides credentials."""

    name: str
    required: bool = False
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long the provider keeps a result, and since when."""

    seconds: float | None = None
    anchor: Literal["completed", "submitted"] = "completed"
    single_use: bool = False  # the first fetch consumes the result: it must be kept before anything else

    @property
    def effective_seconds(self) -> float:
        """The retention to plan with; an unknown one counts as ten minutes."""
        return UNKNOWN_RETENTION_SECONDS if self.seconds is None else self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """When to ask. Each list holds the waits in seconds between one try and the next; the last one repeats."""

    waits: tuple[float, ...] = (2, 5, 10, 20, 30, 60)  # no notification is expected
    backstop: tuple[float, ...] = (5, 25, 60, 120, 300)  # one is expected and has not come
    ready: tuple[float, ...] = (0, 1, 2, 5, 10, 20, 30, 60)  # one has come
    max_wait_seconds: float = 259_200.0  # longest time from submit to completion
    steps: tuple[tuple[float, float], ...] = ()  # (until this age, every so many seconds); `waits` is made of them
    hints: tuple[str, ...] = ()  # headers besides Retry-After that say when to come back; `…-ms` in milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One provider."""

    name: str
    title: str
    fetch: Fetch
    summary: str = ""
    origins: tuple[str, ...] = ()  # where results may be fetched from unless the webhook says otherwise
    base_url: str | None = None
    auth: Auth = Auth()
    parameters: tuple[Parameter, ...] = ()
    callback: Callback | None = None  # None = this provider never calls back
    retention: Retention = Retention()
    poll: Poll = Poll()
    submit: Submit | None = None  # None = nothing is sent through Relay
    cancel: Cancel | None = None  # None = this provider cancels nothing
    notes: str = ""
