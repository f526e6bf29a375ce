"""How the demo's moments look as lines: offset, stage, what, status, duration, and what is worth knowing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TextIO

WIDTHS: Final = {"stage": 11, "what": 34}
RED, GREEN, YELLOW, BOLD, DIM, PLAIN = "31", "32", "33", "1", "2", "0"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One thing that happened."""

    at_ms: int  # since the demo began
    stage: str
    what: str
    status: int | None = None
    took_ms: float | None = None
    note: str = ""


class Timeline:
    """Writes lines to `out`; with `color` as a terminal shows them."""

    def __init__(self, out: TextIO, *, color: bool) -> None:
        self._out = out
        self._color = color

    def say(self, text: str = "") -> None:
        """A line of its own."""
        self._out.write(text + "\n")
        self._out.flush()

    def title(self, text: str) -> None:
        """A line that begins something."""
        self.say(self._paint(text, BOLD))

    def show(self, moment: Moment) -> None:
        """One moment."""
        status = "" if moment.status is None else str(moment.status)
        took = "" if moment.took_ms is None else f"{moment.took_ms:.0f} ms"
        cells = [
            self._paint(f"{moment.at_ms / 1000:9.3f}", DIM),
            f"{moment.stage:<{WIDTHS['stage']}}",
            f"{moment.what:<{WIDTHS['what']}}",
            self._paint(f"{status:>3}", _status_color(moment.status)),
            f"{took:>7}",
            moment.note.replace("signature verified", self._paint("signature verified", GREEN)),
        ]
        self.say("  ".join(cells).rstrip())

    def facts(self, pairs: dict[str, str]) -> None:
        """Names and values, aligned."""
        width = max(map(len, pairs))
        for name, value in pairs.items():
            self.say(f"  {self._paint(name.ljust(width), DIM)}  {value}")

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[{PLAIN}m" if self._color else text


def _status_color(status: int | None) -> str:
    if status is None or status < 200 or status >= 400:
        return RED
    return YELLOW if status == 202 else GREEN


def size(count: int) -> str:
    """Bytes for people: `412 B`, `41.2 kB`, `16.8 MB`."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
