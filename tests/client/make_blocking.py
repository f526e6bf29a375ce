"""Makes `relay/client/blocking` from `relay/client/aio`, name by name: `python -m tests.client.make_blocking`.

Both clients are the same lines, so that neither can know something that the other does not.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CLIENT: Final = Path(__file__).parents[2] / "relay" / "client"
DROPPED: Final = frozenset(("async", "await"))
INSTEAD: Final = {
    "AsyncApi": "Api",
    "AsyncClient": "Client",
    "AsyncIterator": "Iterator",
    "AsyncPause": "Pause",
    "AsyncRelay": "Relay",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "aio": "blocking",
    "aiter_bytes": "iter_bytes",
    "aiter_lines": "iter_lines",
    "aread": "read",
    "async_pause": "pause",
    "asynccontextmanager": "contextmanager",
}
INIT: Final = (
    '"""The client without an event loop, made from `relay.client.aio`: see there, and in `relay.client`."""\n'
)


def blocking(source: str) -> str:
    """The same without an event loop, not formatted yet."""
    return _joined(source, _changed(source))


def _changed(source: str) -> Iterator[tokenize.TokenInfo]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.string in INSTEAD:
            token = token._replace(string=INSTEAD[token.string])
        elif token.type == tokenize.STRING and token.string.startswith('"""'):
            token = token._replace(string=_told(token.string))
        yield token


def _told(text: str) -> str:
    """A docstring's examples."""
    for word, instead in (("async with ", "with "), ("async for ", "for "), ("await ", ""), ("AsyncRelay", "Relay")):
        text = text.replace(word, instead)
    return text


def _joined(source: str, tokens: Iterator[tokenize.TokenInfo]) -> str:
    lines = source.splitlines(keepends=True)
    made, row, column = "", 1, 0
    for token in tokens:
        (start_row, start_column), (end_row, end_column) = token.start, token.end
        while row < start_row:
            made += lines[row - 1][column:]
            row, column = row + 1, 0
        made += lines[row - 1][column:start_column] if row <= len(lines) else ""
        if token.type == tokenize.NAME and token.string in DROPPED:
            end_column += 1  # with the blank behind it
        else:
            made += token.string
        row, column = end_row, end_column
    return made


def made() -> dict[str, str]:
    """The files of `blocking`, by name."""
    files = {path.name: blocking(path.read_text("utf-8")) for path in sorted((CLIENT / "aio").glob("*.py"))}
    files["__init__.py"] = INIT
    return {name: _formatted(name, text) for name, text in files.items()}


def _formatted(name: str, text: str) -> str:
    ruff = [str(Path(sys.executable).with_name("ruff"))]
    at = ["--stdin-filename", str(CLIENT / "blocking" / name), "-"]
    sorted_ = subprocess.run(
        [*ruff, "check", "--quiet", "--select", "I,F401", "--fix", *at], input=text, capture_output=True, text=True
    )
    done = subprocess.run([*ruff, "format", *at], input=sorted_.stdout, capture_output=True, text=True, check=True)
    return done.stdout


def main() -> None:
    """Write them."""
    target = CLIENT / "blocking"
    target.mkdir(exist_ok=True)
    files = made()
    for stale in {path.name for path in target.glob("*.py")} - set(files):
        (target / stale).unlink()
    for name, text in files.items():
        (target / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
