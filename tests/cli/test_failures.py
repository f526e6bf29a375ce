from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import KEY, Run
from tests.support.fake_api import Answer, FakeApi, page, problem


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 2), (401, 4), (403, 4), (404, 3), (409, 5), (422, 2), (429, 1), (500, 1), (503, 1), (504, 7)],
)
def test_the_exit_code_tells_what_kind_of_failure_it_was(api: FakeApi, run: Run, status: int, code: int) -> None:
    api.answers = lambda _: problem(status, "some_code", "what is wrong")
    result = run("job", "show", "job_1")
    assert result.exit_code == code
    assert result.stderr == f"Error: what is wrong [some_code, HTTP {status}, req_1]\n"
    assert result.stdout == ""


def test_wrong_fields_are_each_named_on_a_line(api: FakeApi, run: Run) -> None:
    errors = [
        {"pointer": "#/filter/$gte", "detail": "must be a number", "code": "type_error"},
        {"parameter": "limit", "detail": "at most 200"},
        {"code": "odd"},
    ]
    api.answers = lambda _: problem(422, "validation_error", "3 fields are wrong", errors=errors)
    lines = run("job", "show", "job_1").stderr.splitlines()
    assert lines[1:] == ["  filter/$gte: must be a number", "  limit: at most 200", "  ?: odd"]


def test_a_relay_that_is_not_running_is_asked_about(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        monkeypatch.setenv("RELAY_URL", url)
        monkeypatch.setenv("RELAY_API_KEY", KEY)
        result = run("webhook", "list")
    assert result.exit_code == 1
    assert f"is `relay serve` running at {url}?" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"<html>hello</html>", 200, {"content-type": "text/html"}),
        Answer(b"<html>no</html>", 404, {"content-type": "text/html"}),
        Answer(b"", 302, {"location": "https://elsewhere.example/login"}),
        Answer({"error": "another API"}, 400),
        Answer({"items": []}),
        Answer({"data": ["text"]}),
        Answer([]),
    ],
)
def test_something_else_at_the_address_is_said_to_be_no_relay(api: FakeApi, run: Run, answer: Answer) -> None:
    api.answers = lambda _: answer
    result = run("webhook", "list")
    assert result.exit_code == 1
    assert "is RELAY_URL right?" in result.stderr
    assert len(api.requests) == 1  # a redirect is not followed: the key would go along


def test_a_connection_that_breaks_in_the_middle_is_a_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RELAY_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("RELAY_API_KEY", KEY)
        server.settimeout(10)

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(65536)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        result = run("webhook", "list")
        thread.join()
    assert result.exit_code == 1
    assert "broke" in result.stderr


def test_without_a_key_it_says_where_to_get_one(run: Run) -> None:
    result = run("webhook", "list")
    assert result.exit_code == 2
    assert "RELAY_API_KEY is not set" in result.stderr


def test_on_the_relays_own_machine_its_admin_key_is_found(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RELAY_URL")
    monkeypatch.delenv("RELAY_API_KEY")
    monkeypatch.setenv("RELAY_PORT", api.url.rpartition(":")[2])
    monkeypatch.setenv("RELAY_DATA_DIR", str(tmp_path))
    (tmp_path / "admin-key").write_text("rk_" + "k" * 40)
    (tmp_path / "admin-key").chmod(0o600)
    api.answers = lambda _: page()
    assert run("webhook", "list").exit_code == 0
    assert api.last.headers["authorization"] == "Bearer rk_" + "k" * 40


def test_the_admin_key_of_this_machine_goes_to_no_other_relay(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RELAY_API_KEY")
    monkeypatch.setenv("RELAY_DATA_DIR", str(tmp_path))
    (tmp_path / "admin-key").write_text("rk_" + "k" * 40)
    (tmp_path / "admin-key").chmod(0o600)
    assert run("webhook", "list").exit_code == 2
    assert api.requests == []


@pytest.mark.parametrize("args", ["webhook list", "db status", "serve", "worker"])
def test_a_wrong_setting_is_named_and_exits_as_wrong_usage(
    run: Run, monkeypatch: pytest.MonkeyPatch, args: str
) -> None:
    monkeypatch.setenv("RELAY_PORT", "ninety")
    result = run(*args.split())
    assert result.exit_code == 2
    assert "RELAY_PORT" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "args",
    [
        "nonsense",
        "webhook nonsense",
        "webhook create",
        "job list --limit 0",
        "job list --limit 201",
        "job wait job_1 --timeout soon",
        "webhook create n --provider p --metadata {",
        "webhook create n --provider p --metadata []",
        "webhook create n --provider p --parameter nonsense",
        "webhook create n --provider p --credential password=@/does/not/exist",
        "webhook create n --provider p --credential password",
        "key create n --scope god",
    ],
)
def test_wrong_usage_is_refused_before_anything_is_sent(api: FakeApi, run: Run, args: str) -> None:
    result = run(*args.split())
    assert result.exit_code == 2
    assert result.stderr
    assert api.requests == []


def test_no_failure_shows_the_key_or_a_password(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: problem(422, "validation_error", "no")
    result = run("webhook", "create", "n", "--provider", "p", "--credential", "password=planted-password")
    assert "planted" not in result.output
    assert json.loads(api.last.body)["credentials"] == {"password": "planted-password"}
