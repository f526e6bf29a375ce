"""One management API for each test, on SQLite; `on_both` runs it on PostgreSQL too."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.store.migrate import upgrade
from tests.support.clock import FakeClock
from tests.support.management import Management, open_management


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


@pytest.fixture
async def on_both(database_url: str, clock: FakeClock) -> AsyncIterator[Management]:
    opened = await open_management(database_url, clock)
    yield opened
    await opened.close()
