"""How values look on a page: times, sizes, states, and text that somebody else has written."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from relay.clock import Instant, rfc3339
from relay.ids import ID_LENGTH

LONGEST_TEXT: Final = 2000


class Look(NamedTuple):
    """A state is a sign, a word and a colour; never the colour alone."""

    sign: str
    tone: str  # a class of the style sheet: ok, busy, warn, bad, off


LOOKS: Final[dict[str, Look]] = {
    "waiting": Look("○", "busy"),
    "fetching": Look("◐", "busy"),
    "completed": Look("●", "ok"),
    "failed": Look("✕", "bad"),
    "cancelled": Look("–", "off"),
    "expired": Look("✕", "bad"),
    "pending": Look("○", "busy"),
    "retrying": Look("◐", "warn"),
    "delivered": Look("●", "ok"),
    "exhausted": Look("✕", "bad"),
    "active": Look("●", "ok"),
    "paused": Look("‖", "warn"),
    "disabled": Look("–", "off"),
    "credentials_rejected": Look("✕", "bad"),
    "accepted": Look("●", "ok"),
    "duplicate": Look("–", "off"),
    "ignored": Look("–", "off"),
    "unprocessable": Look("✕", "warn"),
    "rejected": Look("✕", "bad"),
    "running": Look("◐", "busy"),
    "done": Look("●", "ok"),
    "revoked": Look("–", "off"),
    "live": Look("●", "ok"),
}

_UNSEEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def look(state: str) -> Look:
    """How a state looks."""
    return LOOKS.get(str(state), Look("○", "off"))


def plain(text: str) -> str:
    """A stranger's text without what would move, hide or reverse the text around it; shown by name instead."""
    cleaned = _UNSEEN.sub(_named, text)
    return cleaned.encode("utf-8", "replace").decode()  # lone surrogates cannot be sent


def _named(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else f"‹U+{code:04X}›"


def cut(text: str | None, most: int = LONGEST_TEXT) -> str:
    """At most so many characters, with an ellipsis where some are missing."""
    text = text or ""
    return text if len(text) <= most else text[: most - 1] + "…"


def short_id(id: str | None) -> str:
    """An id as it stands in a table: its beginning is time and alike in neighbours, its end tells them apart."""
    prefix, _, digits = (id or "").partition("_")
    return f"{prefix}_…{digits[-8:]}" if len(digits) == ID_LENGTH else (id or "")


def stamp(instant: int) -> str:
    """RFC 3339 in UTC."""
    return rfc3339(Instant(instant))


def clock_time(instant: int) -> str:
    """Hours to milliseconds, UTC."""
    return stamp(instant)[11:-1]


def span(seconds: float) -> str:
    """A length of time in at most two units; never negative."""
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, name, below, lesser in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {name} {rest} {lesser}" if rest else f"{whole // size} {name}"
    return f"{whole} s"


def ago(instant: int, now: int) -> str:
    """How far away an instant is, in words."""
    seconds = (now - instant) / 1000
    if abs(seconds) < 1:
        return "now"
    whole = span(float(round(abs(seconds))))
    return f"{whole} ago" if seconds > 0 else f"in {whole}"


def size(count: int | None) -> str:
    """Bytes, in powers of 1000."""
    if count is None:
        return "–"
    if count < 1000:
        return f"{count} B"
    value, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.1f} {units[0]}" if value < 10 else f"{value:.0f} {units[0]}"


def number(value: int) -> str:
    """With thin groups of three."""
    return f"{value:,}"


def percent(part: float, whole: float) -> str:
    """A share; a dash of nothing."""
    if not whole:
        return "–"
    share = 100 * part / whole
    return f"{share:.0f} %" if share in (0, 100) else f"{share:.1f} %"
