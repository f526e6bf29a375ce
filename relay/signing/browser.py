"""Signed texts for people at a browser: sign-in links, sessions, and the tokens of forms.

A session names a key and a piece of that key's hash, so that it ends with the key, on every process and after every
restart: nothing is kept on the server. A sign-in link is good for minutes; that it is used once is its reader's to see
to, by its nonce.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Final

from relay.clock import Instant, after
from relay.frozen import frozen
from relay.ids import ID_LENGTH
from relay.model import KEY, Secret
from relay.signing.tokens import SignedText

LINK_SECONDS: Final = 600.0
SESSION_SECONDS: Final = 12 * 3600.0
FINGERPRINT_LENGTH: Final = 16

_NONCE: Final = r"[0-9a-f]{32}"
_NUMBER: Final = r"0|[1-9][0-9]{0,17}"
_LINK: Final = re.compile(rf"({_NONCE})\.({_NUMBER})", re.ASCII)
_SESSION: Final = re.compile(
    rf"(admin|{KEY}_[0-9a-f]{{{ID_LENGTH}}})\.([0-9a-f]{{{FINGERPRINT_LENGTH}}})\.({_NUMBER})\.({_NONCE})", re.ASCII
)


@frozen()
class Session:
    """Who is signed in."""

    key_id: str  # `admin` for the key of the settings
    fingerprint: str  # the beginning of the key's SHA-256
    expires_at: Instant
    nonce: str


class SignInLinks:
    """The secret part of a link that signs its holder in as the administrator, once."""

    __slots__ = ("_signed",)

    def __init__(self, secret_keys: Sequence[Secret]) -> None:
        """`secret_keys`: newest first."""
        self._signed = SignedText(secret_keys, "sign-in-link")

    def mint(self, now: Instant) -> str:
        """A new one, good for ten minutes."""
        return self._signed.sign(f"{secrets.token_hex(16)}.{after(now, LINK_SECONDS)}")

    def read(self, text: str, now: Instant) -> str | None:
        """Its nonce; None if it is not ours or its time is over. Never raises."""
        value = self._signed.open(text)
        parts = _LINK.fullmatch(value) if value is not None else None
        return None if parts is None or now >= int(parts[2]) else parts[1]


def sign_in_url(url: str, secret_keys: Sequence[Secret], now: Instant) -> str:
    """Where a browser is signed in, once and in the next ten minutes. `url` is the relay's, without a slash."""
    return f"{url}/ui/sign-in?link={SignInLinks(secret_keys).mint(now)}"


class Sessions:
    """What the session cookie holds, and the tokens of the forms that are shown in that session."""

    __slots__ = ("_forms", "_signed")

    def __init__(self, secret_keys: Sequence[Secret]) -> None:
        """`secret_keys`: newest first."""
        self._signed = SignedText(secret_keys, "browser-session")
        self._forms = SignedText(secret_keys, "browser-form")

    def mint(self, key_id: str, sha256: str, now: Instant) -> str:
        """A new session for the key with this hash."""
        fields = (key_id, sha256[:FINGERPRINT_LENGTH], after(now, SESSION_SECONDS), secrets.token_hex(16))
        return self._signed.sign(".".join(map(str, fields)))

    def read(self, text: str, now: Instant) -> Session | None:
        """The session; None if it is not ours or over. Never raises. Whether the key still lives is the caller's."""
        value = self._signed.open(text)
        parts = _SESSION.fullmatch(value) if value is not None else None
        if parts is None or now >= int(parts[3]):
            return None
        return Session(parts[1], parts[2], Instant(int(parts[3])), parts[4])

    def form_token(self, session: Session) -> str:
        """What every form of this session carries."""
        return self._forms.sign(session.nonce)

    def is_form_token(self, session: Session, text: str) -> bool:
        """Whether a form came from a page of this session. Never raises."""
        return self._forms.open(text) == session.nonce
