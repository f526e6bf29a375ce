"""Stages for this room."""

import asyncio

import pytest

from tests.support.postgres import in_thread
from tests.support.stage_fixtures import (  # noqa: F401
    open_stage,
    silence,
    sqlite_stage,
    sqlite_stage_url,
    stage,
    stage_postgres,
    stage_template,
    stage_url,
)
from tests.support.store import empty_postgres


@pytest.fixture
def stage_postgres_url(stage_postgres: str) -> str:  # noqa: F811 - a fixture is named by its parameter
    """A migrated, empty PostgreSQL database."""
    in_thread(lambda: asyncio.run(empty_postgres(stage_postgres)))
    return stage_postgres
