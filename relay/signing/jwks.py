"""Ed25519 signatures by keys that a provider publishes as a JWK set (RFC 7517, RFC 8037): pure checks.

Fetching the set, and keeping it no longer than a day, is the caller's business.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from relay.signing.schemes import Part, signed_bytes

MAXIMUM_KEYS: Final = 32  # more than one is for rotation; many more is somebody making us work
MAXIMUM_JWKS_BYTES: Final = 65_536
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]{43}=?\Z")
_HEX: Final = re.compile(r"[0-9a-fA-F]{128}\Z")


def ed25519_keys(jwks: bytes) -> tuple[bytes, ...]:
    """The Ed25519 public keys of a JWK set, as their 32 bytes each; those of other kinds are left out.

    Whatever the bytes are, it does not raise: what is no key set has no keys.
    """
    try:
        document = json.loads(jwks) if len(jwks) <= MAXIMUM_JWKS_BYTES else None
    except (ValueError, RecursionError):
        return ()
    listed = document.get("keys") if isinstance(document, dict) else None
    keys = [_key(one) for one in listed] if isinstance(listed, list) else []
    return tuple(dict.fromkeys(key for key in keys if key is not None))[:MAXIMUM_KEYS]


def ed25519_signature(
    *,
    keys: Sequence[bytes],
    encoding: str,
    prefix: str,
    template: Sequence[Part],
    headers: Mapping[str, str],
    body: bytes,
    got: str,
) -> bool:
    """Whether `got` is the signature by one of the keys over what the template makes of this request.

    `headers` has lower-case names. The timestamp among them is for the caller to judge (`schemes.timestamp_fresh`).
    """
    signature, signed = _signature(got, prefix, encoding), signed_bytes(template, headers, body)
    if signature is None or signed is None:
        return False
    return any(_is_signed(key, signature, signed) for key in keys)


def _key(jwk: object) -> bytes | None:
    if not isinstance(jwk, dict) or jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        return None
    text = jwk.get("x")
    if jwk.get("use", "sig") != "sig" or not isinstance(text, str) or not _BASE64URL.match(text):
        return None
    return base64.urlsafe_b64decode(text.rstrip("=") + "=")


def _signature(got: str, prefix: str, encoding: str) -> bytes | None:
    if not got.startswith(prefix):
        return None
    text = got[len(prefix) :]
    if encoding == "hex":
        return bytes.fromhex(text) if _HEX.match(text) else None
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return signature if len(signature) == SIGNATURE_BYTES else None


def _is_signed(key: bytes, signature: bytes, signed: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True
