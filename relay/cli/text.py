"""Making foreign text fit to print: payloads, names and errors are written by strangers, and a terminal obeys them."""

from __future__ import annotations

import re
import sys
from typing import Final

# C0 without tab and newline, DEL and C1, marks and overrides of direction, separators that break lines, half surrogates
UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


def on_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


def safe(text: str) -> str:
    """The text without what could move the cursor, recolour, hide or reorder what is on a terminal."""
    return UNSAFE.sub("", text)


def safe_json(text: str) -> str:
    """A JSON document in which unsafe characters are escaped: still the same document."""
    return UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: a command line may hold any bytes, JSON the half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def one_line(text: str) -> str:
    """The text as one field of a line: no tabs and no line breaks."""
    return re.sub(r"[\t\r\n\v\f]+", " ", text)
