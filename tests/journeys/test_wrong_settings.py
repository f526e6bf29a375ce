"""A relay that cannot start says which setting is wrong and what to do, in one line each, without a traceback."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay.cli.main import cli
from tests.crash.rig import environment, relay_command

pytestmark = pytest.mark.acceptance

CASES: dict[str, tuple[list[str], dict[str, str], list[str]]] = {
    "several at once": (
        ["serve"],
        {
            "RELAY_PORT": "http",
            "RELAY_EGRESS_ALLOW": "10.0.0.0/33",
            "RELAY_DATABASE_URL": "mysql://root@db/relay",
            "RELAY_SECRET_KEYS": "short",
            "RELAY_PUBLIC_URL": "relay.example.com",
        },
        ["RELAY_PORT", "RELAY_EGRESS_ALLOW", "10.0.0.0/33", "postgresql://", "RELAY_SECRET_KEYS", "32", "RELAY_PUBLIC"],
    ),
    "one that is misspelt": (["serve"], {"RELAY_PROT": "8000"}, ["RELAY_PROT", "RELAY_PORT"]),
    "PostgreSQL without keys": (
        ["serve"],
        {"RELAY_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"},
        ["RELAY_SECRET_KEYS and RELAY_ADMIN_KEY must be set on PostgreSQL", "python3 -c"],
    ),
    "PostgreSQL that is not there": (
        ["serve"],
        {
            "RELAY_DATABASE_URL": "postgresql://nobody:hidden-word@127.0.0.1:1/none",
            "RELAY_SECRET_KEYS": "s" * 40,
            "RELAY_ADMIN_KEY": "a" * 40,
        },
        ["the database cannot be used", "RELAY_DATABASE_URL"],
    ),
}


def _run(arguments: Sequence[str], env: dict[str, str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        relay_command(*arguments), env=environment(env), cwd=directory, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_setting_is_named_with_the_fix(name: str, tmp_path: Path) -> None:
    arguments, env, said = CASES[name]
    ended = _run(arguments, env, tmp_path)
    assert ended.returncode in (1, 2)
    assert [word for word in said if word not in ended.stderr] == [], ended.stderr
    assert "Traceback" not in ended.stderr
    assert "hidden-word" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["worker"], "relay: `relay worker` needs PostgreSQL"),
        (["serve", "--no-worker"], "relay: --no-worker needs PostgreSQL"),
    ],
)
def test_on_sqlite_one_process_does_everything(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(cli, arguments, env={name: None for name in os.environ if name.startswith("RELAY_")})
    assert ended.exit_code == 2
    assert ended.stderr.startswith(said) and ended.stderr.count("\n") == 1


@pytest.fixture
def taken_port() -> Iterator[str]:
    """A port that somebody else listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield str(taken.getsockname()[1])


def test_without_the_key_that_its_secrets_are_encrypted_with_it_does_not_start(taken_port: str, tmp_path: Path) -> None:
    env = {"RELAY_SECRET_KEYS": "old-key-" * 5, "RELAY_ADMIN_KEY": "a" * 40, "RELAY_PORT": taken_port}
    assert _run(["serve"], env, tmp_path).returncode == 1  # it has made its database, and ends for want of a port
    ended = _run(["serve"], env | {"RELAY_SECRET_KEYS": "new-key-" * 5}, tmp_path)
    assert ended.returncode == 1
    assert "RELAY_SECRET_KEYS lacks a key" in ended.stderr
    assert "old-key-" not in ended.stderr
