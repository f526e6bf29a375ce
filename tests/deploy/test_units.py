"""The systemd units, as systemd reads them, and the Procfile."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from relay.settings import load
from tests.deploy.documents import DEPLOY, TOP, blocks
from tests.support.tools import tool

UNITS = ("relay.service", "relay-worker@.service")
MOST_EXPOSED = 1.4  # of ten, by systemd's own reckoning


def _installed(name: str, tmp_path: Path) -> Path:
    """The unit with this machine's relay in it, as an instance where it is a template."""
    relay = Path(sys.executable).with_name("relay")
    path = tmp_path / name.replace("@.", "@1.")
    path.write_text((DEPLOY / name).read_text().replace("/opt/relay/bin/relay", str(relay)))
    return path


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_unit_and_finds_it_shut(name: str, tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", "systemd")
    unit = _installed(name, tmp_path)
    verified = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stderr) == (0, "")
    security = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", unit], capture_output=True, text=True, timeout=60
    )
    level = re.search(r"exposure level for \S+: ([\d.]+)", security.stdout)
    assert level is not None, security.stdout + security.stderr
    assert float(level[1]) <= MOST_EXPOSED


@pytest.mark.parametrize("name", UNITS)
def test_the_unit_leaves_relay_the_time_and_the_files_that_it_needs(name: str) -> None:
    text = (DEPLOY / name).read_text()
    values = dict(re.findall(r"^(\w+)=(.*)$", text, re.M))
    defaults = load(environ={})
    assert int(values["TimeoutStopSec"]) > defaults.shutdown_seconds
    assert int(values["LimitNOFILE"]) >= defaults.max_connections + 512
    assert values["Restart"] == "always"
    assert values["StateDirectory"] in values["Environment"]


def test_the_readme_installs_a_unit_that_is_there() -> None:
    (copy, _enable) = blocks("systemd")[0].splitlines()
    assert (TOP / copy.split()[1]).exists()


def test_the_procfile_names_commands_that_there_are() -> None:
    lines = dict(line.split(": ") for line in (TOP / "Procfile").read_text().splitlines())
    assert set(lines) == {"release", "web", "worker"}
    for line in lines.values():
        ran = subprocess.run(
            [*line.replace("relay", sys.executable + " -m relay", 1).split(), "--help"], capture_output=True
        )
        assert ran.returncode == 0, line
