"""A migrated database of either kind, and Relay's own view of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from relay.store.database import Database, open_database
from tests.support.memory import directory_in_memory
from tests.support.postgres import ExistingPostgres, in_thread
from tests.support.store import empty_postgres, migrate_in_thread, postgres_copy, sqlite_copy


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "relay.db"
    migrate_in_thread(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path) -> Iterator[str]:
    """A migrated SQLite database, in memory where there is such a place."""
    with directory_in_memory() as directory:
        yield sqlite_copy(sqlite_template, directory)


@pytest.fixture(scope="session")
def shared_postgres_url(postgres_server: ExistingPostgres) -> Iterator[str]:
    """One migrated PostgreSQL database for the whole room: making one takes longer than most tests."""
    url = postgres_copy(postgres_server)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def migrated_postgres_url(shared_postgres_url: str) -> str:
    """A migrated PostgreSQL database without rows."""
    in_thread(lambda: asyncio.run(empty_postgres(shared_postgres_url)))
    return shared_postgres_url


@pytest.fixture
def fresh_postgres_url(postgres_server: ExistingPostgres) -> Iterator[str]:
    """A migrated PostgreSQL database of the test's own, with its own statistics."""
    url = postgres_copy(postgres_server)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """A migrated database: the test runs once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "migrated_postgres_url")
    return url


@pytest.fixture
async def sqlite_database(sqlite_url: str) -> AsyncIterator[Database]:
    """An open SQLite database."""
    opened = await open_database(sqlite_url)
    yield opened
    await opened.close()


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[Database]:
    """An open database of either kind."""
    opened = await open_database(store_url)
    yield opened
    await opened.close()
