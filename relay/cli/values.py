"""Reading what people give: NAME=VALUE pairs, secrets that must not stand on a command line, JSON, ages."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import click

from relay.cli.text import is_text

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_SECONDS = 365_250 * 86_400.0


def secrets(option: str, items: tuple[str, ...]) -> dict[str, str] | None:
    """Secret fields: `NAME=VALUE`, `NAME=@FILE`, or `NAME` alone, which is asked for (or read as a line of stdin)."""
    if not items:
        return None
    found: dict[str, str] = {}
    for item in items:
        name, separator, value = item.partition("=")
        found[name] = secret(option, name, value if separator else "-")
    return found


def secret(option: str, name: str, text: str) -> str:
    """One secret: `@FILE` is read, `-` is asked for, anything else is the secret itself."""
    if text == "-":
        return _ask(name)
    return _file(option, text[1:]) if text.startswith("@") else text


def pairs(option: str, items: tuple[str, ...]) -> dict[str, str] | None:
    """Plain `NAME=VALUE` fields."""
    if not items:
        return None
    wrong = [item for item in items if "=" not in item]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not NAME=VALUE", param_hint=option)
    return dict(item.split("=", 1) for item in items)


def json_object(option: str, text: str | None) -> dict[str, Any] | None:
    """A JSON object."""
    if text is None:
        return None
    try:
        value = json.loads(text, parse_constant=_no_json)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint=option) from None
    except RecursionError:
        raise click.BadParameter("nested too deeply", param_hint=option) from None
    if not isinstance(value, dict):
        raise click.BadParameter("not a JSON object", param_hint=option)
    if not is_text(json.dumps(value, ensure_ascii=False)):
        raise click.BadParameter("an escape in it is half a character (\\ud800 to \\udfff)", param_hint=option)
    return value


def _no_json(name: str) -> Any:
    raise ValueError(f"{name} is no number there")


def json_or_file(option: str, text: str | None) -> dict[str, Any] | None:
    """A JSON object, or the name of a file that holds one."""
    if text is None or text.lstrip().startswith("{"):
        return json_object(option, text)
    return json_object(option, _file(option, text.removeprefix("@")))


def seconds(option: str, text: str) -> float:
    """A duration: `90s`, `30m`, `6h`, `2d`, or a number of seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not match:
        raise click.BadParameter(f"{text!r} is not a duration such as 90s, 30m, 6h or 2d", param_hint=option)
    found = float(match[1]) * UNITS[match[2] or "s"]
    if found > LONGEST_SECONDS:
        raise click.BadParameter(f"{text[:20]!r} is more than a thousand years", param_hint=option)
    return found


def waits(option: str, text: str | None) -> list[float] | None:
    """A list of durations, separated by commas."""
    return None if text is None else [seconds(option, item.strip()) for item in text.split(",")]


def since(option: str, text: str | None) -> str | None:
    """The RFC 3339 time that lies a duration back, 1970 at most: a relay knows of none before."""
    if text is None:
        return None
    from relay.clock import Instant, SystemClock, after, rfc3339

    return rfc3339(max(Instant(0), after(SystemClock().now(), -seconds(option, text))))


def _ask(name: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(name, hide_input=True, err=True))
    line = sys.stdin.readline()
    if not line:
        raise click.UsageError(f"{name} was to be read from stdin, which has ended")
    return line.rstrip("\r\n")


def _file(option: str, name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise click.BadParameter(f"cannot read {name}: {reason}", param_hint=option) from None
