"""The command line around a real relay, in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.support.ports import free_port

pytestmark = pytest.mark.acceptance

KEYS = {"RELAY_SECRET_KEYS": "s" * 40, "RELAY_ADMIN_KEY": "a" * 40}


@contextmanager
def _serving() -> Iterator[subprocess.Popen[str]]:
    """`relay serve` with this process's environment, from its ready line on."""
    process = subprocess.Popen([sys.executable, "-m", "relay", "serve"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("ready  http://127.0.0.1:"), line
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A data directory and a port of this test's own."""
    monkeypatch.setenv("RELAY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("RELAY_PORT", str(free_port()))


def test_a_fresh_directory_serves_alone_and_is_managed_without_any_setting(run: Run) -> None:
    with _serving() as process:
        made = run("webhook", "create", "first", "--provider", "netnut", "--credential", "username=u", "--credential",
                   "password=p", "--json")  # fmt: skip
        assert made.exit_code == 0, made.output
        assert "/in/" in json.loads(made.stdout)["callback_url"]
        assert "first" in run("webhook", "list").stdout
        assert "first" in run("webhook", "show", "first").stdout
        assert run("webhook", "create", "first", "--provider", "netnut").exit_code in (2, 5)
        assert run("db", "check").exit_code == 0
        _a_second_relay_on_the_same_file_is_refused()
        assert run("webhook", "delete", "first", "--yes").exit_code == 0
        process.send_signal(signal.SIGINT)
        assert "sign-in" not in process.communicate(timeout=20)[1]  # that is for a terminal, and not for a log
        assert process.returncode == 0


def _a_second_relay_on_the_same_file_is_refused() -> None:
    second = subprocess.run(
        [sys.executable, "-m", "relay", "serve"],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "RELAY_PORT": str(free_port())},
    )
    assert second.returncode == 1
    assert "another" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_port_that_is_taken_is_said_with_what_takes_another(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", int(os.environ["RELAY_PORT"]))):
        refused = subprocess.run([sys.executable, "-m", "relay", "serve"], capture_output=True, text=True, timeout=30)
    assert refused.returncode == 1
    assert "address already in use; --port or RELAY_PORT takes another one" in refused.stderr
    assert os.environ["RELAY_PORT"] in refused.stderr and refused.stderr.count("\n") == 1


@pytest.mark.parametrize("host", ["nobody.invalid", "192.0.2.1"])
def test_a_host_that_is_not_this_machine_is_said_with_its_setting(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_HOST", host)
    refused = subprocess.run([sys.executable, "-m", "relay", "serve"], capture_output=True, text=True, timeout=30)
    assert refused.returncode == 1
    assert f"{host} stands in --host or RELAY_HOST" in refused.stderr and refused.stderr.count("\n") == 1


def test_a_management_port_that_is_taken_is_said_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("RELAY_MANAGEMENT_PORT", str(taken.getsockname()[1]))
        refused = subprocess.run([sys.executable, "-m", "relay", "serve"], capture_output=True, text=True, timeout=30)
    assert refused.returncode == 1
    assert "address already in use; RELAY_MANAGEMENT_PORT takes another one" in refused.stderr


def test_on_postgresql_serving_waits_for_the_upgrade(
    run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**KEYS, "RELAY_DATABASE_URL": postgres_url}.items():
        monkeypatch.setenv(name, value)
    early = subprocess.run([sys.executable, "-m", "relay", "serve"], capture_output=True, text=True, timeout=30)
    assert early.returncode == 1
    assert "run `relay db upgrade`" in early.stderr
    assert run("db", "upgrade").exit_code == 0
    with _serving():
        assert run("key", "list").exit_code == 0


def test_a_terminal_is_told_where_the_dashboard_is() -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen([sys.executable, "-m", "relay", "serve"], stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    while b"sign-in?link=" not in shown:
        shown += os.read(ours, 65536)
    process.terminate()
    while True:  # what it says at its end has to go somewhere
        try:
            if not os.read(ours, 65536):
                break
        except OSError:  # Linux says EIO when the other side has closed
            break
    os.close(ours)
    assert process.wait(timeout=20) == 0
    assert shown.index(b"ready  ") < shown.index(b"/admin-key; ") < shown.index(b"dashboard  http://127.0.0.1:")
    assert b"rk_" not in shown
