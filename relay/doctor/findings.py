"""What a check says: one line, and what to do about it."""

from __future__ import annotations

from enum import StrEnum

from relay.frozen import frozen


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"  # it works, but not as somebody will expect
    FAIL = "fail"  # it does not, or will not


@frozen()
class Finding:
    """One line of the report."""

    check: str
    level: Level
    says: str
    advice: str = ""  # what to do; empty where there is nothing


def ok(check: str, says: str) -> Finding:
    """Nothing to do."""
    return Finding(check, Level.OK, says)


def warn(check: str, says: str, advice: str) -> Finding:
    """Somebody should look at it."""
    return Finding(check, Level.WARN, says, advice)


def fail(check: str, says: str, advice: str) -> Finding:
    """Somebody has to mend it."""
    return Finding(check, Level.FAIL, says, advice)
