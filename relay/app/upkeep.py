"""What `relay db` does to the rows of a database, apart from any running relay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from relay.app import guards
from relay.clock import SystemClock
from relay.frozen import frozen
from relay.settings import Settings, ensure_secrets
from relay.signing.vault import Vault
from relay.store import migrate, rekeying, sealing
from relay.store.configuration import ConfigurationCache
from relay.store.database import Database, open_database
from relay.workers.housekeeping import Housekeeper


@frozen()
class Rekeyed:
    """What came of it."""

    count: int  # values that were sealed anew
    retired: int  # keys that nothing needs any more
    running: int  # relays that use the database at this moment: while there are any, no key is retired


async def prune(settings: Settings, older_than_days: float | None) -> int:
    """Delete what is older than the retention (or `older_than_days`, whatever webhooks say), and what is too much; how
    many rows. Raises AlreadyRunning while a relay has the SQLite file."""
    clock = SystemClock()
    async with _opened(settings) as (database, vault):
        configuration = ConfigurationCache(database, vault.unseal)
        await guards.load_configuration(configuration)
        days = older_than_days or settings.retention_days
        keeper = Housekeeper(database, configuration, clock, retention_days=days, override=older_than_days is not None)
        count = 0
        for work in (keeper.drop_old, keeper.drop_excess):
            while done := await work():
                count += done
        while await keeper.give_back_pages():
            pass
        return count


async def rekey(settings: Settings) -> Rekeyed:
    """Seal everything with the newest key. May be run again at any time: what is done is not done again."""
    clock = SystemClock()
    async with _opened(settings) as (database, vault):
        await guards.check_keys(database, vault, clock)

        def reseal(table: str, column: str, row_id: str, sealed: bytes) -> bytes | None:
            if not vault.needs_reseal(sealed):
                return None
            return vault.seal(table, column, row_id, vault.unseal(table, column, row_id, sealed))

        outcome = Rekeyed(0, 0, 0)
        for place in rekeying.PLACES:
            last: str | None = ""
            while last is not None:
                batch = partial(rekeying.some, place=place, after_key=last, reseal=reseal)
                last, count = await database.write(batch)
                outcome = replace(outcome, count=outcome.count + count)
        now = clock.now()
        running = 0 if database.is_sqlite else await database.read(partial(rekeying.running, now=now))
        if running:
            return replace(outcome, running=running)
        await database.write(partial(sealing.use, key_id=vault.newest_key_id, now=now))
        retired = await database.write(partial(rekeying.retire, newest_key_id=vault.newest_key_id))
        return replace(outcome, retired=retired)


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Database, Vault]]:
    await migrate.check(settings.database_url)
    vault = Vault(ensure_secrets(settings).secret_keys)
    database = await open_database(settings.database_url)
    try:
        yield database, vault
    finally:
        await database.close()
