"""One management API for each test, on SQLite; `on_both` runs it on PostgreSQL too."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from relay.store.migrate import upgrade
from tests.support.clock import FakeClock
from tests.support.management import Management, open_management
from tests.support.postgres import ExistingPostgres
from tests.support.store import postgres_copy


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema and nothing in it, made once and copied."""
    path = tmp_path_factory.mktemp("empty") / "relay.db"
    asyncio.run(upgrade(f"sqlite:///{path}"))
    return path


@pytest.fixture
async def management(tmp_path: Path, empty_file: Path, clock: FakeClock) -> AsyncIterator[Management]:
    path = tmp_path / "relay.db"
    shutil.copy(empty_file, path)
    opened = await open_management(f"sqlite:///{path}", clock, migrate=False)
    yield opened
    await opened.close()


@pytest.fixture(params=["sqlite", "postgres"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path, empty_file: Path) -> Iterator[str]:
    """A database with the schema and nothing in it, copied from one that was made once."""
    if request.param == "sqlite":
        yield f"sqlite:///{shutil.copy(empty_file, tmp_path / 'relay.db')}"
        return
    server: ExistingPostgres = request.getfixturevalue("postgres_server")
    url = postgres_copy(server)
    yield url
    server.drop_database(url)


@pytest.fixture
async def on_both(migrated_url: str, clock: FakeClock) -> AsyncIterator[Management]:
    opened = await open_management(migrated_url, clock, migrate=False)
    yield opened
    await opened.close()
