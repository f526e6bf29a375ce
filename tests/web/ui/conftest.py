"""A dashboard for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.dashboard import Dashboard, dashboard_of
from tests.support.management import Management
from tests.web.api.conftest import empty_file, management, migrated_url, on_both  # noqa: F401


@pytest.fixture
async def outside(management: Management, tmp_path: Path) -> AsyncIterator[Dashboard]:  # noqa: F811 - a fixture
    """Nobody is signed in."""
    made = dashboard_of(management, tmp_path)
    yield made
    await made.client.aclose()


@pytest.fixture
async def dashboard(outside: Dashboard) -> Dashboard:
    """The administrator is signed in."""
    assert (await outside.sign_in()).status_code == 303
    return outside


@pytest.fixture
async def on_both_databases(on_both: Management, tmp_path: Path) -> AsyncIterator[Dashboard]:  # noqa: F811
    """The administrator is signed in, on SQLite and on PostgreSQL."""
    made = dashboard_of(on_both, tmp_path)
    assert (await made.sign_in()).status_code == 303
    yield made
    await made.client.aclose()
