"""Real processes for the benchmarks: started on free ports, asked over HTTP, watched, and ended one by one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

import orjson
import psutil

from tests.bench import floors, wire
from tests.support.ports import free_port

STOP_SECONDS: Final = 15.0
ADMIN_KEY: Final = "bench-admin-key-of-more-than-32-characters"
LOOPBACK: Final = "127.0.0.0/8"
LOG_LEVEL: Final = "warning"


class RigError(Exception):
    """A process of the benchmark did not do what it should; the message ends with what it printed."""


@dataclass(frozen=True)
class Running:
    """A server process."""

    name: str
    process: subprocess.Popen[bytes]
    port: int

    def cpu_seconds(self) -> float:
        """Processor time spent so far, in user and kernel mode, all threads."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def rss_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def get(self, path: str) -> bytes:
        """GET without ceremony. Raises URLError."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return bytes(answer.read())


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    for name in ("DATABASE_URL", "PORT"):
        mine.pop(name, None)
    return {**mine, **extra}


@contextlib.contextmanager
def process(
    name: str, arguments: Sequence[str], env: Mapping[str, str] | None = None, output: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process, ended by SIGTERM and, if that does not help, by SIGKILL. What it prints goes into `output`, or
    can be read from its `stdout`."""
    started = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=output or subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(env or {}),
    )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        if started.stdout is not None:
            started.stdout.close()


@contextlib.contextmanager
def light(role: str, *options: str) -> Iterator[Running]:
    """A light provider or subscriber, or the floor server."""
    module = "tests.bench.floors" if role == "server" else "tests.bench.light"
    with process(role, ["-m", module, role, *options]) as started:
        assert started.stdout is not None
        line = started.stdout.readline().split()
        if len(line) != 2 or line[0] != b"ready":
            raise RigError(f"{role} did not start")
        yield Running(role, started, int(line[1]))


def send(plan: wire.Plan) -> wire.Summary:
    """Run a plan in a generator process of its own."""
    return wire.Summary(**_ask(["-m", "tests.bench.wire"], asdict(plan), plan.seconds + 30))


def bare_calls(calls: floors.Calls) -> floors.Cost:
    """Make the bare calls in a process of their own."""
    return floors.Cost(**_ask(["-m", "tests.bench.floors", "calls"], asdict(calls), 120))


def _ask(arguments: list[str], question: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, *arguments],
        input=orjson.dumps(question),
        capture_output=True,
        timeout=seconds,
        env=_environment({}),
        check=False,
    )
    if done.returncode != 0:
        raise RigError(f"{arguments[1]} failed: {done.stderr.decode(errors='replace')[-2000:]}")
    answer: dict[str, Any] = orjson.loads(done.stdout)
    return answer


class Relay:
    """`relay serve` on SQLite in a directory of its own, and its API."""

    def __init__(self, running: Running, output: Path) -> None:
        self.running = running
        self._output = output

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One call of the management API. Raises RigError with the problem it answered."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.running.port}{path}",
            method=method,
            data=None if body is None else orjson.dumps(body),
            headers={"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                content: dict[str, Any] = orjson.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise RigError(f"{method} {path} answered {error.code}: {error.read()[:500]!r}") from None
        return content

    def webhook(self, provider: Running, **more: Any) -> str:
        """A NetNut webhook for the light provider; the path of its callback URL."""
        wanted = {
            "name": "bench",
            "provider": "netnut",
            "credentials": {"username": "bench", "password": "bench"},
            "origins": [f"http://127.0.0.1:{provider.port}"],
            "fetch_max_in_flight": 32,
            **more,
        }
        url: str = self.api("POST", "/v1/webhooks", wanted)["callback_url"]
        return "/" + url.split("/", 3)[3]

    def subscribe(self, subscriber: Running, *paths: str, **more: Any) -> None:
        """One subscription per path of the light subscriber."""
        for path in paths:
            url = f"http://127.0.0.1:{subscriber.port}{path}"
            name = path.strip("/").replace("/", "-")
            self.api("POST", "/v1/subscriptions", {"name": name, "url": url, "max_in_flight": 32, **more})

    def said(self) -> str:
        """What it printed lately."""
        return self._output.read_bytes().decode(errors="replace")[-3000:]


@contextlib.contextmanager
def relay(**settings: str) -> Iterator[Relay]:
    """Start the relay as its users do and wait until it says it is ready. Raises RigError after 30 s.

    It logs warnings only, as the floors beside it log nothing.
    """
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as directory:
        port = free_port()
        env = {
            "RELAY_DATA_DIR": directory,
            "RELAY_PORT": str(port),
            "RELAY_ADMIN_KEY": ADMIN_KEY,
            "RELAY_EGRESS_ALLOW": LOOPBACK,
            "RELAY_PROVIDER_EGRESS_ALLOW": LOOPBACK,
            "RELAY_LOG_LEVEL": LOG_LEVEL,
            **settings,
        }
        printed = Path(directory, "output")
        with printed.open("wb") as output, process("relay", ["-m", "relay", "serve"], env, output) as started:
            started_relay = Relay(Running("relay", started, port), printed)
            _wait_until_ready(started_relay)
            yield started_relay


def _wait_until_ready(waited: Relay) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if waited.running.process.poll() is not None:
            time.sleep(0.2)
            raise RigError(f"relay serve ended: {waited.said()}")
        with contextlib.suppress(OSError):
            waited.running.get("/readyz")
            return
        time.sleep(0.05)
    raise RigError(f"relay serve is not ready after 30 s: {waited.said()}")


def delivered(subscriber: Running, paths: Sequence[str]) -> int:
    """How many different results have come to every one of these paths, counted by the one that lags most."""
    counts: dict[str, int] = orjson.loads(subscriber.get("/report"))["counts"]
    return min(counts.get(path, 0) for path in paths)


def wait_delivered(subscriber: Running, paths: Sequence[str], count: int, seconds: float) -> int:
    """Wait until `count` results are everywhere, or the time is over; how many are."""
    until = time.monotonic() + seconds
    while (so_far := delivered(subscriber, paths)) < count and time.monotonic() < until:
        time.sleep(0.1)
    return so_far


def arrivals(subscriber: Running, path: str) -> array[float]:
    """When each number came to this path; 0.0 = not."""
    times = array("d")
    times.frombytes(subscriber.get(f"/times?{path}"))
    return times


def times_of(file: Path) -> tuple[array[float], array[float]]:
    """What the generator wrote: due times, answered times."""
    both = array("d")
    both.frombytes(file.read_bytes())
    return both[: len(both) // 2], both[len(both) // 2 :]
