"""Standard Webhooks 1.0.0, asymmetric form: Ed25519 signatures (`v1a`), so that a subscriber needs no secret.

The private key is `whsk_` and the public one `whpk_` in front of base64. A private key is 64 bytes, the seed and the
public key behind it, as the specification's own example is; 32 bytes, the seed alone, are taken too.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from relay.model import PRIVATE_KEY_PREFIX, Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PUBLIC_PREFIX: Final = "whpk_"
SEED_BYTES: Final = 32
KEY_BYTES: Final = 64
PUBLIC_KEY_BYTES: Final = 32
VERSION: Final = b"v1a,"


class PrivateKey:
    """A private key that is ready to sign."""

    __slots__ = ("_key", "public_key")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = PUBLIC_PREFIX + base64.b64encode(key.public_key().public_bytes_raw()).decode()

    def signature(self, signed: bytes) -> bytes:
        """One item of the `webhook-signature` header."""
        return VERSION + base64.b64encode(self._key.sign(signed))


class PublicKey:
    """A public key that is ready to verify."""

    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    def has_signed(self, signed: bytes, item: bytes) -> bool:
        """Whether one item of a `webhook-signature` header is this key's, written in its one canonical form."""
        from cryptography.exceptions import InvalidSignature

        if not item.startswith(VERSION):
            return False
        try:
            signature = base64.b64decode(item.removeprefix(VERSION), validate=True)
            if VERSION + base64.b64encode(signature) != item:
                return False
            self._key.verify(signature, signed)
        except (ValueError, InvalidSignature):
            return False
        return True


def decode_private_key(secret: Secret) -> PrivateKey:
    """The key of a `whsk_` text. Raises ValueError, without the text."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # only who signs with it pays

    text = secret.reveal()
    if not text.startswith(PRIVATE_KEY_PREFIX):
        raise ValueError(f"an Ed25519 private key begins with {PRIVATE_KEY_PREFIX}")
    given = text.removeprefix(PRIVATE_KEY_PREFIX)
    try:
        raw = base64.b64decode(given + "=" * (-len(given) % 4), validate=True)
    except ValueError:
        raise ValueError("the private key is not base64") from None
    if len(raw) not in (SEED_BYTES, KEY_BYTES):
        raise ValueError(f"an Ed25519 private key holds {KEY_BYTES} bytes (or its seed's 32), this one {len(raw)}")
    key = Ed25519PrivateKey.from_private_bytes(raw[:SEED_BYTES])
    if raw[SEED_BYTES:] not in (b"", key.public_key().public_bytes_raw()):
        raise ValueError("the two halves of the private key do not belong together")
    return PrivateKey(key)


def decode_public_key(text: str) -> PublicKey:
    """The key of a `whpk_` text. Raises ValueError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not text.startswith(PUBLIC_PREFIX):
        raise ValueError(f"an Ed25519 public key begins with {PUBLIC_PREFIX}")
    given = text.removeprefix(PUBLIC_PREFIX)
    try:
        raw = base64.b64decode(given + "=" * (-len(given) % 4), validate=True)
    except ValueError:
        raise ValueError("the public key is not base64") from None
    if len(raw) != PUBLIC_KEY_BYTES:
        raise ValueError(f"an Ed25519 public key holds {PUBLIC_KEY_BYTES} bytes, this one {len(raw)}")
    return PublicKey(Ed25519PublicKey.from_public_bytes(raw))


def generate_private_key() -> Secret:
    """A new private key in the `whsk_` form."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    raw = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    return Secret(PRIVATE_KEY_PREFIX + base64.b64encode(raw).decode())


def public_key_of(secret: Secret) -> str:
    """The `whpk_` text that belongs to a `whsk_` text. Raises ValueError, without the text."""
    return decode_private_key(secret).public_key
