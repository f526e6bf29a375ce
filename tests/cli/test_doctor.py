"""`relay doctor` as a command: one line for each check, JSON, exit codes, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.support.fake_api import Answer, FakeApi
from tests.support.ports import free_port


def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RELAY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("RELAY_PORT", str(free_port()))
    monkeypatch.setenv("RELAY_FREE_DISK_FLOOR_BYTES", "0")


def test_before_the_first_start_it_says_what_will_be_and_makes_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _nobody(monkeypatch, tmp_path)
    result = run("doctor")
    assert result.exit_code == 0, result.output
    checks = [line.split()[1] for line in result.stdout.splitlines()]
    assert checks == ["settings", "keys", "directory", "disk", "egress", "profiles", "migrations", "database",
                      "public-url", "running"]  # fmt: skip
    assert "warn  public-url" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_what_fails_is_told_with_what_to_do_and_an_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _nobody(monkeypatch, tmp_path)
    monkeypatch.setenv("RELAY_EGRESS_ALLOW", "0.0.0.0/0")
    result = run("doctor", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    (failed,) = [each for each in told["findings"] if each["level"] == "fail"]
    assert (told["ok"], failed["check"], failed["advice"]) == (False, "egress", "list the networks that you mean")


def test_a_wrong_setting_is_the_first_thing_to_mend(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_PORT", "ninety")
    result = run("doctor")
    assert result.exit_code == 2
    assert result.stdout.startswith("fail  settings      RELAY_PORT")


def test_of_another_relay_only_what_it_answers_is_looked_at(api: FakeApi, run: Run) -> None:
    api.answers = lambda request: Answer(
        {"components": {"database": "ok"}, "info": {"version": "0"}, "data": [], "next_cursor": None, "jobs_overdue": 0}
    )
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["running", "version", "key"]
    assert {request.headers.get("authorization") for request in api.requests if request.path == "/readyz"} == {None}


def test_of_another_relay_without_a_key_it_is_said_that_half_was_not_looked_at(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RELAY_API_KEY")
    api.answers = lambda _: Answer({"components": {"database": "ok"}, "info": {"version": "0"}})
    result = run("doctor")
    assert result.exit_code == 0
    assert "warn  key" in result.stdout and "RELAY_API_KEY is not set" in result.stdout
