"""Where a program's relay is, as its environment says."""

from __future__ import annotations

import os

from relay.errors import SettingError
from relay.model import Secret


def from_environment() -> tuple[str, Secret]:
    """RELAY_URL and RELAY_API_KEY. Raises SettingError that names what is missing."""
    url, key = os.environ.get("RELAY_URL"), os.environ.get("RELAY_API_KEY")
    if not url:
        raise SettingError("RELAY_URL is not set: the relay's address, for example http://127.0.0.1:8000")
    if not key:
        raise SettingError("RELAY_API_KEY is not set: a key of the relay at RELAY_URL")
    return url, Secret(key)
