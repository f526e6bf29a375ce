"""The comparison: every row says yes or why not, and points at a test that is there. The README has some of them."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.architecture.tree import TOP


def _rows(page: str) -> list[list[str]]:
    table = (TOP / page).read_text("utf-8").partition("<!-- comparison -->")[2].partition("<!-- end")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]


ROWS = _rows("deploy/guide/comparison.md")
REFERENCE = re.compile(r"`(tests/[a-z_/]+\.py)::(test_\w+)`")


@cache
def _tests_of(path: str) -> frozenset[str]:
    tree = ast.parse((TOP / path).read_text("utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions)


def test_every_row_says_yes_or_why_not() -> None:
    assert len(ROWS) > 30 and all(len(row) == 3 for row in ROWS)
    for feature, answer, shown in ROWS:
        assert re.match(r"yes\b|no, because \w", answer), feature
        assert shown or answer.startswith("no"), f"{feature} is shown by nothing"


def test_every_test_that_a_row_points_at_is_there() -> None:
    for feature, _, shown in ROWS:
        if shown:
            reference = REFERENCE.fullmatch(shown)
            assert reference is not None, feature
            assert reference[2] in _tests_of(reference[1]), feature


def test_the_readme_has_rows_of_it_and_hides_no_refusal_behind_them() -> None:
    front = _rows("README.md")
    assert len(front) >= 8 and [row for row in front if row not in ROWS] == []
    assert sum(row[1].startswith("no") for row in front) >= 3
