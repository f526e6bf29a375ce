"""How providers sign. Written from their documents and without Relay's own signing room, which it is a witness for."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relay.clock import Instant
from relay.model import Secret

PREFIX: Final = "whsec_"


def standard_webhooks(
    secret: Secret, message_id: str, at: Instant, body: bytes, *, family: str = "webhook"
) -> dict[str, str]:
    """The three headers of Standard Webhooks 1.0.0; `family` is `webhook` or, as Svix names them, `svix`."""
    text, seconds = secret.reveal(), str(at // 1000)
    key = base64.b64decode(text.removeprefix(PREFIX)) if text.startswith(PREFIX) else text.encode()
    digest = hmac.digest(key, f"{message_id}.{seconds}.".encode() + body, "sha256")
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {f"{family}-id": message_id, f"{family}-timestamp": seconds, f"{family}-signature": signature}


def hmac_hex(secret: Secret, body: bytes) -> str:
    """HMAC-SHA256 of the body in hexadecimal."""
    return hmac.new(secret.reveal().encode(), body, hashlib.sha256).hexdigest()


def ed25519_hex(secret: Secret, *lines: str) -> str:
    """An Ed25519 signature in hexadecimal over lines joined by LF."""
    return _key(secret).sign("\n".join(lines).encode()).hex()


def jwk(secret: Secret) -> dict[str, str]:
    """The public key as RFC 8037 writes it."""
    public = _key(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(public).rstrip(b"=").decode()}


def _key(secret: Secret) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(secret.reveal().encode()).digest())
