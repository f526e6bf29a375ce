"""What a log line looks like, and what never gets into one."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from relay import logs
from relay.model import Secret
from tests.support.clock import FakeClock

TOKEN = "0" * 32 + ".1." + "s" * 43
PLANTED = [
    f"POST /in/{TOKEN}/more?x=1 HTTP/1.1",
    f"https://relay.example.com/in/{TOKEN}",
    f"callback_url=https%3A%2F%2Frelay.example.com%2Fin%2F{TOKEN}",
    f"the token {TOKEN} is old",
    "Authorization: Bearer SECRETSECRET",
    "{'authorization': 'Basic U0VDUkVUU0VDUkVU'}",
    "[(b'authorization', b'Basic U0VDUkVUU0VDUkVU')]",
    '{"Proxy-Authorization":"Digest SECRETSECRET"}',
    "sent Basic U0VDUkVUU0VDUkVU to it",
    "x-api-key: SECRETSECRET",
    "[(b'X-Api-Key', b'SECRETSECRET')]",
    "key rk_" + "a" * 32 + "_SECRETSECRET",
    "whsec_SECRETSECRET+/=",
    "whsk_SECRETSECRET+/=",
    "postgresql://relay:SECRETSECRET@db.internal/relay",
]
MARKS = ("s" * 43, "SECRETSECRET", "U0VDUkVU", "more?x=1")


class Screen(io.TextIOWrapper):
    """A stream that keeps what is written, and may pass for a terminal."""

    def __init__(self, terminal: bool = False) -> None:
        self.kept = io.BytesIO()
        self._terminal = terminal
        super().__init__(self.kept, encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        return self.kept.getvalue().decode()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Logging is set up for the whole process: put it back."""
    root, kept = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.QUIET}
    yield
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level
    for name, number in levels.items():
        logging.getLogger(name).setLevel(number)
    structlog.configure(**kept)


def set_up(format: str = "json", level: str = "info", *, terminal: bool = False) -> Screen:
    screen = Screen(terminal)
    logs.configure(format=format, level=level, clock=FakeClock(), stream=screen)
    return screen


def test_our_lines_are_json_with_time_and_level() -> None:
    screen = set_up()
    structlog.get_logger().info("notification.received", status="accepted", bytes=3)
    expected = {"event": "notification.received", "status": "accepted", "bytes": 3}
    assert screen.lines() == [{**expected, "level": "info", "ts": "2026-11-21T19:00:00.000Z"}]


def test_lines_of_libraries_come_out_the_same_way() -> None:
    screen = set_up()
    logging.getLogger("some.library").warning("%d things", 3)
    [line] = screen.lines()
    assert (line["event"], line["level"], line["logger"]) == ("3 things", "warning", "some.library")
    assert line["ts"] == "2026-11-21T19:00:00.000Z"


def test_levels_are_obeyed_and_chatty_libraries_are_quiet_at_any() -> None:
    screen = set_up(level="debug")
    structlog.get_logger().debug("seen")
    for name in ("httpx2", "httpcore2.http11", "aiohttp.client", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).info("GET https://relay.example.com/in/x")
    assert [line["event"] for line in screen.lines()] == ["seen"]
    screen = set_up(level="warning")
    structlog.get_logger().info("not seen")
    assert screen.text() == ""


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize("planted", PLANTED)
def test_no_secret_passes_in_an_event_a_field_an_argument_or_a_traceback(format: str, planted: str) -> None:
    screen = set_up(format)
    log = structlog.get_logger()
    log.info(planted, field=planted, nested={"a": [planted]})
    logging.getLogger("library").error("failed: %s", planted)
    try:
        try:
            raise ValueError(planted)
        except ValueError as inner:
            raise RuntimeError("outer " + planted) from inner
    except RuntimeError:
        log.exception("failed")
        logging.getLogger("library").exception("failed")
    text = screen.text()
    assert "Traceback" in text
    assert "RuntimeError" in text
    for mark in MARKS:
        assert mark not in text


def test_tracebacks_do_not_show_local_variables() -> None:
    screen = set_up("console", terminal=True)
    local = "".join(["un", "seen"])
    try:
        raise ValueError(str(len(local)))
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "ValueError" in screen.text()
    assert "unseen" not in screen.text()


def test_a_traceback_moves_nothing_on_a_terminal() -> None:
    screen = set_up("console", terminal=True)
    try:
        raise ValueError("it said \x1b]0;owned\x07\rok")
    except ValueError:
        structlog.get_logger().exception("failed")
    text = screen.text()
    assert "\n" in text.strip() and "\\x1b]0;owned\\x07\\rok" in text
    assert "\x1b]0" not in text and "\x07" not in text


def test_ordinary_lines_are_left_alone() -> None:
    screen = set_up()
    fields = {
        "webhook_id": "wh_" + "1" * 32,
        "version": "1.2.3",
        "path": "/v1/results",
        "reason": "basic things work_x",
    }
    structlog.get_logger().info("notification.received", **fields)
    assert screen.lines()[0].items() >= fields.items()


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_line_stays_one_line(format: str) -> None:
    screen = set_up(format)
    structlog.get_logger().info("seen", reason='a\nb\r\n{"event":"forged"}\u2028\x1b[31m')
    logging.getLogger("library").warning("a\nb\x1b[31m%s", "\r\n")
    assert screen.text().count("\n") == 2
    assert "\r" not in screen.text()
    assert "\x1b[31m" not in screen.text()


def test_a_terminal_gets_colour_and_a_pipe_gets_json() -> None:
    terminal, pipe = set_up("auto", terminal=True), set_up("auto")
    structlog.get_logger().info("to the pipe")
    assert pipe.lines()[0]["event"] == "to the pipe"
    assert terminal.text() == ""
    terminal = set_up("auto", terminal=True)
    structlog.get_logger().info("to the terminal")
    assert "\x1b[" in terminal.text()


def test_what_json_cannot_say_is_said_as_text() -> None:
    screen = set_up()
    structlog.get_logger().info("odd", secret=Secret("hidden"), lone="\ud800", key=b"\xff")
    [line] = screen.lines()
    assert line["secret"] == "***"
    assert "ud800" in line["lone"]


def test_a_line_that_cannot_be_formatted_does_not_spill_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    screen = set_up()
    logging.getLogger("library").warning("%d", "SECRETSECRET")
    assert "could not be formatted" in screen.text()
    captured = capsys.readouterr()
    assert "SECRETSECRET" not in screen.text() + captured.out + captured.err


def test_warnings_are_lines_too() -> None:
    screen = set_up()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("/in/" + TOKEN, stacklevel=1)
    assert "[token]" in screen.lines()[0]["event"]
