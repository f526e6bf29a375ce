"""`relay db`: the database that RELAY_DATABASE_URL names, without a relay."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from relay.cli.exits import Exit, Failure
from relay.cli.listed import Listed
from relay.cli.noun import as_json
from relay.cli.output import note, put, put_json, put_record

T = TypeVar("T")

if TYPE_CHECKING:
    from relay.settings import Settings


@click.group(name="db", cls=Listed)
def group() -> None:
    """The database itself: bring it up to date, look at it."""


@group.command()
@as_json
def upgrade(as_json: bool) -> None:
    """Do what is pending. Prints the steps that were done; doing nothing is fine."""
    from relay import settings
    from relay.store import migrate

    loaded = settings.load()
    if not _wait(migrate.status(loaded.database_url)).pending:
        done: list[str] = []
    else:
        with _alone(loaded):
            done = _wait(migrate.upgrade(loaded.database_url))
    if as_json:
        put_json({"done": done})
    else:
        for step in done:
            put(step)
    note(f"done: {', '.join(done)}" if done else "nothing to do: the schema is current")


@group.command()
@as_json
def status(as_json: bool) -> None:
    """Show at which schema the database is and what is pending."""
    from relay import settings
    from relay.store import migrate

    found = _wait(migrate.status(settings.load().database_url))
    put_record(
        {"current": found.current, "head": found.head, "pending": list(found.pending), "ahead": found.is_ahead},
        as_json=as_json,
    )


@group.command()
@as_json
def check(as_json: bool) -> None:
    """Compare the database with what this Relay expects; on SQLite read the whole file. Exit 1 if anything is wrong."""
    from relay import settings
    from relay.store import migrate, verify_schema

    url = settings.load().database_url
    found = _wait(migrate.check(url))
    wrong = [] if found.is_ahead else _wait(migrate.look(url, verify_schema.findings))
    if as_json:
        put_json({"current": found.current, "findings": wrong})
    else:
        for line in wrong:
            put(line)
    if wrong:
        raise Failure(f"{len(wrong)} finding{'s' * (len(wrong) > 1)}", Exit.FAILED)
    note(f"ok: schema {found.current}{', which is newer than this Relay' if found.is_ahead else ''}")


@group.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(file: Path) -> None:
    """Copy the SQLite database to FILE, while the relay goes on if one runs. On PostgreSQL use pg_dump."""
    from relay import settings
    from relay.store.backup import back_up

    loaded = settings.load()
    if not loaded.is_sqlite:
        raise click.UsageError("this database is PostgreSQL, which has its own tool: pg_dump --format=custom")
    size = back_up(loaded.sqlite_path, file)
    put(f"{file}\t{size}")
    note(f"done; it is of no use without the keys: keep {loaded.data_dir / 'secret-keys'} or RELAY_SECRET_KEYS as well")


@group.command()
@click.option(
    "--older-than", type=click.FloatRange(min=0, min_open=True), metavar="DAYS", help="Instead of any retention."
)
def prune(older_than: float | None) -> None:
    """Delete now what the retention lets go; on SQLite no relay may run. A result that is on its way is kept."""
    from relay import settings
    from relay.app import upkeep

    count = _wait(upkeep.prune(settings.load(), older_than))
    put(str(count))
    note(f"deleted, of results, jobs and notifications together: {count}")


@group.command()
def rekey() -> None:
    """Encrypt everything with the newest of RELAY_SECRET_KEYS, so that the older ones can be dropped.

    May be interrupted and run again. On SQLite no relay may run.
    """
    from relay import settings
    from relay.app import upkeep

    done = _wait(upkeep.rekey(settings.load()))
    put(str(done.count))
    note(f"encrypted {done.count} value{'s' * (done.count != 1)} anew")
    if done.running:
        using = "1 relay uses" if done.running == 1 else f"{done.running} relays use"
        note(f"{using} the database: start all of them with the new key first, then run this again")
    else:
        note("the newest key is the only one that is needed now; older callback URLs and links need theirs")


def _wait(work: Coroutine[Any, Any, T]) -> T:
    import asyncio  # 40 ms that `relay --help` need not pay

    return asyncio.run(work)


def _alone(settings: Settings) -> AbstractContextManager[Any]:
    """On SQLite a running relay owns the file: its schema is not changed under it. Raises AlreadyRunning."""
    if not settings.is_sqlite:
        return nullcontext()
    from relay.store.lock import FileLock

    stack = ExitStack()
    stack.callback(FileLock.acquire(f"{settings.sqlite_path.absolute()}.lock").release)
    return stack
