"""The command line in a clean environment, against a relay that answers what the test says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from click.testing import CliRunner, Result

from relay.cli.main import cli
from tests.support.fake_api import FakeApi, fake_api

KEY = "rk_planted-in-the-environment"


class Run(Protocol):
    def __call__(self, *args: str, stdin: str | None = None) -> Result: ...


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of whoever runs the tests gets in."""
    for name in [*os.environ]:
        if name.startswith(("RELAY_TEST_", "RELAY_REQUIRE_")):  # how the suite itself is told where PostgreSQL is
            continue
        if name.startswith("RELAY_") or name in ("DATABASE_URL", "PORT") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with fake_api() as server:
        monkeypatch.setenv("RELAY_URL", server.url)
        monkeypatch.setenv("RELAY_API_KEY", KEY)
        yield server


@pytest.fixture
def run() -> Run:
    """Runs `relay ARGS…` in this process; stdout is a pipe."""

    def invoke(*args: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(cli, list(args), input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke
