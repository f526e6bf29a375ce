"""The smaller tables of a profile file, one function each. Each asks for its keys, checks them together and refuses
others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from relay.providers.fetch import PLACEHOLDER
from relay.providers.profile import Auth, AuthKind, Parameter, Poll, Retention
from relay.providers.table import Table

RESERVED: Final = frozenset(
    ("job_id", "base_url", "id", "callback_url", "verification_header", "verification_secret", "response_url")
)

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_PARAMETER: Final = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_TEMPLATE: Final = re.compile(r"/(?:[A-Za-z0-9._~:/?=&%-]|\{[a-z][a-z0-9_]*\})*\Z")
_AUTH: Final[Mapping[str, AuthKind]] = {"none": "none", "basic": "basic", "bearer": "bearer", "header": "header"}


def header_name(table: Table, key: str, default: str | None) -> str:
    """A header's name."""
    name = table.string(key, default)
    if name and not _HEADER.match(name):
        table.problem(key, f"expected a header name, got {name!r}")
    return name


def auth(table: Table) -> Auth:
    """How requests are authenticated."""
    kind = table.choice("kind", _AUTH, "none")
    result = Auth(
        kind=kind,
        header=header_name(table, "header", None if kind == "header" else "Authorization"),
        value_prefix=table.string("value_prefix", ""),
    )
    if not result.value_prefix.isprintable() or not result.value_prefix.isascii():
        table.problem("value_prefix", "expected visible ASCII")
    table.done()
    return result


def parameters(table: Table) -> tuple[Parameter, ...]:
    """What webhooks are asked for; `table` is the whole file."""
    found = tuple(_parameter(one) for one in table.tables("parameters"))
    names = [parameter.name for parameter in found]
    if len(set(names)) < len(names):
        table.problem("parameters", "expected every name once")
    return found


def _parameter(table: Table) -> Parameter:
    parameter = Parameter(
        name=table.string("name"), required=table.boolean("required"), summary=table.string("summary", "")
    )
    if parameter.name and (not _PARAMETER.match(parameter.name) or parameter.name in RESERVED):
        table.problem("name", f"expected lower-case letters, digits and underscores, got {parameter.name!r}")
    table.done()
    return parameter


def template(
    table: Table, key: str, known: tuple[Parameter, ...], *, own: frozenset[str], needs: frozenset[str] = frozenset()
) -> str:
    """A path below the base URL. `own` are the placeholders besides the parameters, `needs` those that must occur."""
    text = table.string(key)
    if text and not _TEMPLATE.match(text):
        table.problem(key, "expected a path such as /job/{job_id}, which is put behind the base URL")
    elif text:
        _check_placeholders(table, key, text, known, own)
        for name in sorted(needs - set(PLACEHOLDER.findall(text))):
            table.problem(key, f"expected {{{name}}} in it")
    return text


def _check_placeholders(table: Table, key: str, text: str, known: tuple[Parameter, ...], own: frozenset[str]) -> None:
    path = text.partition("?")[0]
    required = {parameter.name for parameter in known if parameter.required}
    names = {parameter.name for parameter in known}
    words = " or ".join(sorted(own))
    for name in PLACEHOLDER.findall(text):
        if name in own:
            continue
        if name not in names:
            table.problem(key, f"{{{name}}} is neither {words} nor one of the profile's parameters")
        elif name in PLACEHOLDER.findall(path) and name not in required:
            table.problem(key, f"{{{name}}} stands in the path, so the parameter must be required")


def retention(table: Table) -> Retention:
    """How long results are kept."""
    anchor = table.choice("anchor", {"completed": "completed", "submitted": "submitted"}, "completed")
    result = Retention(
        seconds=table.seconds("seconds"),
        anchor="submitted" if anchor == "submitted" else "completed",
        single_use=table.boolean("single_use"),
    )
    table.done()
    return result


def poll(table: Table) -> Poll:
    """When to ask."""
    default = Poll()
    steps = _steps(table)
    if steps and table.has("waits"):
        table.problem("waits", "expected either waits or steps, not both")
    waits = table.waits("waits", default.waits)
    result = Poll(
        waits=_waits_of(steps) if steps else waits,
        backstop=table.waits("backstop", default.backstop),
        ready=table.waits("ready", default.ready),
        max_wait_seconds=table.seconds("max_wait_seconds") or default.max_wait_seconds,
        steps=steps,
        hints=tuple(name.lower() for name in table.strings("hints", _hint_problem)),
    )
    table.done()
    return result


def _steps(table: Table) -> tuple[tuple[float, float], ...]:
    """`[[poll.steps]]`: how often to ask up to which age of the job; the last one holds for ever."""
    found: list[tuple[float, float]] = []
    tables = table.tables("steps")
    for number, one in enumerate(tables):
        last = number == len(tables) - 1
        until, every = one.seconds("until_seconds"), one.seconds("every_seconds")
        if every is None:
            one.problem("every_seconds", "is missing; expected a number of seconds above 0")
        if (until is None) is not last:
            one.problem("until_seconds", "expected the age in seconds up to which this holds, and none in the last one")
        elif until is not None and found and until <= found[-1][0]:
            one.problem("until_seconds", f"expected more than the {found[-1][0]:g} of the one before")
        one.done()
        found.append((until or float("inf"), every or 1.0))
    if sum(until / every for until, every in found[:-1]) > 500:
        table.problem("steps", "expected at most 500 tries before the last step")
        return ()
    return tuple(found)


def _waits_of(steps: tuple[tuple[float, float], ...]) -> tuple[float, ...]:
    waits: list[float] = []
    age = 0.0
    for until, every in steps[:-1]:
        while age < until:
            waits.append(every)
            age += every
    return (*waits, steps[-1][1])


def _hint_problem(name: str) -> str | None:
    return None if _HEADER.match(name) else "expected a header name"
