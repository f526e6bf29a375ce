"""Credentials and where they may go: what every call to a provider passes before a header carries a secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from relay.errors import ForeignOrigin
from relay.model import Secret

CREDENTIAL_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
FRAMING_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})
"""What only the HTTP library knows: given by a caller they are left out."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """Credentials and the only origins they may go to. Shows neither in its repr."""

    origins: frozenset[str]  # canonical, as `canonical_origin` gives them
    headers: Mapping[str, Secret]

    def __repr__(self) -> str:
        return "Authorization(***)"


def headers_for(
    origin: str, given: Mapping[str, str], authorization: Authorization | None, allowed_origins: frozenset[str]
) -> dict[str, str]:
    """What goes to `origin`: the given headers and the credentials that belong there, all names in lower case.

    `allowed_origins` binds when it is not empty; it never opens an origin to credentials. Raises ForeignOrigin.
    """
    if authorization is not None and origin not in authorization.origins:
        raise ForeignOrigin("the URL is not on an origin that the credentials belong to")
    if allowed_origins and origin not in allowed_origins:
        raise ForeignOrigin("the URL is not on an allowed origin")
    headers: dict[str, str] = {}
    for given_name, value in given.items():
        name = given_name.lower()
        if name in CREDENTIAL_HEADERS:
            raise ForeignOrigin("credentials go through Authorization, which names their origins")
        if name not in FRAMING_HEADERS:
            headers[name] = value
    if authorization is not None:
        for given_name, secret in authorization.headers.items():
            headers[given_name.lower()] = secret.reveal()
    return headers
