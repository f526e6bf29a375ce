"""After a crash everybody waits for the ready line: what a start imports, and how it knows that nothing is pending."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Final

import pytest
from alembic.script import ScriptDirectory

from relay.store.migrate import alembic_config, steps, upgrade
from tests.support.ports import free_port

# What is heavy, and when it is needed.
HEAVY: Final = {
    "alembic": "while a migration runs",
    "asyncpg": "on PostgreSQL",
    "httpx2": "on the command line",
    "jinja2": "for a page",
    "mako": "by Alembic",
    "openapi_pydantic": "for /openapi.json and /docs",
    "relay.demo": "where somebody wants to play",
    "rich": "on the command line",
    "sqlalchemy.orm": "never, but SQLAlchemy's asynchronous engine brings it along",
}

MOST_MODULES: Final = 1000  # each takes most of a millisecond; what stands above is tens or hundreds of them

# `relay serve`, which says at its end what it has imported.
SERVE: Final = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, sep="\\n"))
from relay.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What `relay serve` needs to serve and to work, on a database that is there."""
    directory = tmp_path_factory.mktemp("start")
    asyncio.run(upgrade(f"sqlite:///{directory / 'relay.db'}"))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "DATABASE_URL", "PORT"))}
    relay = subprocess.Popen(
        [sys.executable, "-c", SERVE, "serve"],
        cwd=directory,
        env=env | {"RELAY_DATA_DIR": str(directory), "RELAY_PORT": str(free_port()), "RELAY_SHUTDOWN_SECONDS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert relay.stderr is not None
    said = [next(line for line in relay.stderr if line.startswith(("ready", "relay:", "Error:")))]
    relay.terminate()
    told, rest = relay.communicate(timeout=30)
    assert said[0].startswith("ready"), said[0] + rest
    return set(told.split())


@pytest.mark.parametrize("module", HEAVY)
def test_a_start_does_not_wait_for_what_is_needed_later_if_at_all(imported: set[str], module: str) -> None:
    assert {"relay.web.server", "relay.pipeline.fetch"} <= imported
    assert module not in imported, f"needed {HEAVY[module]}: import it there"


def test_a_start_imports_only_so_many_modules(imported: set[str]) -> None:
    assert len(imported) <= MOST_MODULES, "look for the newcomers with python -X importtime"


def test_what_is_pending_is_what_alembic_would_do() -> None:
    walked = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    assert steps() == [step.revision for step in walked][::-1]
