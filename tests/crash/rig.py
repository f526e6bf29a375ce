"""Real processes for the crash proofs: each in a session of its own, with a log of its own, ended one by one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import orjson
import psutil

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
LOOK_AGAIN_PART: Final = 0.05  # of the wait so far
ADMIN_KEY: Final = "crash-admin-key-of-more-than-32-characters"
SECRET_KEY: Final = "crash-secret-key-of-more-than-32-characters"
LOOPBACK: Final = "127.0.0.0/8"


class CrashError(Exception):
    """A process did not do what the proof needs; the message ends with what it printed."""


class Program:
    """One process and whatever it starts."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str], *, traced: bool = False
    ) -> None:
        self.name = name
        self.log = log
        self._traced = traced  # then our child is strace, and the process meant is the child of that
        self._from = log.stat().st_size if log.exists() else 0  # a log goes on where the last process left it
        self.started = time.monotonic()
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(env),
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def is_ready(self) -> bool:
        """Whether it has printed its ready line."""
        return "\nready " in "\n" + self.said()

    def said(self) -> str:
        """What it printed."""
        with self.log.open("rb") as file:
            file.seek(self._from)
            return file.read().decode(errors="replace")

    def await_ready(self, seconds: float = START_SECONDS) -> float:
        """Wait for its ready line; how long it took, in seconds. Raises CrashError."""
        wait_until(
            lambda: not self.is_running or "\nready " in "\n" + self.said(), seconds, f"{self.name} is not ready"
        )
        if "\nready " not in "\n" + self.said():
            raise CrashError(f"{self.name} ended with {self.process.returncode}: {self.said()[-3000:]}")
        return time.monotonic() - self.started

    def cpu_seconds(self) -> float:
        """Processor time that it took so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def signal(self, number: signal.Signals) -> None:
        """To the process and all that it started; a tracer is left to write down what it saw."""
        with contextlib.suppress(ProcessLookupError):
            if self._traced:
                for child in psutil.Process(self.process.pid).children():
                    child.send_signal(number)
            else:
                os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL, at once."""
        self.signal(signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def end(self) -> None:
        """Whatever is left of it is gone afterwards."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(STOP_SECONDS)

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM; the exit code. Raises CrashError when it does not end in time."""
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            said = self.said()
            self.end()
            raise CrashError(f"{self.name} did not end within {seconds} s: {said[-3000:]}") from None


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours without settings of Relay, and `extra`."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    for name in ("DATABASE_URL", "PORT"):
        mine.pop(name, None)
    return {**mine, **extra}


def module(name: str, *options: str) -> list[str]:
    """The command that runs a module."""
    return [sys.executable, "-m", name, *options]


def relay_command(*arguments: str, without: Sequence[str] = ()) -> list[str]:
    """`relay …` as its users run it, or with something taken out of it."""
    if not without:
        return module("relay", *arguments)
    taken = [part for name in without for part in ("--without", name)]
    return module("tests.crash.launch", *taken, "--", *arguments)


def run_main(main: Callable[[], int]) -> NoReturn:
    """Run a proof's `main`; SIGTERM ends it as Ctrl-C does, so that nothing it started is left behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())


def wait_until(condition: Callable[[], Any], seconds: float, otherwise: str, *, every: float = 0.01) -> None:
    """Return once the condition holds, looked at less often the longer it takes. Raises CrashError after `seconds`."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        if waited > seconds:
            raise CrashError(f"{otherwise} after {seconds:.0f} s")
        time.sleep(max(every, waited * LOOK_AGAIN_PART))


class Api:
    """The management API of one relay."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One call. Raises CrashError with the problem it answered."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else orjson.dumps(body),
            headers={"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                content: dict[str, Any] = orjson.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise CrashError(f"{method} {path} answered {error.code}: {error.read()[:500]!r}") from None
        return content

    def status(self, path: str) -> int:
        """The HTTP status of a GET, 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


@contextlib.contextmanager
def ended(*programs: Program) -> Iterator[None]:
    """Whatever happens, none of these outlives the block."""
    try:
        yield
    finally:
        for program in programs:
            program.end()
