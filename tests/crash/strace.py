"""What strace saw, as calls in the order in which they began and ended.

A system call that was interrupted by another thread's is two lines ("unfinished", "resumed"): what it wrote counts
from the first, what it promised (an fsync) from the second.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CALLS: Final = (
    "openat,creat,pwrite64,pwritev,write,writev,fsync,fdatasync,ftruncate,unlink,unlinkat,rename,renameat,renameat2,"
    "link,linkat,mkdir,mkdirat,sendto,sendmsg"
)
LONGEST_STRING: Final = 4 * 1024 * 1024

_LINE: Final = re.compile(rb"^(\d+) +(\w+)\((.*)$", re.DOTALL)
_RESUMED: Final = re.compile(rb"^(\d+) +<\.\.\. (\w+) resumed>(.*)$", re.DOTALL)
_RESULT: Final = re.compile(rb"\) += (-?\d+|\?)(<[^>]*>)?[^)]*$")
_STRING: Final = re.compile(rb'"([^"]*)"')  # -xx spells out every byte, a quotation mark too
_OPENED: Final = re.compile(rb"^(\d+)<((?:\\x[0-9a-f]{2}|[^>])*)>")
_UNFINISHED: Final = re.compile(rb" <(?:unfinished|detached) \.\.\.>$")  # detached: killed in the midst of it


@dataclass(slots=True, eq=False)
class Call:
    """One system call. `began` and `ended` are line numbers; `ended` is None when the process died in it."""

    thread: int
    name: str
    text: bytes
    began: int
    ended: int | None = None

    @property
    def result(self) -> int | None:
        """What it returned."""
        found = _RESULT.search(self.text[-400:])
        return None if found is None or found[1] == b"?" else int(found[1])

    @property
    def path(self) -> str:
        """What its file descriptor, its first argument, is open on."""
        found = _OPENED.match(self.text)
        return "" if found is None else _plain(found[2])

    @property
    def descriptor(self) -> int:
        """Its first argument."""
        found = _OPENED.match(self.text)
        return -1 if found is None else int(found[1])

    @property
    def result_path(self) -> str:
        """What the descriptor that it returned is open on."""
        found = _RESULT.search(self.text[-4096:])
        return "" if found is None or found[2] is None else _plain(found[2][1:-1])

    @property
    def strings(self) -> list[bytes]:
        """Its string arguments."""
        return [_bytes(found) for found in _STRING.findall(self.text)]

    @property
    def numbers(self) -> list[int]:
        """The numbers that follow its last string: length and offset of a write."""
        tail = self.text[self.text.rfind(b'"') + 1 :].partition(b")")[0]
        return [int(part) for part in tail.split(b",") if part.strip().lstrip(b"-").isdigit()]


def _bytes(escaped: bytes) -> bytes:
    return bytes.fromhex(escaped.replace(b"\\x", b"").decode("ascii"))


def _plain(escaped: bytes) -> str:
    return (_bytes(escaped) if escaped.startswith(b"\\x") else escaped).decode("utf-8", "replace")


def escaped(text: str) -> bytes:
    """How strace writes this text."""
    return b"".join(b"\\x%02x" % byte for byte in text.encode())


def is_there() -> bool:
    """Whether this machine has strace."""
    return shutil.which("strace") is not None


def command(output: Path) -> list[str]:
    """What stands before a command so that its calls are written to `output`. Other calls are not even stopped at."""
    how = ["-f", "--seccomp-bpf", "-y", "-xx", "-s", str(LONGEST_STRING)]
    return ["strace", *how, "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(output)]


def read(file: Path) -> list[Call]:
    """The calls of a trace, in the order in which they began."""
    with file.open("rb") as lines:
        return list(parse(lines))


def parse(lines: Iterable[bytes]) -> Iterator[Call]:
    """Calls from lines; each is given as soon as it began and completed later where it was interrupted."""
    open_calls: dict[int, Call] = {}
    for number, line in enumerate(lines):
        line = line.rstrip(b"\n")
        if (found := _RESUMED.match(line)) is not None:
            call = open_calls.pop(int(found[1]), None)
            if call is not None:
                call.text += found[3]
                call.ended = number
        elif (found := _LINE.match(line)) is not None:
            call = Call(int(found[1]), found[2].decode(), found[3], number, number)
            if (cut := _UNFINISHED.search(call.text, max(0, len(call.text) - 40))) is not None:
                call.text, call.ended = call.text[: cut.start()], None
                open_calls[call.thread] = call
            yield call
