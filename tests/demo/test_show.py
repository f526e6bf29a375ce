"""`relay demo` as its first user meets it: a process, its lines, the curl line it offers, and Ctrl-C."""

import base64
import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from relay.demo.show import demo_settings, listening_socket
from relay.model import Secret
from tests.support.stopwatch import own_seconds_to_end

pytestmark = pytest.mark.acceptance

COMMAND = [sys.executable, "-m", "relay", "demo"]
PATIENCE_SECONDS = 40
PROMISED_END_SECONDS = 3


class Demo:
    """The demo running, read line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def until(self, text: str, *, count: int = 1) -> str:
        """Read on until `count` further lines hold `text`; the last of them."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            count -= text in line
            if count == 0:
                return line
        self.process.wait(PATIENCE_SECONDS)
        pytest.fail(f"{text!r} never came:\n{self.said()}")

    def said(self) -> str:
        assert self.process.stderr is not None
        return "\n".join(self.lines) + (self.process.stderr.read() if self.process.poll() is not None else "")

    def interrupt(self) -> float:
        """Press Ctrl-C; how many seconds the end takes."""
        self.process.send_signal(signal.SIGINT)
        return own_seconds_to_end(self.process, PATIENCE_SECONDS)


@contextlib.contextmanager
def playing(directory: Path, **environment: str) -> Iterator[Demo]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    temporary = directory / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        COMMAND,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
        env={**env, "TMPDIR": str(temporary), **environment},
    )
    watchdog = threading.Timer(PATIENCE_SECONDS, process.kill)
    watchdog.start()
    with process:
        try:
            yield Demo(process)
        finally:
            process.kill()
            watchdog.cancel()


def run_curl(line: str) -> Any:
    """What the printed curl line does, without needing curl."""
    words = shlex.split(line)
    assert words[0] == "curl"
    url = next(word for word in words if word.startswith("http"))
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    data = words[words.index("-d") + 1].encode() if "-d" in words else None
    request = urllib.request.Request(url, data=data, headers=headers)
    if "-u" in words:
        user = base64.b64encode(words[words.index("-u") + 1].encode()).decode()
        request.add_header("authorization", f"Basic {user}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return orjson.loads(answer.read())


def playground_of(url: str, key: str) -> str:
    """The dashboard's playground, as somebody sees it who signs in with the key."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    headers = {"origin": url.removesuffix("/ui/playground"), "sec-fetch-site": "same-origin"}
    form = urllib.parse.urlencode({"key": key, "next": "/ui/playground"}).encode()
    sign_in = urllib.request.Request(url.replace("playground", "sign-in"), data=form, headers=headers)
    with browser.open(sign_in, timeout=10) as answer:
        page: str = answer.read().decode()
    return page


def test_the_round_trip_is_shown_the_curl_lines_work_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    with playing(tmp_path) as demo:
        ask = demo.until("curl -u")
        look = demo.until("/v1/results")
        stages = [line.split()[1] for line in demo.lines if line[:9].strip().replace(".", "").isdigit()]
        told = [
            "register",
            "subscribe",
            "subscribe",
            "ask",
            "notified",
            "fetch",
            "fetch",
            "stored",
            "delivered",
            "delivered",
        ]
        assert stages == told, demo.said()
        assert "202" in next(line for line in demo.lines if "fetch #1" in line)
        assert sum("signature verified" in line for line in demo.lines) == 2
        assert run_curl(ask)["message"] == "Request received"
        demo.until("signature verified", count=2)
        assert len(run_curl(look)["data"]) == 2
        facts = {line[:16].strip(): line.split()[-1] for line in demo.lines if "://" in line or "admin key" in line}
        assert playground_of(facts["playground"], facts["admin key"]).count('name="scenario"') > 5
        assert demo.interrupt() < PROMISED_END_SECONDS
        assert demo.process.returncode == 0, demo.said()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


@pytest.mark.parametrize("stage", [pytest.param("register", marks=pytest.mark.slow), "fetch #1"])
def test_ctrl_c_ends_it_in_the_middle_of_the_act_too(tmp_path: Path, stage: str) -> None:
    with playing(tmp_path) as demo:
        demo.until(stage)
        assert demo.interrupt() < PROMISED_END_SECONDS
        assert demo.process.returncode == 0, demo.said()


def test_it_plays_although_its_favourite_port_is_taken_and_settings_for_another_relay_lie_about(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text('database_url = "postgresql://nobody@127.0.0.1:1/none"\n')
    with socket.socket() as taken:
        with contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", 8000))
            taken.listen()
        with playing(tmp_path, RELAY_PORT="1", RELAY_HOST="192.0.2.1") as demo:
            demo.until("signature verified", count=2)
            demo.interrupt()


def test_two_that_start_at_once_have_a_port_each() -> None:
    with listening_socket() as first, listening_socket() as second:
        assert first.getsockname() != second.getsockname()


def test_only_the_two_stand_ins_may_be_called(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path, Secret("k" * 40), 8000, 1111, 2222)
    assert settings.provider_egress_allow == ("127.0.0.1/32:1111",)
    assert settings.egress_allow == ("127.0.0.1/32:2222",)
    assert settings.data_dir == tmp_path
    assert settings.is_sqlite
