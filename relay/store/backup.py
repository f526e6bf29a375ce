"""A copy of a SQLite database, made beside the relay that uses it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from relay.errors import StoreUnavailable


def back_up(source: Path, target: Path) -> int:
    """Write a whole, compact copy of `source` to `target`, synced, readable by its owner only; its size in bytes.

    It reads one moment of the database while the relay goes on, so it needs no lock; the write-ahead log grows
    meanwhile. Raises StoreUnavailable: there is a file already, no database, or no room.
    """
    partly = target.with_name(f"{target.name}.part")
    if not source.exists():
        raise StoreUnavailable(f"there is no database at {source}")
    try:
        if not target.absolute().parent.is_dir():
            raise StoreUnavailable(f"the backup was not made: there is no directory {target.absolute().parent}")
        if target.exists():
            raise StoreUnavailable(f"{target} is there already: give another name")
        partly.unlink(missing_ok=True)
        os.close(os.open(partly, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # SQLite takes an empty file over
        with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as file:
            file.execute("VACUUM INTO ?", (str(partly),))
        _sync(partly)
        os.rename(partly, target)
        _sync(target.absolute().parent)
    except (sqlite3.Error, OSError) as error:
        with suppress(OSError):
            partly.unlink(missing_ok=True)
        raise StoreUnavailable(f"the backup was not made: {_reason(error)}") from error
    return target.stat().st_size


def _reason(error: sqlite3.Error | OSError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
