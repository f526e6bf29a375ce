"""Printing: data on stdout, the rest on stderr; tables for people, tab-separated lines and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from relay.cli.text import on_terminal, one_line, safe, safe_json

Item = Mapping[str, Any]
GAP: Final = 2  # between the columns of a table
FOLDED: Final = 12  # a text that is folded gets so much room at least


def note(message: str) -> None:
    """A line for the person at the keyboard: on stderr."""
    click.echo(safe(message), err=True)


def put(text: str) -> None:
    """A line of data on stdout. Always UTF-8: a pipe has no locale."""
    click.echo((safe(text) if on_terminal() else text).encode("utf-8", "replace"))


def put_json(value: object) -> None:
    """A JSON document on stdout."""
    click.echo(safe_json(json.dumps(value, indent=2, ensure_ascii=False)).encode())


def put_record(item: Item, *, as_json: bool) -> None:
    """One thing: a line for each field."""
    if as_json:
        put_json(item)
        return
    width = max((len(name) for name in item), default=0) if on_terminal() else 0
    for name, value in item.items():
        if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            for number, entry in enumerate(value, start=1):
                put(_pair(f"{name} {number}", "  ".join(f"{key}={_cell(part)}" for key, part in entry.items()), width))
        else:
            put(_pair(name, _cell(value), width))


def put_list(items: Sequence[Item], columns: Sequence[str], *, as_json: bool, page: Item | None = None) -> None:
    """Many things: a table on a terminal, else a tab-separated line for each, without a heading.

    `page` is what `--json` prints instead of the bare list.
    """
    if as_json:
        put_json(page if page is not None else items)
    elif not items:
        note("none")
    elif on_terminal():
        _table(items, columns)
    else:
        for item in items:
            put("\t".join(_cell(item.get(column)) for column in columns))


def _pair(name: str, value: str, width: int) -> str:
    return f"{name:<{width}}  {value}" if width else f"{name}\t{value}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping | list):
        return one_line(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return one_line(str(value))


def _table(items: Sequence[Item], columns: Sequence[str]) -> None:
    from rich.console import Console  # 50 ms: only where a table is drawn
    from rich.table import Table
    from rich.text import Text

    console = Console()
    rows = [{column: safe(_cell(item.get(column))) for column in columns} for item in items]
    shown, left_out = _fitting(rows, columns, console.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in shown:
        table.add_column(_heading(column), no_wrap=_is_whole(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[column]) for column in shown))
    console.print(table)
    if left_out:
        note(f"the terminal is too narrow for {', '.join(left_out)}: --json has it all")


def _fitting(rows: Sequence[Mapping[str, str]], columns: Sequence[str], width: int) -> tuple[list[str], list[str]]:
    """Which columns a table of `width` has room for, the first one always, and which it has not."""
    shown: list[str] = []
    left_out: list[str] = []
    taken = -GAP
    for column in columns:
        longest = max(len(row[column]) for row in rows)
        least = max(len(_heading(column)), longest if _is_whole(column) else min(longest, FOLDED))
        fits = not shown or taken + GAP + least <= width
        (shown if fits else left_out).append(column)
        taken += GAP + least if fits else 0
    return shown, left_out


def _heading(column: str) -> str:
    return column.replace("_", " ").upper()


def _is_whole(column: str) -> bool:
    """Of an id that is cut or folded nobody has any use, and hardly of a time."""
    return (column.endswith("id") and column != "provider_job_id") or column.endswith("_at") or column == "deadline"
