"""Relay's own secret keys, as the settings give them: newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from relay.errors import SettingError
from relay.model import Secret

MINIMUM_CHARACTERS: Final = 32


def usable_keys(secret_keys: Sequence[Secret]) -> tuple[bytes, ...]:
    """The bytes of the keys, in the order given. Raises SettingError when there is none or one is too short."""
    if not secret_keys:
        raise SettingError("RELAY_SECRET_KEYS is empty: give at least one key, newest first")
    for place, key in enumerate(secret_keys, start=1):
        length = len(key.reveal())
        if length < MINIMUM_CHARACTERS:
            raise SettingError(
                f"RELAY_SECRET_KEYS: key {place} has {length} characters, at least {MINIMUM_CHARACTERS} are needed"
            )
    return tuple(key.reveal().encode("utf-8", "surrogatepass") for key in secret_keys)
