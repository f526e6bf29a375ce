"""Signed texts that stand in URLs: callback tokens, payload links, page cursors.

They are readable by whoever holds them and say nothing that is secret; the signature (HMAC-SHA256, a salt of its own
for each purpose) is what makes them a capability. All are safe as one path segment or query value.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from itsdangerous import Signer

from relay.clock import Instant
from relay.ids import ID_LENGTH, is_id
from relay.model import JOB, RESULT, WEBHOOK, Secret
from relay.signing.keyring import usable_keys

MAXIMUM_LENGTH: Final = 512
REMEMBERED_TOKENS: Final = 4096

_HEX: Final = rf"[0-9a-f]{{{ID_LENGTH}}}"
_NUMBER: Final = r"0|[1-9][0-9]{0,17}"
_CALLBACK: Final = re.compile(rf"({_HEX})\.({_NUMBER})(?:\.({_HEX}))?", re.ASCII)
_LINK: Final = re.compile(rf"({_HEX})\.({_NUMBER})", re.ASCII)


class SignedText:
    """Signs short texts for one purpose; opens those of older keys and of no other purpose."""

    __slots__ = ("_signers",)

    def __init__(self, secret_keys: Sequence[Secret], purpose: str) -> None:
        """`secret_keys`: newest first. Raises SettingError for a key under 32 characters."""
        # One signer per key instead of itsdangerous's list: its `unsign` decodes leniently, so that many texts
        # would pass for one signature. Here the one canonical text is compared.
        self._signers = tuple(
            Signer(key, salt=f"relay.{purpose}.v1", key_derivation="hmac", digest_method=hashlib.sha256)
            for key in usable_keys(secret_keys)
        )

    def sign(self, value: str, context: str = "") -> str:
        """`value` with its signature. `context` is signed too but not in the text: the reader must know it.

        Raises ValueError unless `value` is short and ASCII.
        """
        if not value.isascii():
            raise ValueError("a signed text is ASCII")
        signature = self._signers[0].get_signature(_signed(value, context)).decode()
        text = f"{value}.{signature}"
        if len(text) > MAXIMUM_LENGTH:
            raise ValueError(f"a signed text is at most {MAXIMUM_LENGTH} characters long")
        return text

    def open(self, text: str, context: str = "") -> str | None:
        """The value if the signature is ours, else None. Never raises; long texts are not looked at."""
        if len(text) > MAXIMUM_LENGTH or not text.isascii():
            return None
        value, dot, signature = text.rpartition(".")
        if not dot:
            return None
        signed, given = _signed(value, context), signature.encode()
        if any(hmac.compare_digest(signer.get_signature(signed), given) for signer in self._signers):
            return value
        return None


@dataclass(frozen=True, slots=True)
class CallbackToken:
    """What a callback URL stands for."""

    webhook_id: str
    generation: int  # raised by `rotate`; whether it is still valid is the caller's question
    job_id: str | None


class CallbackTokens:
    """The tokens in callback URLs."""

    __slots__ = ("_signed", "_verified")

    def __init__(self, secret_keys: Sequence[Secret]) -> None:
        """`secret_keys`: newest first."""
        self._signed = SignedText(secret_keys, "callback-token")
        self._verified: OrderedDict[str, CallbackToken] = OrderedDict()

    def mint(self, webhook_id: str, generation: int, job_id: str | None = None) -> str:
        """A new token. Raises ValueError for what is not an id or a generation."""
        if not 0 <= generation < 10**18:
            raise ValueError("a generation is a number from 0")
        value = f"{_digits(webhook_id, WEBHOOK)}.{generation}"
        return self._signed.sign(value if job_id is None else f"{value}.{_digits(job_id, JOB)}")

    def read(self, token: str) -> CallbackToken | None:
        """What the token stands for; None for every text that is not a token of ours. Never raises."""
        if len(token) > MAXIMUM_LENGTH:
            return None
        # Only verified tokens are remembered, so that garbage cannot push the real ones out.
        known = self._verified.get(token)
        if known is not None:
            self._verified.move_to_end(token)
            return known
        found = self._verify(token)
        if found is not None:
            self._verified[token] = found
            if len(self._verified) > REMEMBERED_TOKENS:
                self._verified.popitem(last=False)
        return found

    def _verify(self, token: str) -> CallbackToken | None:
        value = self._signed.open(token)
        parts = _CALLBACK.fullmatch(value) if value is not None else None
        if parts is None:
            return None
        webhook, generation, job = parts.groups()
        return CallbackToken(f"{WEBHOOK}_{webhook}", int(generation), f"{JOB}_{job}" if job else None)


class PayloadLinks:
    """The last part of a thin delivery's `payload_url`: one result, until an instant."""

    __slots__ = ("_signed",)

    def __init__(self, secret_keys: Sequence[Secret]) -> None:
        """`secret_keys`: newest first."""
        self._signed = SignedText(secret_keys, "payload-link")

    def mint(self, result_id: str, expires_at: Instant) -> str:
        """A new link. Raises ValueError for what is not a result's id or an instant since 1970."""
        if not 0 <= expires_at < 10**18:
            raise ValueError("a link expires at an instant since 1970")
        return self._signed.sign(f"{_digits(result_id, RESULT)}.{expires_at}")

    def read(self, text: str, now: Instant) -> str | None:
        """The result's id; None if the link is not ours or its time is over. Never raises."""
        value = self._signed.open(text)
        parts = _LINK.fullmatch(value) if value is not None else None
        if parts is None or now >= int(parts[2]):
            return None
        return f"{RESULT}_{parts[1]}"


class Cursors:
    """Page cursors: a position, good only for the query that it was given out for."""

    __slots__ = ("_signed",)

    def __init__(self, secret_keys: Sequence[Secret]) -> None:
        """`secret_keys`: newest first."""
        self._signed = SignedText(secret_keys, "cursor")

    def mint(self, position: str, query_fingerprint: str) -> str:
        """A new cursor. Raises ValueError for a position too long for a URL (over some 340 bytes)."""
        value = base64.urlsafe_b64encode(position.encode()).rstrip(b"=").decode()
        return self._signed.sign(value, query_fingerprint)

    def read(self, text: str, query_fingerprint: str) -> str | None:
        """The position; None if the cursor is not ours or belongs to another query. Never raises."""
        value = self._signed.open(text, query_fingerprint)
        if value is None:
            return None
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).decode()


def token_fingerprint(token: str) -> str:
    """How a token is named in logs: the first 8 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _signed(value: str, context: str) -> bytes:
    # Always the hash, also of an empty context: so no value can be made to look like another value with a context.
    return f"{value}|{hashlib.sha256(context.encode('utf-8', 'surrogatepass')).hexdigest()}".encode()


def _digits(id: str, prefix: str) -> str:
    if not is_id(id, prefix):
        raise ValueError(f"not an id of the form {prefix}_…")
    return id.partition("_")[2]
