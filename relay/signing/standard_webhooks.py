"""Standard Webhooks 1.0.0: what subscribers receive, and what several providers send.

Signed is `{id}.{timestamp}.{body}`, bytes as they are on the wire: with HMAC-SHA256 (`v1`) or, for subscribers that ask
for it, with Ed25519 (`v1a`). A secret verifies `v1` alone and a public key `v1a` alone; the other kind is skipped in a
list of signatures, as the specification asks of a receiver that does not know it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from relay.clock import Instant
from relay.errors import SignatureError
from relay.model import PRIVATE_KEY_PREFIX, Secret
from relay.signing.asymmetric import PUBLIC_PREFIX, PrivateKey, PublicKey, decode_private_key, decode_public_key

SigningKey = bytes | PrivateKey
VerifyingKey = bytes | PublicKey
SECRET_PREFIX: Final = "whsec_"
MINIMUM_KEY_BYTES: Final = 24
MAXIMUM_KEY_BYTES: Final = 64
GENERATED_KEY_BYTES: Final = 32
# A sender lists one signature per active secret. A longer list is somebody making us work.
MAXIMUM_SIGNATURES: Final = 32
TOLERANCE_SECONDS: Final = 300.0
HEADER_FAMILIES: Final = ("webhook", "svix")
HEADER_NAMES: Final = frozenset(
    f"{family}-{part}" for family in HEADER_FAMILIES for part in ("id", "timestamp", "signature")
)

_TIMESTAMP_DIGITS: Final = 12
_SHA256: Final = "sha256"


class Reason(StrEnum):
    """Why something does not verify. Goes into the 401's problem and the notification's `reason`."""

    SIGNATURE_MISSING = "signature_missing"
    SIGNATURE_REPEATED = "signature_repeated"
    SIGNATURE_WRONG = "signature_wrong"
    TIMESTAMP_MALFORMED = "timestamp_malformed"
    TIMESTAMP_OUTSIDE_TOLERANCE = "timestamp_outside_tolerance"
    SECRET_MISSING = "secret_missing"
    SECRET_UNUSABLE = "secret_unusable"


def sign(message_id: str, timestamp: int, body: bytes, keys: Sequence[SigningKey]) -> str:
    """The `webhook-signature` header: one `v1,…` or `v1a,…` per key, separated by spaces. `timestamp` is in whole
    seconds.

    `keys` come from `signing_key`. `message_id` is one of Relay's own ids, which contain no full stop. Raises
    ValueError when there is no key: an unsigned delivery would look like a signed one that was tampered with.
    """
    if not keys:
        raise ValueError("there is no key to sign with")
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return b" ".join(
        [_signature(key, signed) if isinstance(key, bytes) else key.signature(signed) for key in keys]
    ).decode()


def verify(
    headers: Mapping[str, str],
    body: bytes,
    keys: Sequence[VerifyingKey],
    now: Instant,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> None:
    """Return if one signature is that of one key and the timestamp is near `now`; else raise SignatureError.

    Header names are taken in any case, as `webhook-*` or as `svix-*`, never mixed.
    """
    reason = check(headers, body, keys, now, tolerance_seconds=tolerance_seconds)
    if reason is not None:
        raise SignatureError(reason.value)


def check(
    headers: Mapping[str, str],
    body: bytes,
    keys: Sequence[VerifyingKey],
    now: Instant,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> Reason | None:
    """As `verify`, with the reason as a value; None = verified."""
    ours = [(name.lower(), value) for name, value in headers.items() if name.lower() in HEADER_NAMES]
    lowered = dict(ours)
    if len(lowered) != len(ours):
        return Reason.SIGNATURE_REPEATED
    message_id, timestamp, signatures = _family(lowered)
    if not (message_id and timestamp and signatures):
        return Reason.SIGNATURE_MISSING
    late = timestamp_reason(timestamp, now, tolerance_seconds)
    if late is not None:
        return late
    # A full stop in the id would let an attacker move the borders between id, timestamp and body.
    if "." in message_id or not (message_id.isascii() and signatures.isascii()):
        return Reason.SIGNATURE_WRONG
    # The header's own text is signed: a number printed anew need not be the same bytes.
    signed = b"%b.%b.%b" % (message_id.encode(), timestamp.encode(), body)
    return None if _any_matches(signatures, signed, keys) else Reason.SIGNATURE_WRONG


def signed_id(headers: Mapping[str, str]) -> str:
    """The message id that `check` looked at: of the family that brought the signature. `headers` were verified."""
    return _family({name.lower(): value for name, value in headers.items()})[0] or ""


def timestamp_reason(text: str, now: Instant, tolerance_seconds: float) -> Reason | None:
    """What is wrong with a timestamp in whole seconds; None = it is near enough to `now`."""
    if not (text.isascii() and text.isdigit() and len(text) <= _TIMESTAMP_DIGITS):
        return Reason.TIMESTAMP_MALFORMED
    if abs(int(text) * 1000 - now) > tolerance_seconds * 1000:
        return Reason.TIMESTAMP_OUTSIDE_TOLERANCE
    return None


def signing_key(secret: Secret) -> SigningKey:
    """What signs with a secret, whichever kind it is. Raises ValueError, without the secret."""
    return decode_private_key(secret) if secret.reveal().startswith(PRIVATE_KEY_PREFIX) else decode_secret(secret)


def verifying_key(secret: Secret) -> VerifyingKey:
    """What verifies with a secret or a public key, whichever it is. Raises ValueError, without the secret."""
    text = secret.reveal()
    if text.startswith(PRIVATE_KEY_PREFIX):
        raise ValueError(f"a private key is for signing: verify with its public key, {PUBLIC_PREFIX}…")
    return decode_public_key(text) if text.startswith(PUBLIC_PREFIX) else decode_secret(secret)


def decode_secret(secret: Secret) -> bytes:
    """The key of a signing secret: base64 after `whsec_`, any other text as its UTF-8 bytes.

    Raises ValueError, without the secret, unless the key has 24 to 64 bytes as the specification demands.
    """
    text = secret.reveal()
    prefixed = text.startswith(SECRET_PREFIX)
    key = decode_base64_key(text.removeprefix(SECRET_PREFIX)) if prefixed else text.encode("utf-8", "surrogatepass")
    if not MINIMUM_KEY_BYTES <= len(key) <= MAXIMUM_KEY_BYTES:
        raise ValueError(
            f"a signing secret holds {MINIMUM_KEY_BYTES} to {MAXIMUM_KEY_BYTES} bytes, this one holds {len(key)}"
        )
    return key


def decode_base64_key(text: str) -> bytes:
    """Strict base64; only the padding may be left out. Raises ValueError, without the text."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the secret is not base64") from None


def generate_secret() -> Secret:
    """A new signing secret in the `whsec_` form."""
    # The system's entropy, not the injected clock's `random`: that one is predictable, which is right for jitter only.
    return Secret(SECRET_PREFIX + base64.b64encode(secrets.token_bytes(GENERATED_KEY_BYTES)).decode())


def _signature(key: bytes, signed: bytes) -> bytes:
    return b"v1," + base64.b64encode(hmac.digest(key, signed, _SHA256))


def _family(headers: Mapping[str, str]) -> tuple[str | None, str | None, str | None]:
    family = next((f for f in HEADER_FAMILIES if f"{f}-signature" in headers), HEADER_FAMILIES[0])
    return headers.get(f"{family}-id"), headers.get(f"{family}-timestamp"), headers.get(f"{family}-signature")


def _any_matches(signatures: str, signed: bytes, keys: Sequence[VerifyingKey]) -> bool:
    offered = signatures.encode().split(b" ", MAXIMUM_SIGNATURES)
    if len(offered) > MAXIMUM_SIGNATURES:
        return False
    # Compared as text in its one canonical form: a decoder that skips odd characters or spare bits would
    # let many texts stand for one signature.
    expected = [_signature(key, signed) for key in keys if key and isinstance(key, bytes)]
    if any(hmac.compare_digest(mine, theirs) for mine in expected for theirs in offered):
        return True
    public = [key for key in keys if not isinstance(key, bytes)]
    return any(key.has_signed(signed, theirs) for key in public for theirs in offered)
