from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.tree import TOP, files

LONGEST_FUNCTION = 50
LONGEST_FILE = 350
LONGEST_TEST_FILE = 480  # a corpus beside the behaviour it tests is read more easily than one file more


def too_long(path: Path, source: str) -> Iterator[str]:
    """What in a Python file is longer than a reader can hold."""
    lines = source.count("\n")
    if lines > (LONGEST_TEST_FILE if path.parts[0] == "tests" else LONGEST_FILE):
        yield f"{path} has {lines} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield f"{path}:{node.lineno} {node.name} has {length} lines"


def test_files_and_functions_stay_short() -> None:
    python = [path for path in files() if path.suffix == ".py"]
    assert len(python) > 20
    assert [found for path in python for found in too_long(path.relative_to(TOP), path.read_text("utf-8"))] == []


def test_a_long_file_and_a_long_function_are_found() -> None:
    body = "    pass\n"
    assert list(too_long(Path("a.py"), "def f():\n" + body * 49)) == []
    assert list(too_long(Path("a.py"), "async def f():\n" + body * 50)) == ["a.py:1 f has 51 lines"]
    assert list(too_long(Path("a.py"), "x = 1\n" * 350)) == []
    assert list(too_long(Path("a.py"), "x = 1\n" * 351)) == ["a.py has 351 lines"]
