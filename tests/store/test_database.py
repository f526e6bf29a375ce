from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from relay.errors import AlreadyRunning, RelayError, SettingError, StoreFull, StoreUnavailable
from relay.store.database import Database, open_database
from relay.store.failures import is_fatal, translate
from tests.support.numbers import make_numbers, numbers, put_number
from tests.support.store import sqlite_copy

HOLD = """
import asyncio, sys
from relay.store.database import open_database

async def main():
    await open_database(sys.argv[1])
    print("open", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


def _value(connection: Connection, query: str) -> object:
    return connection.exec_driver_sql(query).scalar()


def _payload(connection: Connection, size: int) -> None:
    connection.execute(text("INSERT INTO blobs (data) VALUES (:data)"), {"data": os.urandom(size)})


def _make_blobs(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE blobs (data BLOB)"))


# --- SQLite: what the writer and the readers are ---


async def test_the_writer_syncs_every_commit_and_writes_ahead(sqlite_database: Database) -> None:
    async def pragma(name: str) -> object:
        return await sqlite_database.write(partial(_value, query=f"PRAGMA {name}"))

    assert await pragma("synchronous") == 2  # FULL: NORMAL would not sync the log on commit
    assert await pragma("journal_mode") == "wal"
    assert await pragma("busy_timeout") == 5000
    assert await pragma("trusted_schema") == 0


async def test_a_file_that_came_out_of_a_backup_without_write_ahead_log_gets_one(sqlite_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    plain = sqlite3.connect(path)
    assert plain.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    plain.close()
    database = await open_database(sqlite_url)
    assert await database.write(partial(_value, query="PRAGMA journal_mode")) == "wal"
    await database.close()


async def test_readers_cannot_write(database: Database) -> None:
    await database.write(make_numbers)
    with pytest.raises((DBAPIError, RelayError)):
        await database.read(partial(put_number, number=1))
    assert await database.read(numbers) == []
    assert await database.write(partial(put_number, number=2)) == 2  # and writers still can


async def test_a_reader_does_not_wait_for_an_open_write_transaction(sqlite_database: Database) -> None:
    await sqlite_database.write(make_numbers)
    written, may_commit = threading.Event(), threading.Event()

    def write_and_wait(connection: Connection) -> None:
        put_number(connection, 1)
        written.set()
        may_commit.wait(10)

    writing = asyncio.ensure_future(sqlite_database.write(write_and_wait))
    await asyncio.to_thread(written.wait, 10)
    assert await asyncio.wait_for(sqlite_database.read(numbers), 3) == []
    assert not writing.done()
    may_commit.set()
    await writing
    assert await sqlite_database.read(numbers) == [1]


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
async def test_readers_that_are_cancelled_give_their_connections_back(database: Database) -> None:
    await database.write(make_numbers)
    for _ in range(10):
        reads = [asyncio.ensure_future(database.read(numbers)) for _ in range(8)]
        await asyncio.sleep(0)
        for read in reads[::2]:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
    assert await asyncio.wait_for(asyncio.gather(*(database.read(numbers) for _ in range(12))), 10) == [[]] * 12
    gc.collect()  # the driver leaves a connection that was cancelled while being made to the collector


# --- SQLite: one process ---


async def test_a_second_process_is_refused_until_the_first_is_gone(sqlite_url: str, tmp_path: Path) -> None:
    pipe = asyncio.subprocess.PIPE
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLD, sqlite_url, stdin=pipe, stdout=pipe)
    assert holder.stdout is not None
    try:
        assert await holder.stdout.readline() == b"open\n"
        with pytest.raises(AlreadyRunning):
            await open_database(sqlite_url)
        link = tmp_path / "link.db"
        link.symlink_to(sqlite_url.removeprefix("sqlite:///"))
        with pytest.raises(AlreadyRunning):
            await open_database(f"sqlite:///{link}")
    finally:
        holder.kill()
        await holder.wait()
    survivor = await open_database(sqlite_url)
    await survivor.close()


async def test_closing_lets_the_next_one_in(sqlite_url: str) -> None:
    for number in range(3):
        database = await open_database(sqlite_url)
        await database.write(make_numbers)
        await database.write(partial(put_number, number=number))
        await database.close()


# --- SQLite: the disk ---


async def test_a_full_disk_is_said_so_and_when_there_is_room_again_writing_goes_on(sqlite_database: Database) -> None:
    database = sqlite_database
    await database.write(_make_blobs)
    pages = await database.write(partial(_value, query="PRAGMA page_count"))
    assert isinstance(pages, int)
    await database.write(partial(_value, query=f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(StoreFull):
        await database.write(partial(_payload, size=200_000))
    assert await database.read(partial(_value, query="SELECT count(*) FROM blobs")) == 0
    await database.write(partial(_value, query="PRAGMA max_page_count = 1000000"))
    await database.write(partial(_payload, size=200_000))
    assert await database.read(partial(_value, query="SELECT count(*) FROM blobs")) == 1


async def test_on_a_full_disk_those_that_fit_are_written_and_the_others_are_told(sqlite_database: Database) -> None:
    """The first that does not fit makes SQLite undo the whole batch: nobody may be told that it was written."""
    database = sqlite_database
    await database.write(make_numbers)
    await database.write(_make_blobs)
    pages = await database.write(partial(_value, query="PRAGMA page_count"))
    assert isinstance(pages, int)
    await database.write(partial(_value, query=f"PRAGMA max_page_count = {pages + 2}"))
    calls = [database.write(partial(put_number, number=number)) for number in range(5)]
    calls.insert(2, database.write(partial(_put_large, number=99)))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(outcomes.pop(2), StoreFull)
    assert outcomes == list(range(5))
    assert await database.read(numbers) == list(range(5))


def _put_large(connection: Connection, number: int) -> int:
    _payload(connection, 200_000)
    return put_number(connection, number)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "relay-test", str(mount)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


async def test_a_disk_that_really_is_full_loses_nothing_that_was_acknowledged(
    small_disk: Path, sqlite_template: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    database = await open_database(sqlite_copy(sqlite_template, small_disk))
    await database.write(make_numbers)
    await database.write(_make_blobs)
    acknowledged: list[int] = []
    with pytest.raises(StoreUnavailable):
        for number in range(100):
            await database.write(partial(_put_large, number=number))
            acknowledged.append(number)
    assert await database.read(numbers) == acknowledged != []
    ballast.unlink()
    await database.write(partial(_put_large, number=1000))
    await database.close()


SYNC_FAILS = """
import asyncio, json, sys
from functools import partial
from sqlalchemy import text
from relay.errors import StoreUnavailable
from relay.store.database import open_database
from tests.support.numbers import make_numbers, put_number

async def main():
    fatal = []
    database = await open_database(sys.argv[1], on_fatal=lambda: fatal.append(1))
    await database.write(make_numbers)
    done, refused = 0, 0
    for number in range(40):
        try:
            await asyncio.gather(*(database.write(partial(put_number, number=number * 10 + i)) for i in range(3)))
            done += 1
        except StoreUnavailable:
            refused += 1
    print(json.dumps([done, refused, len(fatal)]))

asyncio.run(main())
"""


async def test_when_the_disk_fails_to_sync_nothing_more_is_acknowledged(sqlite_url: str) -> None:
    inject = ["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=12"]  # once, as a kernel does
    command = ["strace", "-f", "-o", "/dev/null", *inject, sys.executable, "-c", SYNC_FAILS, sqlite_url]
    try:
        ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    if "ptrace" in ran.stderr:
        pytest.skip("strace may not trace here")
    done, refused, fatal = [int(part) for part in ran.stdout.strip().strip("[]").split(",")]
    assert 0 < done < 15 and done + refused == 40 and fatal == 1, ran.stderr


def test_an_input_output_error_is_fatal_even_when_another_error_covers_it() -> None:
    broken = sqlite3.OperationalError("disk I/O error")
    broken.sqlite_errorname = "SQLITE_IOERR_FSYNC"
    cover = RuntimeError("no such savepoint")
    cover.__context__ = DBAPIError("COMMIT", {}, broken)
    cover.__context__.__cause__ = broken
    assert is_fatal(broken) and is_fatal(cover)
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorname = "SQLITE_FULL"
    assert not is_fatal(full)
    assert isinstance(translate(DBAPIError("INSERT", {}, full)), StoreFull)
    assert isinstance(translate(DBAPIError("INSERT", {}, broken)), StoreUnavailable)


# --- both ---


async def test_an_error_message_does_not_repeat_what_was_to_be_written(database: Database) -> None:
    def wrong(connection: Connection) -> None:
        connection.execute(text("INSERT INTO nothing_of_that_name (x) VALUES (:x)"), {"x": "a-secret"})

    with pytest.raises(DBAPIError) as caught:
        await database.write(wrong)
    assert "a-secret" not in str(caught.value)
    assert caught.value.__cause__ is not caught.value


async def test_what_a_function_raises_comes_back_as_it_is(database: Database) -> None:
    def lookup(connection: Connection) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await database.read(lookup)
    with pytest.raises(LookupError, match="mine"):
        await database.write(lookup)
    await database.write(make_numbers)
    await database.write(partial(put_number, number=1))
    with pytest.raises(IntegrityError):
        await database.write(partial(put_number, number=1))


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://u:a-secret@h/d", "postgresql://u:a-secret@h"]
)
async def test_a_url_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingError) as caught:
        await open_database(url)
    assert "a-secret" not in str(caught.value)
