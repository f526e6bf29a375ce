"""Printing: data on stdout, the rest on stderr; tables for people, tab-separated lines and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from relay.cli.text import on_terminal, one_line, safe, safe_json

Item = Mapping[str, Any]


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


def _table(items: Iterable[Item], columns: Sequence[str]) -> None:
    from rich.console import Console  # 50 ms: only where a table is drawn
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # an id that is cut cannot be copied
        table.add_column(column.replace("_", " ").upper(), no_wrap=column.endswith("id"), overflow="fold")
    for item in items:
        table.add_row(*(Text(safe(_cell(item.get(column)))) for column in columns))
    Console().print(table)
