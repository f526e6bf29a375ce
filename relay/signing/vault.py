"""Secrets at rest: AES-256-GCM, bound to the place where they are stored.

    version (1 byte) | key id (8) | nonce (12) | ciphertext and tag

The associated data is `table|column|row`, so that a value moved to another place does not open.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from relay.errors import KeyMissing, SignatureError
from relay.model import Secret
from relay.signing.keyring import usable_keys

_VERSION: Final = b"\x01"
_ID_END: Final = 1 + 8
_NONCE_END: Final = _ID_END + 12
_MINIMUM: Final = _NONCE_END + 16


class Vault:
    """Seals with the newest key, opens with any. Raises SettingError for a key under 32 characters."""

    __slots__ = ("_ciphers", "_newest")

    def __init__(self, secret_keys: Sequence[Secret]) -> None:
        """`secret_keys`: newest first."""
        keys = usable_keys(secret_keys)
        self._ciphers = {_key_id(key): AESGCM(_derive(key, b"relay vault v1")) for key in keys}
        self._newest = _key_id(keys[0])

    @property
    def newest_key_id(self) -> str:
        """The key that seals, in 16 hexadecimal digits. It tells nothing about the key."""
        return self._newest

    def knows(self, key_id: str) -> bool:
        """Whether values sealed with this key can be opened."""
        return key_id in self._ciphers

    def seal(self, table: str, column: str, row_id: str, plaintext: bytes) -> bytes:
        """Encrypt for one column of one row."""
        # Random nonces of 96 bits: one key is good for 2^32 values (NIST SP 800-38D), far more than rows get sealed.
        nonce = os.urandom(12)
        ciphertext = self._ciphers[self._newest].encrypt(nonce, plaintext, _place(table, column, row_id))
        return b"".join((_VERSION, bytes.fromhex(self._newest), nonce, ciphertext))

    def unseal(self, table: str, column: str, row_id: str, sealed: bytes) -> bytes:
        """Decrypt. Raises KeyMissing, naming the key id, or SignatureError if anything was changed or moved."""
        key_id = self.key_id_of(sealed)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise KeyMissing(f"RELAY_SECRET_KEYS lacks the key {key_id}, with which {table}.{column} was sealed")
        try:
            return cipher.decrypt(sealed[_ID_END:_NONCE_END], sealed[_NONCE_END:], _place(table, column, row_id))
        except InvalidTag:
            raise SignatureError(f"a sealed value in {table}.{column} does not open") from None

    def seal_json(self, table: str, column: str, row_id: str, value: Any) -> bytes:
        """Encrypt a JSON value; a Secret in it is sealed as its text. Raises TypeError for what JSON cannot hold."""
        return self.seal(table, column, row_id, json.dumps(value, default=_reveal, separators=(",", ":")).encode())

    def unseal_json(self, table: str, column: str, row_id: str, sealed: bytes) -> Any:
        """Decrypt what `seal_json` made. Raises as `unseal` does."""
        plaintext = self.unseal(table, column, row_id, sealed)
        try:
            return json.loads(plaintext)
        except ValueError:  # its message and attributes would carry the plaintext into tracebacks
            raise SignatureError(f"a sealed value in {table}.{column} is not JSON") from None

    def needs_reseal(self, sealed: bytes) -> bool:
        """Whether an older key than the newest sealed it. Raises SignatureError if it is no sealed value."""
        return self.key_id_of(sealed) != self._newest

    @staticmethod
    def key_id_of(sealed: bytes) -> str:
        """The id of the key that sealed a value, known or not. Raises SignatureError if it is no sealed value."""
        if len(sealed) < _MINIMUM or sealed[:1] != _VERSION:
            raise SignatureError("not a sealed value")
        return sealed[1:_ID_END].hex()


def _place(table: str, column: str, row_id: str) -> bytes:
    # Only the last part may hold the separator, or two places could have one name.
    if "|" in table or "|" in column:
        raise ValueError("a table or column name holds a |")
    return f"{table}|{column}|{row_id}".encode()


def _key_id(key: bytes) -> str:
    return hashlib.sha256(_derive(key, b"relay key id v1")).hexdigest()[:16]


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(key)


def _reveal(value: object) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"a {type(value).__name__} cannot be sealed as JSON")
