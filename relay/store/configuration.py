"""Webhooks, subscriptions and keys, cached per process and guarded by a version.

The version is read inside every storing transaction: one that was prepared with an older version does nothing and says
STALE, its caller refreshes and prepares again. So no node fans out by stale subscriptions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from sqlalchemy import Connection, update

from relay.frozen import frozen
from relay.model import ApiKey, Subscription, SubscriptionStatus, Webhook
from relay.store import keys, subscriptions, webhooks
from relay.store.bulk import raw
from relay.store.database import Database
from relay.store.schema import config

Unseal = Callable[[str, str, str, bytes], bytes]


@frozen()
class Configuration:
    """What was registered, at one version."""

    version: int
    webhooks: Mapping[str, Webhook]
    subscriptions: Mapping[str, Subscription]
    keys_by_hash: Mapping[str, ApiKey]

    def receiving_subscriptions(self) -> list[Subscription]:
        """Those whose deliveries are made now or later: paused and disabled ones keep theirs waiting."""
        return [item for item in self.subscriptions.values() if item.deleted_at is None]

    def may_deliver(self, subscription_id: str) -> bool:
        """Whether deliveries to this subscription go out now."""
        found = self.subscriptions.get(subscription_id)
        return found is not None and found.deleted_at is None and found.status is SubscriptionStatus.ACTIVE


def current_version(connection: Connection) -> int:
    """The version in the database, as this transaction sees it."""
    return int(raw(connection, _VERSION)[0][0])


_VERSION = "SELECT version FROM config"
_LOCK = 0x52656C6178  # an advisory lock: shared by who stores, exclusive for who changes the configuration


def held_version(connection: Connection) -> int:
    """The version, which nobody changes until this transaction ends: what is stored by it cannot be outdated when it
    commits. (SQLite has one writer, so there it is so anyway.)"""
    if connection.dialect.name != "sqlite":
        raw(connection, f"SELECT pg_advisory_xact_lock_shared({_LOCK})")
    return current_version(connection)


def bump(connection: Connection) -> None:
    """Say that webhooks, subscriptions or keys change in this transaction."""
    if connection.dialect.name != "sqlite":
        raw(connection, f"SELECT pg_advisory_xact_lock({_LOCK})")
    connection.execute(update(config).values(version=config.c.version + 1))


def load(connection: Connection, unseal: Unseal) -> Configuration:
    """Read everything. Raises KeyMissing when a row was sealed with a key that is not configured."""
    return Configuration(
        version=current_version(connection),
        webhooks={item.id: item for item in webhooks.load_all(connection, unseal)},
        subscriptions={item.id: item for item in subscriptions.load_all(connection, unseal)},
        keys_by_hash={item.sha256: item for item in keys.load_all(connection)},
    )


class ConfigurationCache:
    """The configuration as this process knows it."""

    def __init__(self, database: Database, unseal: Unseal, on_change: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._unseal = unseal
        self.on_change = on_change
        self._lock = asyncio.Lock()
        self.current = Configuration(0, {}, {}, {})

    async def refresh(self, *, seen: int | None = None) -> Configuration:
        """Read it anew unless somebody else did since version `seen`. Raises StoreUnavailable, KeyMissing."""
        async with self._lock:
            if seen is not None and self.current.version != seen:
                return self.current
            version = await self._database.read(current_version)
            if version != self.current.version:
                self.current = await self._database.read(lambda connection: load(connection, self._unseal))
                self.on_change()
            return self.current
