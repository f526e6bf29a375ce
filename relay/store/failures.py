"""What a driver's error means to the rest of Relay."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NoReturn

from sqlalchemy import Connection, exc

from relay.errors import StoreError, StoreFull, StoreUnavailable


class LostRace(StoreUnavailable):
    """The transaction was rolled back in favour of another one; the next try may win."""


def translate(error: BaseException) -> BaseException:
    """A driver's error as one of ours; what is no trouble of the database itself comes back as it is."""
    if isinstance(error, StoreError | exc.IntegrityError):
        return error
    if isinstance(error, exc.TimeoutError | OSError | TimeoutError):
        return StoreUnavailable(f"the database does not answer ({type(error).__name__})")
    if isinstance(error, exc.DBAPIError):
        # no statement: it failed to connect, to begin or to commit
        return _translate_driver(error, error.orig, lost=error.connection_invalidated or error.statement is None)
    if isinstance(error, sqlite3.Error) or hasattr(error, "sqlstate"):  # raised while connecting
        return _translate_driver(error, error, lost=True)
    return error


def _translate_driver(error: BaseException, origin: BaseException | None, *, lost: bool) -> BaseException:
    if isinstance(origin, sqlite3.Error):
        name = _sqlite_name(origin)
        if name == "SQLITE_FULL":
            return StoreFull("the disk is full")
        if name.startswith(("SQLITE_IOERR", "SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_CORRUPT")):
            return StoreUnavailable(f"the database file cannot be written ({name})")
        return error
    state = str(getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None) or "")
    if state == "53100":
        return StoreFull("the database's disk is full")
    if state in ("40001", "40P01", "55P03", "25P03", "25P04"):
        return LostRace(f"the transaction was rolled back ({state})")
    if lost or state[:2] in ("08", "53", "57", "58") or isinstance(error, exc.InterfaceError):
        return StoreUnavailable(f"the database went away ({state or type(origin).__name__})")
    return error


def _sqlite_name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "") or ""


def is_fatal(error: BaseException) -> bool:
    """Whether a write error means that the kernel may have dropped pages: acknowledge nothing more, restart.

    The error that caused this one counts too: undoing a savepoint after an I/O error fails in a way of its own.
    """
    return any(
        isinstance(link, sqlite3.Error) and _sqlite_name(link).startswith("SQLITE_IOERR") for link in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    links: list[BaseException | None] = [error]
    while links:
        link = links.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            links += [link.__cause__, link.__context__]


def is_locked(error: BaseException) -> bool:
    """Whether somebody else holds the write lock of the SQLite file."""
    return any(
        isinstance(link, sqlite3.Error) and _sqlite_name(link).startswith("SQLITE_BUSY") for link in _chain(error)
    )


def raise_translated(error: Exception) -> NoReturn:
    """Raise a driver's error as one of ours."""
    ours = translate(error)
    if ours is error:
        raise error  # not `from` itself: whoever follows the causes would never arrive
    raise ours from error


def transaction_stands(connection: Connection) -> bool:
    """Whether what was written so far can still be committed.

    SQLite answers a full disk or an I/O error by undoing the whole transaction. What is executed after that commits by
    itself, statement by statement, and the driver's `commit` then does nothing and reports success.
    """
    if connection.invalidated or not connection.in_transaction():
        return False
    return bool(getattr(connection.connection.dbapi_connection, "in_transaction", True))
