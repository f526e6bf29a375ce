"""Every command in the README and the guides is run, in order, as a reader would; every table and name in them is true.

A fenced block says in a comment before it how it is run. In all of them these words stand for others: the relay's port
8000, the subscriber's 9000 and the rehearsal's 7431 for free ones, NetNut's origin for the stand-in's, and the database
for a fresh one. $NETNUT_USERNAME and $NETNUT_PASSWORD are the reader's, and the stand-in's here.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

from relay.providers.loader import load_profiles
from relay.settings import describe
from tests.crash.rig import Program, ended
from tests.support.journey import LOOPBACK, PASSWORD, Caller, stand_ins
from tests.support.ports import free_port

TOP: Final = Path(__file__).parents[2]
README: Final = (TOP / "README.md").read_text("utf-8")
PAGES: Final = {"README.md": README} | {
    path.name: path.read_text("utf-8") for path in (TOP / "deploy/guide").glob("[!R]*.md")
}
# With commands at a relay: what comes after "subscriptions" would meet subscribers that nobody has started.
SESSIONS: Final = ("results.md", "replay.md", "pull.md", "dashboard.md", "cli.md", "subscriptions.md")
BLOCK: Final = re.compile(
    r"(?:<!-- block: (?P<kind>[^>]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
COMMAND_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    kind: str | None
    language: str
    text: str


BLOCKS: Final = [
    Block(page, found["kind"], found["language"], found["text"])
    for page, text in PAGES.items()
    for found in BLOCK.finditer(text)
]


def texts(kind: str, page: str | None = None) -> list[str]:
    """The blocks that are run this way, on one page or on all."""
    found = [block.text for block in BLOCKS if block.kind == kind and page in (None, block.page)]
    assert found, f"there is no block {kind!r}"
    return found


def reader(directory: Path) -> dict[str, str]:
    """The environment of somebody with a fresh home and an installed Relay."""
    home = directory / "home"
    home.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quick = {"RELAY_SHUTDOWN_SECONDS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", **quick}


def replaced(text: str, words: Mapping[str, str]) -> str:
    for word, instead in words.items():
        text = text.replace(word, instead)
    return text


class Shell:
    """One shell in which block after block is run; any command that fails ends it."""

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "-eu", "-o", "pipefail"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=directory,
            env=env,
            start_new_session=True,
        )
        self.said = ""

    def run(self, block: str) -> str:
        """What the block printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{block}\necho; echo THE END OF THIS BLOCK\n")
        self._process.stdin.flush()
        printed = ""
        for line in self._process.stdout:
            self.said += line
            if line == "THE END OF THIS BLOCK\n":
                return printed
            printed += line
        pytest.fail(f"a command failed:\n{block}\nThe session:\n{self.said}")

    def end(self) -> None:
        """Whatever it started in the background goes with it."""
        subprocess.run(["bash", "-c", f"kill -KILL -- -{self._process.pid}"], check=False, capture_output=True)
        self._process.communicate()


@contextmanager
def shell(directory: Path, env: Mapping[str, str]) -> Iterator[Shell]:
    """A shell, gone at the end with whatever it started."""
    opened = Shell(directory, env)
    try:
        yield opened
    finally:
        opened.end()


def test_every_block_of_commands_is_run_somehow() -> None:
    kinds = {
        "targets",
        "pip",
        "serve",
        "session",
        "listen",
        "postgres",
        "acme",
        "rehearse",
    }  # some in files of their own
    assert {block.kind for block in BLOCKS if block.language in ("sh", "bash", "console")} == kinds
    assert {block.language for block in BLOCKS} == {"sh", "python", "text", "toml"}
    assert sum(text.count("```") for text in PAGES.values()) == 2 * len(BLOCKS)
    assert {block.page for block in BLOCKS if block.kind == "session"} == {"README.md", *SESSIONS}


@pytest.mark.acceptance
async def test_the_first_result_comes_as_it_is_told_and_each_guide_goes_on_from_there(tmp_path: Path) -> None:
    env, port, subscriber, rehearsal = reader(tmp_path), free_port(), free_port(), free_port()
    async with stand_ins() as (netnut, _, session):
        words = {
            "127.0.0.1:8000": f"127.0.0.1:{port}",
            "9000": str(subscriber),
            "127.0.0.1/32:7431": LOOPBACK,
            "relay trigger": f"relay trigger --port {rehearsal}",
            "https://llm-scraper.netnut.io": netnut.url,
        }
        (python,), (serve,) = texts("billing.py"), texts("serve")
        (tmp_path / "billing.py").write_text(replaced(python, words))
        served = env | {"RELAY_PORT": str(port)}
        relay = Program("relay", ["bash", "-c", f"cd {tmp_path}; {replaced(serve, words)}"], tmp_path / "log", served)
        reading = env | {"NETNUT_USERNAME": netnut.username, "NETNUT_PASSWORD": PASSWORD}
        with ended(relay):
            await asyncio.to_thread(relay.await_ready)
            key = (tmp_path / ".relay/admin-key").read_text().strip()
            api = Caller(session, f"http://127.0.0.1:{port}", key)
            with shell(tmp_path, reading) as first:
                start, *rest = [replaced(block, words) for block in texts("session", "README.md")]
                await _session(api, first, start, *rest)
                others = [await _guide(api, tmp_path, reading, words, start, page) for page in SESSIONS]
                await asyncio.to_thread(first.run, "relay sub test billing")
    verified = re.findall(r"verified result.completed .*'text': 'Three things people say about (.{6})", first.said)
    assert "verified relay.test None" in first.said
    assert sorted(verified) == ["And co"] * 2 + ["Is tea"] * 2 + ["coffee"] * 2  # each replayed once
    assert b"And cocoa?" in (tmp_path / "result.json").read_bytes()
    assert netnut.counts["unauthorized"] == 0
    assert "exit code 3" in others[SESSIONS.index("cli.md")]
    assert "Traceback" not in first.said + relay.said() + "".join(others)


async def _guide(
    api: Caller, directory: Path, env: Mapping[str, str], words: Mapping[str, str], start: str, page: str
) -> str:
    """What somebody sees who goes from the README to this guide, in a terminal of its own."""
    with shell(directory, env) as opened:
        await _session(api, opened, start, *(replaced(block, words) for block in texts("session", page)))
        return opened.said


async def _session(api: Caller, opened: Shell, *blocks: str) -> None:
    for block in blocks:
        async with asyncio.timeout(COMMAND_SECONDS):
            await asyncio.to_thread(opened.run, block)
        await _until_all_is_delivered(api)


async def _until_all_is_delivered(api: Caller) -> None:
    """A reader waits until the subscriber's terminal says something before going on."""
    await api.until("/v1/jobs", lambda page: all(job["status"] == "completed" for job in page["data"]))
    await api.until("/v1/replays", lambda page: all(replay["status"] == "done" for replay in page["data"]))
    await api.until("/v1/deliveries", lambda page: all(found["status"] == "delivered" for found in page["data"]))


@pytest.mark.acceptance
async def test_several_processes_share_a_postgresql_as_it_is_told(tmp_path: Path, postgres_url: str) -> None:
    (block,) = texts("postgres")
    lines = replaced(block, {"postgresql://relay@db.internal/relay": postgres_url}).splitlines()
    services = [line for line in lines if line.startswith(("relay serve", "relay worker"))]
    preparing = "\n".join(line for line in lines if line not in services)
    env, port = reader(tmp_path), free_port()
    with shell(tmp_path, env) as opened:
        await asyncio.to_thread(opened.run, preparing)
        given = await asyncio.to_thread(opened.run, "env | grep ^RELAY_")
    set_now = dict(line.split("=", 1) for line in given.splitlines() if line)
    programs = [
        Program(line, shlex.split(line), tmp_path / f"{number}.log", env | set_now | {"RELAY_PORT": str(port)})
        for number, line in enumerate(services)
    ]
    with ended(*programs):
        for program in programs:
            await asyncio.to_thread(program.await_ready)
        for program in programs:
            assert await asyncio.to_thread(program.stop) == 0
    procfile = (TOP / "Procfile").read_text()
    assert all(words in procfile for words in ("relay db upgrade", "relay serve", "relay worker"))


def test_the_targets_exist() -> None:
    for line in "".join(texts("targets")).splitlines():
        ran = subprocess.run([*shlex.split(line), "-n"], cwd=TOP, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr


def test_the_way_without_make_makes_the_same() -> None:
    lines = texts("pip")[0].splitlines()
    assert lines == ["python3 -m venv .venv", ".venv/bin/pip install '.[postgres]'", ".venv/bin/relay demo"]
    options = ["--dry-run", "--no-deps", "--disable-pip-version-check", "--quiet"]
    if (
        int(version("setuptools").partition(".")[0]) >= 80
    ):  # as `make install` has it; else pip fetches one for the build
        options.append("--no-build-isolation")
    ran = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, ".[postgres]"], cwd=TOP, capture_output=True
    )
    assert ran.returncode == 0, ran.stderr


def test_the_settings_are_all_of_them() -> None:
    head = ["| variable | default | |", "|---|---|---|"]
    rows = [f"| `{name}` | {default} | {described.replace('|', '&#124;')} |" for name, default, described in describe()]
    table = "\n".join([*head, *rows])
    written = PAGES["settings.md"].partition("<!-- settings -->\n")[2].partition("\n<!-- end of settings -->")[0]
    assert written == table, f"write this between the two comments:\n{table}"


def test_the_providers_are_all_of_them() -> None:
    table = PAGES["providers.md"].partition("<!-- providers -->\n")[2].partition("\n<!-- end of providers -->")[0]
    told = re.findall(r"^\| `([\w-]+)` \|.*\| (.+) \|$", table, re.M)
    kept = {"2 h": 7200, "24 h": 86400, "1 h": 3600, "30 min": 1800, "7 d": 604800, "unknown": None}
    profiles = load_profiles(None)
    assert {name: kept[words] for name, words in told} == {
        name: profile.retention.seconds for name, profile in profiles.items()
    }


def test_every_file_and_target_that_is_named_exists() -> None:
    makefile, settings = (TOP / "Makefile").read_text(), {row.name for row in describe()}
    for page, text in PAGES.items():
        paths = re.findall(r"`((?:tests|relay|deploy)/[\w/.-]+)`", text)
        assert [path for path in paths if not (TOP / path).exists()] == [], page
        assert [name for name in re.findall(r"`make (\w+)", text) if f"\n{name}:" not in makefile] == [], page
        assert [name for name in re.findall(r"`(RELAY_\w+)`", text) if name not in settings] == [], page
