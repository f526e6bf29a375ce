"""Management keys: `rk_` + the key's id + a secret + a checksum. Only a hash of the whole text is stored."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from typing import Final

from relay.ids import ID_LENGTH, is_id
from relay.model import KEY, Secret

_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SECRET_LENGTH: Final = 43  # 62 ** 43 > 2 ** 256
_CHECKSUM_LENGTH: Final = 6  # 62 ** 6 > 2 ** 32
_FORM: Final = re.compile(
    rf"(rk_[0-9a-f]{{{ID_LENGTH}}}_[0-9A-Za-z]{{{_SECRET_LENGTH}}})([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})", re.ASCII
)


def generate(key_id: str) -> Secret:
    """A new key with 256 random bits. Raises ValueError if `key_id` is not a key's id."""
    if not is_id(key_id, KEY):
        raise ValueError(f"not an id of the form {KEY}_…")
    # The system's entropy, not the injected clock's `random`: that one is predictable, which is right for jitter only.
    text = f"rk_{key_id.partition('_')[2]}_{_base62(secrets.randbits(256), _SECRET_LENGTH)}"
    return Secret(text + _checksum(text))


def digest(text: str) -> str:
    """What is stored of a key: SHA-256 in hexadecimal, of any text (an administrator's own key has any form).

    A fast hash is right: the keys that Relay makes have 256 random bits, and an own key has at least 32 characters.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def looks_like_key(text: str) -> bool:
    """Whether Relay could have made this key: for scanners of logs and repositories, never to let somebody in."""
    parts = _FORM.fullmatch(text)
    return parts is not None and _checksum(parts[1]) == parts[2]


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CHECKSUM_LENGTH)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
