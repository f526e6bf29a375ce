"""How providers prove that a notification is theirs, besides Standard Webhooks: pure checks, constant in time.

Header values come from the wire as Latin-1 text; they are compared and signed as the bytes that they were.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from relay.clock import Instant
from relay.model import Secret
from relay.signing.standard_webhooks import Reason, decode_base64_key, decode_secret, timestamp_reason

ALGORITHMS: Final = frozenset({"sha1", "sha256", "sha384", "sha512"})

_MILLISECOND_DIGITS: Final = 13  # a number of seconds gets this long in the year 33658
_PART: Final = re.compile(r"\{(body|sha256_hex:body|header:[^{}]+|json:[^{}]+)\}")

PartKind = Literal["literal", "body", "sha256_hex", "header", "json"]


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of what is signed."""

    kind: PartKind
    text: str = ""  # the literal, the header's name in lower case, or the dotted path


def parse_template(template: str) -> tuple[Part, ...]:
    """The pieces of a signed template such as `{header:x-ts}.{body}`. Raises ValueError for an unknown piece."""
    pieces = _PART.split(template)
    literals, fields = pieces[::2], pieces[1::2]
    if any("{" in literal or "}" in literal for literal in literals):
        raise ValueError(
            "a signed template is {body}, {sha256_hex:body}, {header:name}, {json:path} and text without braces"
        )
    parts = [Part("literal", literals[0])]
    for field, literal in zip(fields, literals[1:], strict=True):
        parts += [_field(field), Part("literal", literal)]
    return tuple(part for part in parts if part != Part("literal"))


def key_bytes(secret: Secret, encoding: str) -> bytes:
    """The HMAC key of a secret; `encoding` is utf8, base64 or whsec. Raises ValueError, without the secret."""
    if encoding == "whsec":
        return decode_secret(secret)
    text = secret.reveal()
    key = decode_base64_key(text) if encoding == "base64" else text.encode("utf-8", "surrogatepass")
    if not key:
        raise ValueError("the secret is empty")
    return key


def header_equals(expected: Sequence[Secret], got: str | None) -> bool:
    """Whether a shared header carries one of the expected values. An empty expected value never matches."""
    if got is None:
        return False
    given = _wire(got)
    return any(_equal(_wire(secret.reveal()), given) for secret in expected if secret.reveal())


def basic(username: Secret, password: Secret, authorization: str | None) -> bool:
    """Whether an `Authorization` header carries these Basic credentials (RFC 7617, UTF-8)."""
    kind, _, encoded = (authorization or "").partition(" ")
    if kind.lower() != "basic":
        return False
    try:
        given = base64.b64decode(encoded.strip(" "), validate=True)
    except (binascii.Error, ValueError):
        return False
    return _equal(f"{username.reveal()}:{password.reveal()}".encode(), given)


def hmac_signature(
    *,
    algorithm: str,
    encoding: Literal["hex", "base64"],
    prefix: str,
    template: Sequence[Part],
    keys: Sequence[bytes],
    headers: Mapping[str, str],
    body: bytes,
    got: str,
) -> bool:
    """Whether `got` is the HMAC by one of the keys over what the template makes of this request.

    `headers` has lower-case names. Raises ValueError for an algorithm that is not allowed.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"the HMAC algorithm is one of {', '.join(sorted(ALGORITHMS))}")
    signed = signed_bytes(template, headers, body)
    if signed is None:
        return False
    given, start = _wire(got), prefix.encode()
    return any(_equal(start + _encode(hmac.digest(key, signed, algorithm), encoding), given) for key in keys if key)


def signed_bytes(template: Sequence[Part], headers: Mapping[str, str], body: bytes) -> bytes | None:
    """What the sender signed; None if the request lacks a header or a JSON value that the template names."""
    document: Any = _loads(body) if any(part.kind == "json" for part in template) else None
    pieces: list[bytes] = []
    for part in template:
        piece = _piece(part, headers, body, document)
        if piece is None:
            return None
        pieces.append(piece)
    return b"".join(pieces)


def timestamp_fresh(text: str, now: Instant, tolerance_seconds: float) -> Reason | None:
    """What is wrong with a timestamp header in whole seconds or (13 digits) milliseconds; None = nothing."""
    if len(text) == _MILLISECOND_DIGITS and text.isascii() and text.isdigit():
        return None if abs(int(text) - now) <= tolerance_seconds * 1000 else Reason.TIMESTAMP_OUTSIDE_TOLERANCE
    return timestamp_reason(text, now, tolerance_seconds)


def _field(field: str) -> Part:
    kind, _, name = field.partition(":")
    if kind == "header":
        return Part("header", name.lower())
    if kind == "json":
        return Part("json", name)
    return Part("sha256_hex") if kind == "sha256_hex" else Part("body")


def _piece(part: Part, headers: Mapping[str, str], body: bytes, document: Any) -> bytes | None:
    if part.kind == "body":
        return body
    if part.kind == "sha256_hex":
        return hashlib.sha256(body).hexdigest().encode()
    if part.kind == "literal":
        return part.text.encode()
    value = headers.get(part.text) if part.kind == "header" else _at(document, part.text)
    if value is None:
        return None
    return _wire(value) if part.kind == "header" else value.encode("utf-8", "surrogatepass")


def _loads(body: bytes) -> Any:
    try:
        # Numbers stay the text that the provider wrote and signed.
        return json.loads(body, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None


def _at(document: Any, path: str) -> str | None:
    for step in path.split("."):
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and step.isascii() and step.isdigit() and len(step) < 7:
            document = document[int(step)] if int(step) < len(document) else None
        else:
            return None
    return document if isinstance(document, str) else None


def _encode(digest: bytes, encoding: str) -> bytes:
    return base64.b64encode(digest) if encoding == "base64" else digest.hex().encode()


def _wire(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _equal(mine: bytes, theirs: bytes) -> bool:
    # Hashes have one length, so that the time does not tell how long the secret is either.
    return hmac.compare_digest(hashlib.sha256(mine).digest(), hashlib.sha256(theirs).digest())
