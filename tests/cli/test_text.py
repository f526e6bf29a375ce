from __future__ import annotations

import json

import pytest

from relay.cli.text import UNSAFE, one_line, safe, safe_json
from tests.cli.conftest import Run
from tests.support.fake_api import Answer, FakeApi, page, problem
from tests.support.terminal import relay_on_a_terminal

ATTACKS = [
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;https://evil.example\x07link\x1b]8;;\x07",
    "\x1b]52;c;cm0gLXJmIC8K\x07",
    "\x9b2J\x90q\x9c",
    "over\rwritten\b\b",
    "\u202egnp.exe\u202c",
    "\u2066isolated\u2069\u200e\u200f\u061c",
    "\x00\x07\x7f\x0b\x0c",
    "[bold]markup[/bold]",
    "line\u2028break\u2029",
]
ALL = "|".join(ATTACKS)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_that_a_terminal_obeys_is_left(attack: str) -> None:
    assert not UNSAFE.search(safe(attack))
    assert not UNSAFE.search(safe_json(json.dumps(attack, ensure_ascii=False)))


def test_what_people_write_is_left_alone() -> None:
    assert safe("Grüße, 世界, 👩‍💻\tand\nlines") == "Grüße, 世界, 👩‍💻\tand\nlines"


def test_escaped_json_is_still_the_same_document() -> None:
    document = {"a": ALL, "half": "\ud800"}
    assert json.loads(safe_json(json.dumps(document, ensure_ascii=False))) == document


def test_a_field_of_a_line_holds_neither_tab_nor_break() -> None:
    assert one_line("a\tb\r\nc\vd\fe") == "a b c d e"


@pytest.mark.parametrize(
    "args", ["webhook list", "webhook list --json", "webhook show wh_1", "webhook show wh_1 --json"]
)
def test_on_a_terminal_foreign_text_moves_nothing(api: FakeApi, args: str) -> None:
    item = {"id": "wh_1", "name": ALL, "provider": ALL, "metadata": {ALL: [ALL]}, "last": [{"error": ALL}]}
    api.answers = lambda request: page(item, cursor=ALL) if request.path.endswith("webhooks") else Answer(item)
    code, shown = relay_on_a_terminal(*args.split())
    assert code == 0
    assert not UNSAFE.search(shown.decode())
    assert b"[bold]markup[/bold]" in shown


def test_on_a_terminal_an_error_moves_nothing(api: FakeApi) -> None:
    api.answers = lambda _: problem(422, ALL, ALL, errors=[{"pointer": ALL, "detail": ALL}])
    code, shown = relay_on_a_terminal("webhook", "show", "wh_1")
    assert code == 2
    assert not UNSAFE.search(shown.decode())


def test_on_a_terminal_a_payload_is_shown_as_text_and_refused_as_bytes(api: FakeApi) -> None:
    api.answers = lambda _: Answer(ALL.encode())
    code, shown = relay_on_a_terminal("result", "payload", "res_1")
    assert (code, UNSAFE.search(shown.decode())) == (0, None)
    assert b"gnp.exe" in shown
    api.answers = lambda _: Answer(b"\xff\xfe\x00")
    code, shown = relay_on_a_terminal("result", "payload", "res_1")
    assert code == 2
    assert b"--output" in shown


def test_on_a_terminal_a_list_is_a_table_and_ids_are_never_cut(api: FakeApi) -> None:
    long_id = "wh_" + "0" * 32
    api.answers = lambda _: page({"id": long_id, "name": "x" * 80, "provider": "netnut", "status": "active"})
    code, shown = relay_on_a_terminal("webhook", "list", width=80)
    assert code == 0
    assert shown.split(b"\n")[0].split()[:2] == [b"ID", b"NAME"]
    assert long_id.encode() in shown


def test_a_secret_is_asked_for_without_being_shown(api: FakeApi) -> None:
    api.answers = lambda _: Answer({"id": "wh_1"})
    args = ("webhook", "create", "n", "--provider", "p", "--credential", "password")
    code, shown = relay_on_a_terminal(*args, stdin=b"typed-in-the-dark\n")
    assert code == 0
    assert b"password" in shown
    assert b"typed-in-the-dark" not in shown
    assert api.last.json["credentials"] == {"password": "typed-in-the-dark"}


def test_a_pipe_gets_the_bytes_as_they_are_and_half_surrogates_do_not_crash_it(api: FakeApi, run: Run) -> None:
    api.answers = lambda _: Answer(b'{"id": "wh_1", "name": "\\ud800 \\u202e"}')
    assert run("webhook", "show", "wh_1").stdout_bytes == "id\twh_1\nname\t? \u202e\n".encode()
    assert json.loads(run("webhook", "show", "wh_1", "--json").stdout)["name"] == "\ud800 \u202e"


def test_delete_asks_on_a_terminal_and_does_nothing_without_a_yes(api: FakeApi) -> None:
    code, shown = relay_on_a_terminal("webhook", "delete", "wh_1", stdin=b"n\n")
    assert code == 1
    assert b"Delete wh_1?" in shown
    assert api.requests == []
    code, _ = relay_on_a_terminal("webhook", "delete", "wh_1", stdin=b"y\n")
    assert code == 0
    assert api.last.method == "DELETE"
