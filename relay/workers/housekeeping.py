"""What is done now and then: old rows deleted, orphans collected. A duty is small and repeats while there is more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from relay.clock import Clock, Instant, after
from relay.store import idempotency, payloads, pulling, retention, rollups, usage, webhooks
from relay.store.configuration import ConfigurationCache
from relay.store.database import Database
from relay.store.rows import Connection
from relay.workers.supervisor import Duty

DAY_SECONDS: Final = 86_400.0
ORPHAN_SECONDS: Final = 3600.0
RARELY_SECONDS: Final = 60.0
MINUTES_KEPT_SECONDS: Final = 2 * DAY_SECONDS  # the hours are kept as long as results
REST: Final = 4.0  # times as long as a batch of deletes took is left to others before the next
LONGEST_REST_SECONDS: Final = 1.0


class Housekeeper:
    """Deletes what is too old or too much, webhook by webhook, and rests between the batches."""

    def __init__(
        self,
        database: Database,
        configuration: ConfigurationCache,
        clock: Clock,
        *,
        retention_days: float,
        override: bool = False,
    ) -> None:
        self._database = database
        self._configuration = configuration
        self._clock = clock
        self._retention_days = retention_days
        self._override = override  # whatever the webhooks say

    async def drop_old(self) -> int:
        """A batch of each kind of row of each webhook that has any that are too old; how many rows."""
        now = self._clock.now()
        limits = {
            webhook.id: after(now, -self._days(webhook.retention_days) * DAY_SECONDS)
            for webhook in self._configuration.current.webhooks.values()
        }
        count = 0
        for kind, webhook_id in await self._database.read(partial(retention.has_older, limits=limits)):
            find, drop = retention.KINDS[kind]
            ids = await self._database.read(partial(_find, find=find, webhook_id=webhook_id, before=limits[webhook_id]))
            if ids:
                count += await self._write(partial(_drop, drop=drop, webhook_id=webhook_id, ids=ids))
        return count

    def _days(self, own: float | None) -> float:
        return self._retention_days if own is None or self._override else own

    async def drop_excess(self) -> int:
        """Count what has come in at the webhooks that have a limit, and delete a batch where it is over; how many."""
        limits = {
            webhook.id: webhook.retention_bytes
            for webhook in self._configuration.current.webhooks.values()
            if webhook.retention_bytes is not None
        }
        count = 0
        for webhook_id, most in limits.items():
            now = self._clock.now()
            count += await self._write(partial(usage.count_some, webhook_id=webhook_id, now=now))
            find = partial(retention.excess_results, webhook_id=webhook_id, most_bytes=most)
            if ids := await self._database.read(find):
                drop = partial(retention.drop_excess, webhook_id=webhook_id, ids=ids, most_bytes=most)
                count += await self._write(drop)
        return count

    async def give_back_pages(self) -> int:
        """What deletes have left of the SQLite file goes back to the disk."""
        return await self._write(retention.give_back_pages)

    async def _write(self, work: Callable[[Connection], int]) -> int:
        began = self._clock.monotonic()
        count = await self._database.write(work)
        if count:
            rest = min(LONGEST_REST_SECONDS, REST * (self._clock.monotonic() - began))
            if rest > 0:
                await self._clock.sleep(rest)
        return count


def _find(connection: Connection, find: retention.Find, webhook_id: str, before: Instant) -> list[str]:
    return find(connection, webhook_id, before)


def _drop(connection: Connection, drop: retention.Drop, webhook_id: str, ids: Sequence[str]) -> int:
    return drop(connection, webhook_id, ids)


def duties(
    database: Database,
    configuration: ConfigurationCache,
    clock: Clock,
    *,
    retention_days: float,
    deletes: bool = True,
) -> list[Duty]:
    """All of them. `deletes` = False: nothing that somebody may still want is deleted, however old."""

    def duty(name: str, drop: Callable[[Connection, Instant], int], age_seconds: float) -> Duty:
        async def run_once() -> int:
            before = after(clock.now(), -age_seconds)
            return await database.write(lambda connection: drop(connection, before))

        return Duty(name, run_once, RARELY_SECONDS)

    async def erase_credentials() -> int:
        return await database.write(webhooks.erase_deleted)

    keeper = Housekeeper(database, configuration, clock, retention_days=retention_days)
    kept_seconds = retention_days * DAY_SECONDS

    async def exhaust_messages() -> int:
        now = clock.now()
        before = after(now, -kept_seconds)
        return await database.write(lambda connection: pulling.exhaust(connection, before, now))

    async def adopt_messages() -> int:
        return await database.write(pulling.adopt)

    wanted = [
        Duty("pull.exhaust", exhaust_messages, RARELY_SECONDS),
        Duty("retention.old", keeper.drop_old, RARELY_SECONDS),
        Duty("retention.excess", keeper.drop_excess, RARELY_SECONDS),
        duty("retention.events", retention.drop_events, kept_seconds),
        duty("retention.captures", retention.drop_captures, kept_seconds),
        duty("retention.replays", retention.drop_replays, kept_seconds),
    ]
    always = [
        Duty("pull.adopt", adopt_messages, RARELY_SECONDS),
        duty("retention.idempotency", retention.drop_idempotency_keys, idempotency.KEPT_SECONDS),
        Duty("retention.pages", keeper.give_back_pages, RARELY_SECONDS),
        duty("rollups.minutes", partial(rollups.drop, span=rollups.MINUTE), MINUTES_KEPT_SECONDS),
        duty("rollups.hours", partial(rollups.drop, span=rollups.HOUR), kept_seconds),
        Duty("webhooks.credentials", erase_credentials, RARELY_SECONDS),
        duty("payloads.orphans", payloads.drop_orphans, ORPHAN_SECONDS),
    ]
    return [*(wanted if deletes else []), *always]
