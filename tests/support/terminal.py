"""Running a command on a terminal of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress


def relay_on_a_terminal(*args: str, stdin: bytes = b"", width: int = 200, term: str = "dumb") -> tuple[int, bytes]:
    """`relay ARGS…` with a terminal as stdin, stdout and stderr: exit code and everything that was shown.

    `stdin` is typed at the first question. A table on a `dumb` terminal is 80 columns wide, whatever `width` says.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "relay", *args],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": str(width), "TERM": term},
        start_new_session=True,  # or a hidden question would go to the terminal of whoever runs the tests
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # Linux says EIO when the other side has closed
        while chunk := os.read(ours, 65536):
            shown += chunk
            if stdin and shown.rstrip().endswith(b":"):
                os.write(ours, stdin)
                stdin = b""
    os.close(ours)
    return process.wait(timeout=30), shown.replace(b"\r\n", b"\n")
