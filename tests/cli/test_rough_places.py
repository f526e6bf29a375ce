"""What surrounds a command is not always kind: full disks, closed streams, narrow terminals or of another encoding,
arguments that are no text. Each ends as a line and an exit code, never as a traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest

from tests.cli.conftest import KEY, Run
from tests.support.fake_api import Answer, FakeApi, page
from tests.support.terminal import relay_on_a_terminal

LONG = "job_" + "0" * 32


def relay(*args: str | bytes, closed: tuple[int, ...] = (), stdout: int = subprocess.PIPE) -> tuple[int, str]:
    """Exit code and what stood on stderr."""

    def close() -> None:
        for number in closed:
            os.close(number)

    done = subprocess.run(
        [sys.executable, "-m", "relay", *args], stdout=stdout, stderr=subprocess.PIPE, preexec_fn=close, timeout=60
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("args", ["webhook list", "webhook list --json", "--help"])
def test_a_full_disk_is_said_in_one_line(api: FakeApi, args: str) -> None:
    api.answers = lambda _: page({"id": "wh_1", "name": "x" * 10_000})
    full = os.open("/dev/full", os.O_WRONLY)
    code, said = relay(*args.split(), stdout=full)
    os.close(full)
    assert (code, said) == (1, "Error: the output cannot be written: No space left on device\n")


def test_streams_that_are_closed_change_nothing(api: FakeApi) -> None:
    api.answers = lambda request: page() if request.path.endswith("webhooks") else Answer({"id": "wh_1"})
    assert relay("webhook", "show", "wh_1", closed=(1,)) == (0, "")
    assert relay("webhook", "list", closed=(0, 1)) == (0, "none\n")
    assert relay("webhook", "show", "nobody", closed=(2,)) == (3, "")


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ([b"webhook", b"show", b"wh_\xff"], "wh_"),
        ([b"job", b"list", b"--provider-job-id", b"a\xffb"], "a"),
        ([b"webhook", b"create", b"\xff", b"--provider", b"netnut"], "UTF-8"),
    ],
)
def test_an_argument_that_is_no_text_is_wrong_usage(api: FakeApi, args: list[bytes], named: str) -> None:
    code, said = relay(*args)
    assert code == 2
    assert "not text in UTF-8" in said and named in said
    assert api.requests == []


@pytest.mark.parametrize(
    ("json", "named"),
    [
        ('{"a": NaN}', "NaN"),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested too deeply"),
    ],
)
def test_json_that_no_relay_takes_is_refused_here(api: FakeApi, run: Run, json: str, named: str) -> None:
    result = run("webhook", "create", "n", "--provider", "netnut", "--metadata", json)
    assert (result.exit_code, api.requests) == (2, [])
    assert "--metadata" in result.stderr and named in result.stderr


def test_as_far_back_as_anybody_wants_is_1970_at_most(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: page()
    assert run("export", "--since", "99999d").exit_code == 0
    assert api.last.query["created_after"] == "1970-01-01T00:00:00.000Z"
    for args in (["export", "--since", "99999999999d"], ["job", "wait", LONG, "--timeout", "9" * 400]):
        result = run(*args)
        assert result.exit_code == 2
        assert "more than a thousand years" in result.stderr


@pytest.mark.parametrize(
    "url", ["http://[::1/hook", "http://localhost:99999/hook", "http://localhost:0/", "localhost:1"]
)
def test_an_address_that_is_none_is_not_listened_for(api: FakeApi, run: Run, url: str) -> None:
    result = run("listen", url)
    assert (result.exit_code, api.requests) == (2, [])
    assert "http://localhost:3000/hook" in result.stderr


def test_the_option_has_the_name_of_the_field_that_is_missing(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: Answer({"id": "sub_1", "secret": "whsec_x"})
    assert run("sub", "create", "n", "--url", "https://a.example/").exit_code == 0
    assert api.last.json["url"] == "https://a.example/"


def test_a_profile_that_cannot_be_written_is_one_line(run: Run) -> None:
    result = run("provider", "new", "mine", "--to", "/proc/none/mine.toml")
    assert result.exit_code == 1
    assert "cannot write" in result.stderr and result.stderr.count("\n") == 1


def test_a_narrow_terminal_gets_whole_columns_and_is_told_of_the_others(api: FakeApi) -> None:
    job = {"id": LONG, "status": "fetching", "provider_job_id": "f" * 40, "attempts": 3, "result_id": LONG}
    api.answers = lambda _: page({**job, "deadline": "2026-11-27T23:00:00.000Z", "last_error": "too_early"})
    code, shown = relay_on_a_terminal("job", "list", width=80)
    assert code == 0
    assert shown.split(b"\n")[0].split() == [b"ID", b"STATUS", b"PROVIDER", b"JOB", b"ID", b"ATTEMPTS"]
    assert LONG.encode() in shown
    assert b"too narrow for deadline, result_id, last_error" in shown
    assert all(len(line) <= 80 for line in shown.split(b"\n")[:-2])
    _, wide = relay_on_a_terminal("job", "list", width=200, term="xterm")
    assert b"too_early" in wide and b"narrow" not in wide


def test_what_a_terminal_cannot_show_stands_there_as_an_escape(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    api.answers = lambda _: page({"id": "wh_1", "name": "\u6f22"})
    code, shown = relay_on_a_terminal("webhook", "list")
    assert (code, b"\\u6f22" in shown) == (0, True)


def test_https_where_http_is_spoken_is_said_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setenv("RELAY_URL", f"https://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("RELAY_API_KEY", KEY)
        result = run("webhook", "list")
        thread.join()
    assert result.exit_code == 1
    assert "is it http, not https?" in result.stderr and "nobody answers" not in result.stderr


def test_what_is_not_there_is_called_by_its_noun(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: page()
    result = run("sub", "show", "billing")
    assert (result.exit_code, result.stderr) == (3, "Error: there is no subscription of the name 'billing'\n")
    api.answers = lambda _: page({"id": "sub_1", "name": "search"}, {"id": "sub_2", "name": "billing"})
    assert run("sub", "show", "biling").stderr.endswith("of the name 'biling'; the nearest is 'billing'\n")
    assert run("sub", "show", "ops").stderr.endswith("of the name 'ops'\n")
    unread = run("webhook", "create", "n", "--provider", "netnut", "--credential", "password=@/nowhere")
    assert unread.exit_code == 2
    assert unread.stderr.endswith("cannot read /nowhere: No such file or directory\n")
