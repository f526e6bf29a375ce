from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from relay.clock import SystemClock
from relay.model import Secret
from relay.signing.browser import SignInLinks
from tests.cli.conftest import Run

KEY = "a-secret-key-of-more-than-32-characters"


def test_relay_ui_prints_a_link_and_nothing_else(tmp_path: Path) -> None:
    env = {"RELAY_DATA_DIR": str(tmp_path), "RELAY_SECRET_KEYS": KEY, "RELAY_PORT": "8123"}
    command = [sys.executable, "-m", "relay", "ui"]
    ended = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    address, _, link = ended.stdout.strip().partition("?link=")
    assert address == "http://127.0.0.1:8123/ui/sign-in"
    assert SignInLinks((Secret(KEY),)).read(link, SystemClock().now()) is not None
    assert "ten minutes" in ended.stderr and link not in ended.stderr


def test_in_a_directory_of_no_relay_no_keys_are_made_for_a_link_that_opens_nothing(run: Run, tmp_path: Path) -> None:
    refused = run("ui")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "where the relay runs" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_keys_that_a_relay_keeps_make_the_link(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".relay").mkdir()
    (tmp_path / ".relay" / "secret-keys").write_text(KEY)
    link = run("ui").stdout.strip().partition("?link=")[2]
    assert SignInLinks((Secret(KEY),)).read(link, SystemClock().now()) is not None
