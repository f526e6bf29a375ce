"""How soon somebody sees a result who has just heard of Relay, and that it looks as the README shows it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.journeys.test_readme import TOP, reader, texts
from tests.support.stopwatch import own_seconds_until

FIRST_RESULT: Final = "signature verified\n"  # a subscriber has it, and has verified it
DEMO_SECONDS: Final = 10.0
CLONE_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 200.0  # on a loaded machine, of which the waits are taken off


@contextmanager
def _running(
    command: Sequence[str], directory: Path, env: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A command in a session of its own, and the file that it writes to."""
    output = directory.parent / f"{directory.name}.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process, output
    finally:
        subprocess.run(["bash", "-c", f"kill -TERM -- -{process.pid}"], check=False, capture_output=True)
        process.wait(20)


def _seconds_to_the_first_result(process: subprocess.Popen[bytes], output: Path) -> float:
    try:
        return own_seconds_until(process, lambda: FIRST_RESULT in output.read_text("utf-8"), PATIENCE_SECONDS)
    except TimeoutError as late:
        pytest.fail(f"{late}:\n{output.read_text('utf-8')}")


def test_the_demo_shows_its_first_result_in_seconds_and_as_it_is_told(tmp_path: Path) -> None:
    (shown,) = texts("demo output")
    with _running(["relay", "demo"], tmp_path, reader(tmp_path)) as (process, output):
        assert _seconds_to_the_first_result(process, output) < DEMO_SECONDS
        own_seconds_until(process, lambda: output.read_text("utf-8").count("\n") > shown.count("\n"), DEMO_SECONDS)
    told = output.read_text("utf-8").splitlines()[: shown.count("\n")]
    assert [_shape(line) for line in told] == [_shape(line) for line in shown.splitlines()]


def _shape(line: str) -> str:
    """A line without what differs from run to run: times, sizes, digests, who is delivered to first."""
    line = re.sub(r"(billing|search) +", "SUBSCRIBER ", line)
    line = re.sub(r"sha256 \w+", "sha256", line)
    return re.sub(r" +", " ", re.sub(r"\b\d+(\.\d+)?( ms)?\b(?! +Basic)", "#", line)).strip()


@pytest.mark.slow
def test_a_fresh_clone_shows_its_first_result_within_a_minute(tmp_path: Path) -> None:
    """What is committed is cloned, and `make demo` is run by somebody with an empty home and nothing installed."""
    clone, home = tmp_path / "relay", tmp_path / "home"
    home.mkdir()
    cloned = ["git", "-c", "safe.directory=*", "clone", "--quiet", "--no-hardlinks", str(TOP), str(clone)]
    subprocess.run(cloned, check=True, timeout=60)
    with _running(["make", "demo"], clone, _stranger(home)) as (process, output):
        seconds = _seconds_to_the_first_result(process, output)
        print(f"first result {seconds:.1f} s after `make demo`")
    assert seconds <= CLONE_SECONDS, output.read_text("utf-8")
    # What the tests need comes on top of it: nothing is installed twice.
    left = subprocess.run(
        ["make", "--dry-run", "install"], cwd=clone, env=_stranger(home), capture_output=True, text=True, check=True
    )
    assert "-r constraints.txt" in left.stdout and "-r deploy/requirements.txt" not in left.stdout
    assert not (clone / ".relay").exists()  # the demo leaves nothing behind


def _stranger(home: Path) -> dict[str, str]:
    """An environment without ours, but for where packages come from here."""
    ours = str(Path(sys.executable).parent)
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if part != ours)
    assert shutil.which("make", path=path) is not None
    return {"HOME": str(home), "PATH": path} | {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
