"""Fixtures for whoever needs a stage: import them into a conftest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import structlog

from tests.support.memory import directory_in_memory
from tests.support.postgres import ExistingPostgres, in_thread
from tests.support.stage import DEFAULT_PLAN, Plan, Stage
from tests.support.store import empty_postgres, migrate_in_thread, postgres_copy, sqlite_copy

Opening = Callable[[Plan], Awaitable[Stage]]

# PostgreSQL in `make proofs`: for hours of simulated time whose every single step is tested on both databases.
SQLITE_FIRST = pytest.mark.parametrize(
    "stage_url", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture(scope="session")
def stage_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("stage") / "relay.db"
    migrate_in_thread(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def stage_postgres(postgres_server: ExistingPostgres) -> Iterator[str]:
    """One migrated PostgreSQL database for all stages, emptied before each."""
    url = postgres_copy(postgres_server)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def sqlite_stage_url(stage_template: Path) -> Iterator[str]:
    """A migrated SQLite database, in memory where there is such a place."""
    with directory_in_memory() as directory:
        yield sqlite_copy(stage_template, directory)


@pytest.fixture
def stage_postgres_url(stage_postgres: str) -> str:
    """A migrated, empty PostgreSQL database."""
    in_thread(lambda: asyncio.run(empty_postgres(stage_postgres)))
    return stage_postgres


@pytest.fixture
def silence() -> Iterator[None]:
    """No log lines below errors: in a simulation they are most of the work."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**before)


def _url_of(request: pytest.FixtureRequest) -> str:
    """Of the kind of database that is the fixture's parameter."""
    url: str = request.getfixturevalue("sqlite_stage_url" if request.param == "sqlite" else "stage_postgres_url")
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def stage_url(request: pytest.FixtureRequest) -> str:
    """A migrated database: the test runs once on SQLite and once on PostgreSQL."""
    return _url_of(request)


@pytest.fixture(name="stage_url", params=["sqlite", pytest.param("postgres", marks=pytest.mark.acceptance)])
def journey_url(request: pytest.FixtureRequest) -> str:
    """The same for journeys. What they are about has its own tests on both databases, so PostgreSQL may wait for
    `make acceptance`."""
    return _url_of(request)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def sqlite_first(request: pytest.FixtureRequest) -> str:
    """For a file whose own matter is above the store, whose `stage_url` it gives: PostgreSQL is in `make proofs`."""
    return _url_of(request)


@pytest.fixture
async def open_stage(stage_url: str) -> AsyncIterator[Opening]:
    """Open the stage of this test with a plan of its own."""
    opened: list[Stage] = []

    async def opening(plan: Plan) -> Stage:
        opened.append(await Stage.open(stage_url, plan))
        return opened[-1]

    yield opening
    for stage in opened:
        await stage.close()


@pytest.fixture
async def stage(open_stage: Opening) -> Stage:
    """A stage with nothing registered."""
    return await open_stage(DEFAULT_PLAN)


@pytest.fixture
async def sqlite_stage(sqlite_stage_url: str) -> AsyncIterator[Stage]:
    """For what does not depend on the database."""
    opened = await Stage.open(sqlite_stage_url)
    yield opened
    await opened.close()
