"""What must be in order for Relay to take anything: the encryption keys at the start, the disk all the time."""

from __future__ import annotations

import asyncio
import shutil
from functools import partial
from pathlib import Path

import structlog

from relay.clock import Clock
from relay.errors import KeyMissing, SettingError
from relay.signing.vault import Vault
from relay.store import sealing
from relay.store.configuration import ConfigurationCache
from relay.store.database import Database

log = structlog.get_logger(__name__)


async def check_keys(database: Database, vault: Vault, clock: Clock) -> None:
    """Refuse to go on when a stored row was sealed with a key that is not configured. Raises SettingError."""
    used = await database.read(sealing.used)
    missing = [key_id for key_id in used if not vault.knows(key_id)]
    if missing:
        raise SettingError(
            f"RELAY_SECRET_KEYS lacks a key that stored secrets were encrypted with (key id {', '.join(missing)}): "
            "add that key after the newest one"
        )
    if vault.newest_key_id not in used:
        await database.write(partial(sealing.use, key_id=vault.newest_key_id, now=clock.now()))


async def load_configuration(configuration: ConfigurationCache) -> None:
    """Read webhooks, subscriptions and keys for the first time. Raises SettingError when a key is missing."""
    try:
        await configuration.refresh()
    except KeyMissing as error:
        raise SettingError(f"RELAY_SECRET_KEYS: {error}") from error


class DiskGuard:
    """Takes nothing more before SQLite finds the disk full: deliveries then still have room to be settled."""

    def __init__(self, directory: Path, floor_bytes: int) -> None:
        self._directory = directory
        self._floor_bytes = floor_bytes
        self.is_low = False

    async def run_once(self) -> int:
        """Look at the disk. Always 0: the next look is not at once."""
        usage = await asyncio.to_thread(shutil.disk_usage, self._directory)
        low = usage.free < self._floor_bytes
        if low != self.is_low:
            log.error("disk.low" if low else "disk.recovered", free_bytes=usage.free)
        self.is_low = low
        return 0
