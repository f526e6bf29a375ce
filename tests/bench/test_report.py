"""Figures are judged on the right side of their targets, and runs take turns."""

import dataclasses

import orjson
import pytest

from tests.bench.report import Line, as_json, interleave, percentile, table

LINE = Line(
    name="thing", measured=1234.5, unit="req/s", floor=2000, ratio=0.617, judged=0.617, target=0.4, at_least=True
)


@pytest.mark.parametrize(
    ("judged", "at_least", "met"), [(0.4, True, True), (0.39, True, False), (0.4, False, True), (0.41, False, False)]
)
def test_a_target_is_a_floor_or_a_ceiling(judged: float, at_least: bool, met: bool) -> None:
    line = dataclasses.replace(LINE, judged=judged, at_least=at_least)
    assert line.met is met
    assert ("ok" in table([line]), "MISSED" in table([line])) == (met, not met)


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_the_nearest_rank(share: float, value: int) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == value


def test_no_samples_are_never_good() -> None:
    assert percentile([], 0.99) == float("inf")


def test_runs_take_turns_and_the_order_turns_too() -> None:
    order: list[str] = []

    def run(name: str) -> str:
        order.append(name)
        return name

    assert interleave(3, lambda: run("a"), lambda: run("b")) == [["a"] * 3, ["b"] * 3]
    assert "".join(order) == "abbaab"


def test_the_table_and_the_file_show_measure_floor_ratio_and_target() -> None:
    shown = table([LINE])
    assert "1,234 req/s  2,000  0.62   >= 0.4" in shown
    [line] = orjson.loads(as_json([LINE], {"cpus": 2}))["lines"]
    assert (line["ratio"], line["target"], line["met"]) == (0.617, 0.4, True)
