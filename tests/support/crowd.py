"""A database with very many rows, made by the database itself: a million results take a minute.

Everything rare (jobs that failed, deliveries that are exhausted, …) is among the older half: a list of it that walks
from the newest row back has to walk far.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Final

import asyncpg

from relay.clock import Instant
from relay.store.urls import DatabaseUrl

DAY: Final = 86_400_000
DAYS: Final = 20
WEBHOOKS: Final = 20  # the last one has every thousandth row only
SUBSCRIPTIONS: Final = 30
PER_RESULT: Final = 3
PENDING: Final = 40  # every so manieth delivery of the older half
REPLAY: Final = "rpl_" + "0" * 31 + "1"  # every tenth result was replayed to the third subscription


def webhook(number: int) -> str:
    return f"wh_{number:032x}"


def subscription(number: int) -> str:
    return f"sub_{number:032x}"


# {i} is the row's number; {n} how many results there are; {t} a moment in order of {i}. {id:x} makes an id of prefix x.
_JOBS: Final = """
INSERT INTO jobs (id, webhook_id, provider_job_id, status, metadata, deadline, give_up_at, created_at, notified_at,
                  completed_at, result_id, tracked, attempts, step, claims, due_at)
SELECT {job}, {webhook}, 'p' || i, {state}, '{{}}', {t} + 7200000, {t} + 90000000, {t}, {t}, {t} + 50,
       CASE WHEN {state} IN ('waiting', 'fetching') THEN NULL ELSE {result} END, {no}, 1, 0, 2,
       CASE WHEN {state} IN ('waiting', 'fetching') THEN {t} + 1000 END
FROM n
"""
_KEYS: Final = """
INSERT INTO job_keys (webhook_id, kind, value, job_id) SELECT {webhook}, 'id', 'p' || i, {job} FROM n
"""
_NOTIFICATIONS: Final = """
INSERT INTO notifications (id, webhook_id, job_id, status, method, suffix, query, content_type, headers, body,
                           body_sealed, body_size, received_at)
SELECT {notification}, {webhook}, CASE WHEN {odd} THEN NULL ELSE {job} END,
       CASE WHEN {odd} THEN 'rejected' ELSE 'accepted' END, 'POST', '', '', 'application/json', '{{}}', {body}, {no},
       2, {t}
FROM n
"""
_RESULTS: Final = """
INSERT INTO results (id, job_id, webhook_id, provider_job_id, status, partial, metadata, content_type, size_bytes,
                     payload_id, fetched_at)
SELECT {result}, {job}, {webhook}, 'p' || i, {final}, {no}, '{{}}', 'application/json', 2, {result}, {t} + 50 FROM n
"""
_DELIVERIES: Final = """
INSERT INTO deliveries (id, result_id, subscription_id, replay_id, message_id, status, attempts, created_at,
                        settled_at, http_status, due_at)
SELECT {delivery}, {result}, {subscription}, CASE WHEN {replayed} THEN '{replay}' ELSE '' END, {result}, {fate}, 1,
       {t} + 60, CASE WHEN {fate} <> 'pending' THEN {t} + 90 END, 200, CASE WHEN {fate} = 'pending' THEN {t} + 60 END
FROM n CROSS JOIN (SELECT 0 AS k UNION ALL SELECT 1 UNION ALL SELECT 2) AS kinds
"""
_STATEMENTS: Final = (_JOBS, _KEYS, _NOTIFICATIONS, _RESULTS, _DELIVERIES)


def _parts(total: int, now: Instant, *, postgres: bool) -> dict[str, str]:
    moment = f"({now} - {DAYS * DAY} + (i * {DAYS * DAY // total}))"
    old = f"i < {total // 2}"

    def id_of(prefix: str, number: str = "i") -> str:
        if postgres:
            return f"'{prefix}_' || lpad(to_hex({moment}), 12, '0') || '7' || lpad(to_hex(({number})::bigint), 19, '0')"
        return f"'{prefix}_' || printf('%012x7%019x', {moment}, {number})"

    def numbered(prefix: str, number: str) -> str:
        if postgres:
            return f"'{prefix}_' || lpad(to_hex(({number})::bigint), 32, '0')"
        return f"'{prefix}_' || printf('%032x', {number})"

    state = (
        f"CASE WHEN {old} AND i % 500 = 3 THEN 'failed' WHEN {old} AND i % 20000 = 4 THEN 'expired' "
        f"WHEN {old} AND i % 50000 = 5 THEN 'cancelled' WHEN {old} AND i % 2000 = 6 THEN 'waiting' "
        f"WHEN {old} AND i % 3000 = 7 THEN 'fetching' ELSE 'completed' END"
    )
    return {
        "job": id_of("job"),
        "notification": id_of("ntf"),
        "result": id_of("res"),
        "delivery": id_of("dlv", "i * 4 + k"),
        "webhook": numbered("wh", f"CASE WHEN i % 1000 = 3 THEN {WEBHOOKS - 1} ELSE i % {WEBHOOKS - 1} END"),
        "subscription": numbered("sub", f"(i * 7 + k * 11) % {SUBSCRIPTIONS}"),
        "replayed": "i % 10 = 0 AND k = 2",
        "replay": REPLAY,
        "state": f"({state})",
        "final": f"(CASE WHEN ({state}) IN ('waiting', 'fetching') THEN 'completed' ELSE ({state}) END)",
        "fate": (
            f"(CASE WHEN {old} AND (i + k) % {PENDING} = 1 THEN 'pending' WHEN {old} AND (i + k) % 300 = 2 "
            f"THEN 'exhausted' WHEN {old} AND (i + k) % 10000 = 3 THEN 'cancelled' ELSE 'delivered' END)"
        ),
        "odd": f"({old} AND i % 5000 = 9)",
        "body": r"'\x7b7d'::bytea" if postgres else "x'7b7d'",
        "no": "false" if postgres else "0",
        "t": moment,
    }


def statements(total: int, now: Instant, *, postgres: bool) -> list[str]:
    """What fills a migrated, empty database with `total` results and what belongs to them."""
    parts = _parts(total, now, postgres=postgres)
    return [_with_numbers(statement.format(**parts), total, postgres=postgres) for statement in _STATEMENTS]


def _with_numbers(statement: str, total: int, *, postgres: bool) -> str:
    """The statement with its `n`, the numbers from 1 to `total`."""
    head, _, select = statement.partition("SELECT")
    if postgres:
        numbers = f"n AS (SELECT i::bigint AS i FROM generate_series(1, {total}) AS i)"
        return f"{head} WITH {numbers} SELECT{select}"
    numbers = f"RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {total})"
    return f"WITH {numbers} {head} SELECT{select}"


def fill_sqlite(path: str, total: int, now: Instant) -> None:
    """One transaction, nothing synced: the file is a test's."""
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        for pragma in ("synchronous=OFF", "cache_size=-400000", "journal_mode=OFF"):
            file.execute(f"PRAGMA {pragma}")
        file.execute("BEGIN")
        for statement in statements(total, now, postgres=False):
            file.execute(statement)
        file.execute("COMMIT")
        file.execute("PRAGMA journal_mode=WAL")


async def fill_postgres(url: str, total: int, now: Instant) -> None:
    """Fill, then look at the statistics once, as autovacuum would have."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET synchronous_commit = off")
        for statement in statements(total, now, postgres=True):
            await connection.execute(statement)
        for table in ("jobs", "job_keys", "notifications", "results", "deliveries"):
            await connection.execute(f"VACUUM ANALYZE {table}")
    finally:
        await connection.close()


async def fill(url: str, total: int, now: Instant) -> None:
    """Fill a migrated, empty database of either kind."""
    parsed = DatabaseUrl.parse(url)
    if parsed.is_sqlite:
        fill_sqlite(parsed.path, total, now)
    else:
        await fill_postgres(url, total, now)


_STORED: Final = (
    """
INSERT INTO jobs (id, webhook_id, status, metadata, deadline, give_up_at, created_at, notified_at, completed_at,
                  result_id, tracked, attempts, step, claims)
SELECT {job}, '{owner}', 'completed', '{{}}', {t}, {t}, {t}, {t}, {t}, {result}, {no}, 1, 0, 2 FROM n
""",
    """
INSERT INTO results (id, job_id, webhook_id, status, partial, metadata, content_type, size_bytes, payload_id,
                     fetched_at)
SELECT {result}, {job}, '{owner}', 'completed', {no}, '{{}}', 'application/json', 2, {result}, {t} FROM n
""",
    "INSERT INTO payload_chunks (payload_id, seq, data) SELECT {result}, 0, {body} FROM n",
)


async def store_results(url: str, total: int, now: Instant, owner: str = "wh_" + "0" * 32) -> None:
    """`total` completed results with payloads that nobody has had yet, in a migrated database."""
    parsed = DatabaseUrl.parse(url)
    postgres = not parsed.is_sqlite
    parts = {**_parts(total, now, postgres=postgres), "owner": owner}
    made = [_with_numbers(statement.format(**parts), total, postgres=postgres) for statement in _STORED]
    if postgres:
        connection = await asyncpg.connect(url)
        try:
            for statement in made:
                await connection.execute(statement)
        finally:
            await connection.close()
        return
    with closing(sqlite3.connect(parsed.path, isolation_level=None)) as file:
        file.execute("PRAGMA synchronous=OFF")
        file.execute("BEGIN")
        for statement in made:
            file.execute(statement)
        file.execute("COMMIT")
