"""The database: can it be reached, is its schema current, does it keep what it acknowledges, what time is it there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from relay.clock import Clock
from relay.doctor.findings import Finding, fail, ok, warn
from relay.errors import RelayError
from relay.settings import Settings
from relay.signing.vault import Vault
from relay.store import examine, migrate, nodes, sealing
from relay.store.examine import PostgresState

EACH_PROCESS: Final = 12  # connections
OLDEST: Final = 13
MOST_SKEW_SECONDS: Final = 2.0


async def database(settings: Settings, clock: Clock) -> list[Finding]:
    """Everything about the database. A database that cannot be reached is one finding."""
    try:
        status = await migrate.status(settings.database_url)
    except RelayError as error:
        return [fail("database", str(error), "is it running, and is RELAY_DATABASE_URL right?")]
    found = [*_schema(settings, status)]
    found += sqlite(settings) if settings.is_sqlite else await _postgres(settings, clock)
    if status.current is not None:
        found += await _sealed(settings)
    return found


def _schema(settings: Settings, status: migrate.SchemaStatus) -> Iterator[Finding]:
    if status.is_ahead:
        yield warn("migrations", f"the database is at schema {status.current}, which is newer than this Relay",
                   "fine during an upgrade; else install the version that the others have")  # fmt: skip
    elif not status.pending:
        yield ok("migrations", f"schema {status.current}")
    elif settings.is_sqlite:
        yield ok("migrations", f"{len(status.pending)} pending, which the next start does")
    else:
        yield fail("migrations", f"pending: {', '.join(status.pending)}", "run `relay db upgrade`")


def sqlite(settings: Settings, version: tuple[int, int, int] | None = None) -> Iterator[Finding]:
    """The library's version, which matters where a second process writes to the file."""
    check, version = "database", version or examine.sqlite_version()
    name = f"SQLite {'.'.join(map(str, version))}"
    path = settings.sqlite_path
    if examine.may_be_checkpointed_by_two(version):
        yield ok(check, f"{name}, one process")
    elif path.with_name(f".{path.name}-litestream").exists():
        yield fail(check, f"Litestream works on the file, and {name} can corrupt it when two processes checkpoint",
                   "stop Litestream, or use a Python with SQLite 3.51.3 or newer")  # fmt: skip
    else:
        yield ok(check, f"{name}: safe with Relay alone; other programs open the file with mode=ro")


async def _postgres(settings: Settings, clock: Clock) -> list[Finding]:
    state = await migrate.look(settings.database_url, examine.postgres)
    before = clock.now()
    theirs = await migrate.look(settings.database_url, nodes.database_now)
    skew = 0.0 if theirs is None else _outside(before, theirs, clock.now())
    return [*postgres(state), *clocks(skew)]


def _outside(before: int, theirs: int, after: int) -> float:
    """By how many seconds `theirs` is not between the two."""
    return max(before - theirs, theirs - after, 0) / 1000 * (1 if before > theirs else -1)


def clocks(skew_seconds: float) -> Iterator[Finding]:
    """This machine's clock less the database's."""
    if abs(skew_seconds) > MOST_SKEW_SECONDS:
        yield fail("clock", f"this machine is {skew_seconds:+.1f} s off the database: it would not work",
                   "have chrony or systemd-timesyncd keep the time on both")  # fmt: skip
    elif abs(skew_seconds) > MOST_SKEW_SECONDS / 4:
        yield warn("clock", f"this machine is {skew_seconds:+.1f} s off the database; at 2 s it stops working",
                   "have chrony or systemd-timesyncd keep the time on both")  # fmt: skip
    else:
        yield ok("clock", "agrees with the database's")


def postgres(state: PostgresState) -> Iterator[Finding]:
    """What a server's settings mean for the promise."""
    check, found = "database", False
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        if state.settings[name] == "off":
            found = True
            yield fail(check, f"PostgreSQL has {name} = off: what was acknowledged can be lost", f"set {name} = on")
    if state.is_standby:
        found = True
        yield fail(check, "this PostgreSQL is a standby: nothing can be written", "name the primary")
    if state.version // 10_000 < OLDEST:
        found = True
        yield fail(check, f"PostgreSQL {state.version // 10_000} is too old", f"use {OLDEST} or newer")
    room = int(state.settings["max_connections"]) - int(state.settings["superuser_reserved_connections"])
    if room - state.connections < EACH_PROCESS:
        found = True
        yield warn(check, f"{state.connections} of {room} connections are taken, and a process of Relay takes up to"
                   f" {EACH_PROCESS}", "raise max_connections")  # fmt: skip
    if not found:
        yield ok(check, f"PostgreSQL {state.version // 10_000}, {state.connections} of {room} connections taken")


async def _sealed(settings: Settings) -> list[Finding]:
    """Whether every key is there that stored secrets were encrypted with."""
    vault = Vault(settings.secret_keys) if settings.secret_keys else None
    used = await migrate.look(settings.database_url, sealing.used)
    missing = [key for key in used if vault is None or not vault.knows(key)]
    if not missing:
        return []
    return [fail("keys", f"stored secrets need a key that RELAY_SECRET_KEYS lacks ({', '.join(missing)})",
                 "add that key after the newest one")]  # fmt: skip
