"""One line per unit of work, JSON for machines and colour for people, and a last line of defence against secrets in it.

Relay's own lines take structlog's short way; lines of libraries come through `logging` and end in the same renderer.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import re
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, Final, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from relay.clock import Clock, rfc3339

_Render = Callable[[WrappedLogger, str, EventDict], bytes]

QUIET: Final = (
    "httpx2", "httpcore2", "httpx", "httpcore", "aiohttp", "uvicorn", "asyncio", "sqlalchemy", "alembic", "aiosqlite",
)  # fmt: skip

_Rule = tuple[bytes, re.Pattern[bytes], bytes]

# A pattern runs only on lines that hold its marker (in lower case), and those of the first group only on lines that
# hold a space, a slash or a percent sign: our own lines have none of them, and every call pays for this.
_SPACED: Final[tuple[_Rule, ...]] = (
    (b"/in/", re.compile(rb"/in/[^\s\"'<>\\]+", re.I), b"/in/[token]"),
    (b"%2fin%2f", re.compile(rb"%2Fin%2F[^\s\"'<>\\]+", re.I), b"/in/[token]"),
    (b"basic ", re.compile(rb"\b(basic )[A-Za-z0-9+/=_-]{8,}", re.I), rb"\1[redacted]"),
    (b"bearer ", re.compile(rb"\b(bearer )[^\s\"'\\,;]{8,}", re.I), rb"\1[redacted]"),
    (b"://", re.compile(rb"(://)[^/\s\"'\\@]+@"), rb"\1[credentials]@"),
)
_DENSE: Final[tuple[_Rule, ...]] = (
    (
        b"authorization",
        re.compile(rb"(authorization[\"'\\]*\s*[:=,]\s*b?[\"'\\]*)(?:[a-z0-9]+\s+)?[^\s\"'\\,;]+", re.I),
        rb"\1[redacted]",
    ),
    (b"api-key", re.compile(rb"(api-key[\"'\\]*\s*[:=,]\s*b?[\"'\\]*)[^\s\"'\\,;]+", re.I), rb"\1[redacted]"),
    (b"rk_", re.compile(rb"\brk_[0-9A-Za-z_]{16,}"), b"rk_[redacted]"),
    (b"whsec_", re.compile(rb"\bwhsec_[A-Za-z0-9+/=_-]+"), b"whsec_[redacted]"),
    (b"whsk_", re.compile(rb"\bwhsk_[A-Za-z0-9+/=_-]+"), b"whsk_[redacted]"),
)
# Callback tokens and payload links: `….{number}.{signature}`, for a callback of one job `….{number}.{job}.{signature}`.
_NUMBER: Final = re.compile(rb"\.\d{1,18}\.")
_SIGNED: Final = re.compile(rb"(\.\d{1,18}(?:\.[0-9a-f]{32})?)\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_CONTROL_IN_LINES: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")  # a traceback has lines of its own


def configure(*, format: str, level: str, clock: Clock, stream: TextIO | None = None) -> None:
    """Set up all logging of this process. `format`: `auto` (console on a terminal, else json), `console` or `json`."""
    out = stream or sys.stderr
    console = format == "console" or (format == "auto" and out.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [structlog.processors.add_log_level, _stamp(clock), structlog.processors.format_exc_info]
    render = _console_renderer(out) if console else _json_renderer
    lines = _Lines(out.buffer)
    atexit.register(lines.flush)
    structlog.configure(
        processors=[*shared, _last(render)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *args: lines,
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _last_text(render)],
    )
    handler = _Handler(out)
    handler.setFormatter(formatter)
    handler.addFilter(_is_worth_a_line)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    logging.captureWarnings(True)


def scrub(line: bytes) -> bytes:
    """Rewrite what must not be in a log, should it have come this far: callback tokens, credentials, keys."""
    lower = line.lower()
    rules = _DENSE
    if b" " in lower or b"/" in lower or b"%" in lower:
        rules = _SPACED + _DENSE
    for marker, pattern, instead in rules:
        if marker in lower:
            line = pattern.sub(instead, line)
    return _SIGNED.sub(rb"\1.[signature]", line) if _NUMBER.search(line) else line


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """uvicorn reports each request that a stop has cancelled as an error; whoever stopped the server has said so."""
    return not (record.exc_info and record.exc_info[0] is asyncio.CancelledError)


class _Lines:
    """Writes lines, those of one turn of the event loop with one call: under load a line each would cost more than
    making it does. Without a running loop a line is written at once."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._waiting: list[bytes] = []

    def msg(self, line: bytes) -> None:
        self._waiting.append(line + b"\n")
        if len(self._waiting) > 1:
            return
        try:
            asyncio.get_running_loop().call_soon(self.flush)
        except RuntimeError:
            self.flush()

    debug = info = warning = warn = error = critical = exception = fatal = failure = log = msg

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting and not self._stream.closed:
            self._stream.write(b"".join(waiting))
            self._stream.flush()


class _Handler(logging.StreamHandler[TextIO]):
    """Writes a line that cannot be formatted as just that; the default prints its arguments."""

    def handleError(self, record: logging.LogRecord) -> None:
        self.stream.write(f'{{"level":"error","event":"a log line could not be formatted","logger":"{record.name}"}}\n')


def _last(render: _Render) -> Processor:
    def last(logger: WrappedLogger, name: str, event: EventDict) -> bytes:
        return scrub(render(logger, name, event))

    return last


def _last_text(render: _Render) -> Processor:
    def last(logger: WrappedLogger, name: str, event: EventDict) -> str:
        return scrub(render(logger, name, event)).decode()

    return last


def _stamp(clock: Clock) -> Processor:
    second, prefix = -1, ""

    def stamp(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        nonlocal second, prefix
        now = clock.now()
        if now // 1000 != second:
            second = now // 1000
            prefix = rfc3339(now)[:-4]
        event["ts"] = f"{prefix}{now % 1000:03d}Z"
        return event

    return stamp


def _json_renderer(logger: WrappedLogger, name: str, event: EventDict) -> bytes:
    try:
        return orjson.dumps(event, default=str)
    except TypeError:
        # Lone surrogates and odd keys must not cost us the line.
        plain = {_visible(str(key)): _visible(str(value)) for key, value in event.items()}
        return orjson.dumps(plain)


def _console_renderer(out: TextIO) -> _Render:
    renderer = structlog.dev.ConsoleRenderer(
        colors=out.isatty(), timestamp_key="ts", exception_formatter=structlog.dev.plain_traceback
    )

    def render(logger: WrappedLogger, name: str, event: EventDict) -> bytes:
        shown: dict[str, Any] = {
            key: (_CONTROL_IN_LINES if key == "exception" else _CONTROL).sub(_named, value)
            if isinstance(value, str)
            else value
            for key, value in event.items()
            if value is not None
        }
        return renderer(logger, name, shown).encode("utf-8", "backslashreplace")

    return render


def _named(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def _visible(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
