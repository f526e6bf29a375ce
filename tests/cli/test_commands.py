from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

import relay
from relay.cli.main import COMMANDS
from relay.settings import Settings
from tests.cli.conftest import Run
from tests.support.fake_api import Answer, FakeApi, Request, page

HEAVY = ("sqlalchemy", "aiohttp", "httpx2", "pydantic", "rich", "starlette", "asyncio")


def _imported_by(*args: str) -> set[str]:
    """Which heavy packages a command has imported when it ends."""
    code = (
        "import sys\nfrom relay.cli.main import cli\n"
        "try: cli(sys.argv[1:])\nexcept SystemExit: pass\n"
        f"print('\\n' + ' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=30, check=True)
    return set(ended.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("args", [("--version",), ("--help",), ("webhook", "--help"), ("db", "upgrade", "--help")])
def test_help_and_version_answer_without_importing_anything_heavy(args: tuple[str, ...]) -> None:
    assert _imported_by(*args) == set()


@pytest.mark.parametrize("args", [(), ("webhook",), ("db",), ("provider",)])
def test_a_list_of_commands_cuts_no_sentence_off(run: Run, args: tuple[str, ...]) -> None:
    _, _, listed = run(*args, "--help").stdout.partition("Commands:\n")
    assert listed and "..." not in listed


def test_a_misspelt_command_is_told_the_nearest_one(run: Run) -> None:
    assert "No such command 'webhok'. Did you mean 'webhook'?" in run("webhok", "list").stderr
    assert "No such command 'lst'. Did you mean 'list'?" in run("webhook", "lst").stderr
    assert run("nothing-like-it").stderr.endswith("No such command 'nothing-like-it'.\n")


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version").stdout == f"relay {relay.__version__}\n"


def test_every_command_of_the_tree_can_be_imported_and_explains_itself(run: Run) -> None:
    for name in COMMANDS:
        result = run(name, "--help")
        assert result.exit_code == 0
        assert len(result.stdout.splitlines()) > 3


def test_python_dash_m_is_the_same_program() -> None:
    ended = subprocess.run([sys.executable, "-m", "relay", "--version"], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (0, f"relay {relay.__version__}\n")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, Settings, bool | None]]:
    """What `relay serve` and `relay worker` would have started, instead of starting it."""
    calls: list[tuple[str, Settings, bool | None]] = []

    def run_serve(settings: Settings, with_worker: bool, playground: object) -> int:
        calls.append(("serve", settings, with_worker))
        return 5

    def run_worker(settings: Settings, health_port: int | None) -> int:
        calls.append((f"worker {health_port}", settings, None))
        return 0

    app = types.SimpleNamespace(run_serve=run_serve, run_worker=run_worker)
    monkeypatch.setattr(relay, "app", app, raising=False)
    monkeypatch.setenv("RELAY_DATA_DIR", str(tmp_path / "data"))
    return calls


def test_serve_runs_the_relay_with_the_options_and_exits_as_it_does(
    run: Run, started: list[tuple[str, Settings, bool | None]]
) -> None:
    assert run("serve", "--host", "0.0.0.0", "--port", "9000", "--no-worker").exit_code == 5
    [(what, settings, with_worker)] = started
    assert (what, settings.host, settings.port, with_worker) == ("serve", "0.0.0.0", 9000, False)
    assert settings.admin_key is not None


def test_serve_works_too_unless_told_otherwise(run: Run, started: list[tuple[str, Settings, bool | None]]) -> None:
    run("serve")
    assert started[0][2] is True


def test_worker_runs_the_worker(run: Run, started: list[tuple[str, Settings, bool | None]]) -> None:
    assert run("worker").exit_code == 0
    assert run("worker", "--health-port", "9101").exit_code == 0
    assert [what for what, _, _ in started] == ["worker None", "worker 9101"]


@pytest.fixture
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RELAY_DATABASE_URL", database_url)
    return database_url


def test_db_commands_tell_the_story_of_an_upgrade(run: Run, database: str) -> None:
    before = json.loads(run("db", "status", "--json").stdout)
    assert (before["current"], before["pending"][-1]) == (None, before["head"])
    unready = run("db", "check")
    assert unready.exit_code == 1
    assert "run `relay db upgrade`" in unready.stderr
    assert run("db", "upgrade").stdout.split() == before["pending"]
    again = run("db", "upgrade")
    assert (again.exit_code, again.stdout) == (0, "")
    assert "nothing to do" in again.stderr
    assert f"current\t{before['head']}\n" in run("db", "status").stdout
    assert run("db", "check").exit_code == 0


def test_db_check_names_its_findings_and_fails(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    monkeypatch.setenv("RELAY_DATABASE_URL", f"sqlite:///{tmp_path}/relay.db")
    run("db", "upgrade")
    connection = sqlite3.connect(tmp_path / "relay.db")
    connection.execute("DROP INDEX ix_jobs_due")
    connection.close()
    result = run("db", "check")
    assert (result.exit_code, result.stdout) == (1, "index ix_jobs_due is missing\n")


def test_the_schema_is_not_changed_under_a_running_relay(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relay.store.lock import FileLock

    monkeypatch.setenv("RELAY_DATABASE_URL", f"sqlite:///{tmp_path}/relay.db")
    lock = FileLock.acquire(f"{tmp_path}/relay.db.lock")
    try:
        result = run("db", "upgrade")
    finally:
        lock.release()
    assert result.exit_code == 1
    assert "another" in result.stderr
    assert run("db", "upgrade").exit_code == 0


@pytest.mark.parametrize("args", ["db upgrade", "db status", "db check", "webhook list", "--help"])
def test_every_command_ends_by_itself(args: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "relay", *args.split()],
        capture_output=True,
        timeout=30,
        env={**os.environ, "RELAY_DATABASE_URL": f"sqlite:///{tmp_path}/relay.db"},
    )
    assert b"Traceback" not in ended.stderr


def test_ctrl_c_while_waiting_ends_quietly(api: FakeApi) -> None:
    asked = threading.Event()
    release = threading.Event()

    def answers(_: Request) -> Answer:
        asked.set()
        release.wait(30)
        return Answer({"id": "job_1", "status": "waiting"})

    api.answers = answers
    # Where the tests run in the background of a shell they ignore SIGINT, and so would the process.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen([sys.executable, "-m", "relay", "job", "wait", "job_1"], stderr=subprocess.PIPE)
    signal.signal(signal.SIGINT, before)
    try:
        assert asked.wait(20)
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=10)
    finally:
        release.set()
        process.kill()
    assert process.returncode == 130
    assert b"Traceback" not in shown


def test_a_reader_that_goes_away_is_no_crash(api: FakeApi) -> None:
    api.answers = lambda _: page(*({"id": f"job_{number}", "last_error": "x" * 1000} for number in range(200)))
    with subprocess.Popen(
        [sys.executable, "-m", "relay", "job", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        shown = process.stderr.read()
        process.wait(timeout=20)
    assert b"Traceback" not in shown
