"""Every line that Relay writes to its log, read from the source: which events there are and with which fields."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LEVELS: Final = frozenset({"debug", "info", "warning", "error", "exception"})
EVENT: Final = re.compile(r"[a-z_]+(\.[a-z_]+)*")
NOT_FIELDS: Final = frozenset({"exc_info"})
NOT_A_SERVICE: Final = frozenset({"demo", "cli"})


def levels(package: Path) -> dict[str, set[str]]:
    """The levels at which each event is logged."""
    found: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args and _is_logging(node.func):
                if path.relative_to(package).parts[0] not in NOT_A_SERVICE:
                    for event in _events(node.args[0]):
                        found.setdefault(event, set()).update(_levels(node.func))
    return found


def _levels(function: ast.expr) -> set[str]:
    if isinstance(function, ast.IfExp):
        return _levels(function.body) | _levels(function.orelse)
    name = function.attr if isinstance(function, ast.Attribute) else ""
    return {"error" if name == "exception" else name}


def logged(package: Path) -> dict[str, set[str]]:
    """The fields of each event that modules under `package` log."""
    found: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0] not in NOT_A_SERVICE:
            for event, fields in _calls(ast.parse(path.read_text("utf-8"))):
                found.setdefault(event, set()).update(fields)
    return found


def _calls(tree: ast.AST) -> Iterator[tuple[str, set[str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and _is_logging(node.func):
            fields = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
            for event in _events(node.args[0]):
                yield event, fields - NOT_FIELDS


def _is_logging(function: ast.expr) -> bool:
    if isinstance(function, ast.IfExp):
        return _is_logging(function.body)
    return isinstance(function, ast.Attribute) and function.attr in LEVELS and _is_logger(function.value)


def _is_logger(value: ast.expr) -> bool:
    match value:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.endswith("log")
        case ast.Call(func=ast.Attribute(attr="get_logger")):
            return True
    return False


def _events(argument: ast.expr) -> Iterator[str]:
    if isinstance(argument, ast.IfExp):
        yield from _events(argument.body)
        yield from _events(argument.orelse)
    elif isinstance(argument, ast.Constant) and isinstance(argument.value, str) and EVENT.fullmatch(argument.value):
        yield argument.value
    else:
        raise AssertionError(f"line {argument.lineno}: an event's name stands there as it is")
