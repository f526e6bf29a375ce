"""The three standard streams as whoever started us left them: closed, full, or of another encoding than ours."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Final

FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))


def make_usable() -> None:
    """A stream that is closed leads nowhere, and what a terminal cannot show stands there as an escape."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # else the next file or socket would get its number, and what is said to it
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def forsake_stdout() -> None:
    """What is still to be written to stdout goes nowhere: Python would complain of it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
