"""What is done now and then: old rows deleted, orphans collected. A duty is small and repeats while there is more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from relay.clock import Clock, Instant, after
from relay.store import payloads, pulling, retention, webhooks
from relay.store.database import Database
from relay.store.rows import Connection
from relay.workers.supervisor import Duty

DAY_SECONDS: Final = 86_400.0
ORPHAN_SECONDS: Final = 3600.0
IDEMPOTENCY_SECONDS: Final = DAY_SECONDS
RARELY_SECONDS: Final = 60.0


def duties(database: Database, clock: Clock, *, retention_days: float) -> list[Duty]:
    """All of them."""

    def duty(name: str, drop: Callable[[Connection, Instant], int], age_seconds: float) -> Duty:
        async def run_once() -> int:
            before = after(clock.now(), -age_seconds)
            return await database.write(lambda connection: drop(connection, before))

        return Duty(name, run_once, RARELY_SECONDS)

    async def erase_credentials() -> int:
        return await database.write(webhooks.erase_deleted)

    kept_seconds = retention_days * DAY_SECONDS

    async def exhaust_messages() -> int:
        now = clock.now()
        before = after(now, -kept_seconds)
        return await database.write(lambda connection: pulling.exhaust(connection, before, now))

    async def adopt_messages() -> int:
        return await database.write(pulling.adopt)

    return [
        Duty("pull.exhaust", exhaust_messages, RARELY_SECONDS),
        Duty("pull.adopt", adopt_messages, RARELY_SECONDS),
        duty("retention.results", retention.drop_results, kept_seconds),
        duty("retention.events", retention.drop_events, kept_seconds),
        duty("retention.jobs", retention.drop_jobs, kept_seconds),
        duty("retention.notifications", retention.drop_notifications, kept_seconds),
        duty("retention.captures", retention.drop_captures, kept_seconds),
        duty("retention.replays", retention.drop_replays, kept_seconds),
        duty("retention.idempotency", retention.drop_idempotency_keys, IDEMPOTENCY_SECONDS),
        Duty("webhooks.credentials", erase_credentials, RARELY_SECONDS),
        duty("payloads.orphans", payloads.drop_orphans, ORPHAN_SECONDS),
    ]
