"""The image without an engine to build it: what it copies and runs, how it starts, how it is asked for its health."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.crash.rig import Program, ended
from tests.deploy.dockerfile import Instruction, all_of, stages
from tests.deploy.documents import DEPLOY, TOP, blocks
from tests.support.ports import free_port

BUILD, FINAL = stages(DEPLOY / "Dockerfile")
ENV: Final = {name: value for each in all_of(FINAL, "ENV") for name, value in each.variables.items()}
HEALTH: Final = Instruction("CMD", all_of(FINAL, "HEALTHCHECK")[0].rest.partition("CMD ")[2])
START: Final = [*all_of(FINAL, "ENTRYPOINT")[0].exec_form, *all_of(FINAL, "CMD")[0].exec_form]
PIN: Final = re.compile(r"^([a-z0-9.-]+)==(\S+)", re.M)


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text()
    let_in = set(re.findall(r"^!(.+)$", ignore, re.M))
    copied = {name for each in all_of(BUILD, "COPY") for name in each.sources}
    assert copied == let_in
    assert [name for name in copied if not (TOP / name).exists()] == []


def test_it_runs_as_nobody_in_particular_and_carries_no_tools() -> None:
    assert all_of(FINAL, "USER")[-1].rest == "10001:10001"
    assert FINAL[-1].word == "CMD"
    text = (DEPLOY / "Dockerfile").read_text()
    assert "curl" not in re.sub(r"#.*", "", text)
    assert "ADD " not in text
    assert {stage[0].rest.split()[0] for stage in (BUILD, FINAL)} == {
        "python:3.13-slim-bookworm"
    }  # one Python: the venv's
    assert ENV["RELAY_DATA_DIR"] == all_of(FINAL, "VOLUME")[0].rest == all_of(FINAL, "WORKDIR")[0].rest


def test_it_installs_what_is_pinned_and_nothing_of_the_tests() -> None:
    image = dict(PIN.findall((DEPLOY / "requirements.txt").read_text()))
    pins: dict[str, set[str]] = {}
    for name, version in PIN.findall((TOP / "constraints.txt").read_text()):
        pins.setdefault(name, set()).add(version)
    assert {name: version for name, version in image.items() if version not in pins[name]} == {}
    assert {"asyncpg", "opentelemetry-sdk", "uvloop"} <= set(image)
    assert not {"pytest", "hypothesis", "mypy", "ruff", "schemathesis", "openai"} & set(image)


def test_the_readme_installs_as_the_image_does() -> None:
    ran = [each.rest.replace(" -r requirements.txt", " -r deploy/requirements.txt") for each in all_of(BUILD, "RUN")]
    assert blocks("install")[0].splitlines() == ran[:3]


def test_it_starts_answers_for_its_health_and_stops(tmp_path: Path) -> None:
    """The image's command, environment and health check on this machine's Relay: only paths and port are others."""
    port = free_port()
    env, own = _environment(tmp_path, port), Path(sys.executable).parent
    relay = Program("relay", _here(START, own, port), tmp_path / "log", env)
    with ended(relay):
        relay.await_ready()
        assert _asked(own, port).returncode == 0
        assert relay.stop() == 0
    assert _asked(own, port).returncode != 0
    assert {path.name for path in tmp_path.iterdir()} == {"data", "log"}  # it writes nowhere else


def _environment(tmp_path: Path, port: int) -> dict[str, str]:
    places = {"RELAY_DATA_DIR": str(tmp_path / "data"), "RELAY_PORT": str(port), "RELAY_HOST": "127.0.0.1"}
    return {**ENV, **places, "PATH": os.environ["PATH"], "HOME": "/nonexistent", "RELAY_SHUTDOWN_SECONDS": "1"}


def _here(words: list[str], binaries: Path, port: int) -> list[str]:
    return [word.replace("/opt/relay/bin", str(binaries)).replace(":8000/", f":{port}/") for word in words]


def _asked(binaries: Path, port: int) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(_here(HEALTH.exec_form, binaries, port), capture_output=True, timeout=30)


@pytest.mark.slow
def test_the_commands_of_the_build_make_a_relay_that_runs(tmp_path: Path) -> None:
    """The build stage, instruction by instruction, in a directory of its own with this machine's Python."""
    source, prefix = tmp_path / "src", tmp_path / "relay"
    source.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "PIP_REQUIRE"))}
    for each in BUILD:
        if each.word == "COPY":
            for name in each.sources:
                copy = shutil.copytree if (TOP / name).is_dir() else shutil.copy
                copy(TOP / name, source / Path(name).name)
        elif each.word == "RUN":
            line = each.rest.replace("/opt/relay", str(prefix)).replace("python -m venv", f"{sys.executable} -m venv")
            ran = subprocess.run(["sh", "-euc", line], cwd=source, env=env, capture_output=True, text=True, timeout=600)
            assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
    told = subprocess.run([prefix / "bin/relay", "--version"], capture_output=True, text=True, timeout=60)
    assert told.stdout.startswith("relay ")
    assert not (prefix / "bin/pip").exists()
    assert not list(prefix.glob("lib/*/site-packages/pytest"))
    answered = subprocess.run(
        [prefix / "bin/relay", "doctor"], cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, timeout=60
    )
    assert answered.returncode == 0, answered.stdout + answered.stderr
    assert shlex.join(START) == "/opt/relay/bin/relay serve"
