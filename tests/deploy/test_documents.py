"""The tables in deploy/README.md are true, and nothing that there is is missing from them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from relay.metrics import described
from relay.settings import describe
from tests.deploy.commands import named
from tests.deploy.documents import BLOCK, DEPLOY, README, TOP, blocks, expressions, load_dashboard, load_yaml, table
from tests.deploy.log_calls import levels, logged
from tests.support.tools import tool

LIBRARY = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "up"}
OF_EVERY_LINE = {"ts", "level", "event", "logger", "exception"}
NAME = re.compile(r"\b((?:relay|process)_\w+|up)\b")


def test_every_metric_is_described_and_every_described_one_is_there() -> None:
    told = {row[0].strip("`"): (row[1], row[2], row[3]) for row in table("metrics")}
    there = {
        metric.name + ("_total" if metric.kind == "counter" else ""): (
            metric.kind, ", ".join(metric.labels) or "none", metric.help,
        )
        for metric in described()
    }  # fmt: skip
    assert told == there


def test_every_log_line_is_described_with_its_fields_and_every_described_one_is_written() -> None:
    told = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[3])) for row in table("events")}
    assert told == logged(TOP / "relay")
    by_event = levels(TOP / "relay")
    assert [row[0] for row in table("events") if row[1] not in by_event[row[0].strip("`")]] == []


def test_every_field_is_explained_and_every_explained_one_is_used() -> None:
    told = [row[0].strip("`") for row in table("fields")]
    assert len(told) == len(set(told))
    assert set(told) == OF_EVERY_LINE | set().union(*logged(TOP / "relay").values())


def test_a_field_that_somebody_adds_is_found(tmp_path: Path) -> None:
    (tmp_path / "stage.py").write_text(
        'log.info("a.b", job_id=1)\n(self._log.debug if x else self._log.info)("c.d", y=2)'
    )
    assert logged(tmp_path) == {"a.b": {"job_id"}, "c.d": {"y"}}


@pytest.mark.parametrize("place", expressions())
def test_an_expression_asks_only_for_what_there_is(place: str) -> None:
    expression = expressions()[place]
    series = {name for metric in described() for name in metric.series} | LIBRARY
    labels = {label for metric in described() for label in metric.labels} | {"job", "instance", "le"}
    bare = re.sub(r'"[^"]*"', '""', expression)
    asked = set(NAME.findall(re.sub(r"\{[^}]*\}|\bby \([^)]*\)", "", bare)))
    assert asked
    assert asked <= series, place
    used = {label for part in re.findall(r"\{([^}]*)\}", bare) for label in re.findall(r"(\w+)\s*[=!]", part)}
    used |= {label for part in re.findall(r"\bby \(([^)]*)\)", bare) for label in re.findall(r"\w+", part)}
    assert used <= labels, place


def test_every_metric_is_of_use_to_somebody() -> None:
    """What no panel and no alert shows would be there for nobody."""
    everything = " ".join(expressions().values())
    unused = {metric.name for metric in described() if not any(name in everything for name in metric.series)}
    assert unused == set()


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    panels = load_dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_every_alert_says_what_to_do() -> None:
    for group in load_yaml("alerts.yml")["groups"]:
        for rule in group["rules"]:
            assert set(rule["annotations"]) == {"summary", "action"}
            assert rule["labels"]["severity"] in ("page", "ticket")


def test_promtool_takes_the_rules_and_the_alerts_fire_when_they_should() -> None:
    promtool = tool("promtool", "prometheus")
    for arguments in (
        ["check", "rules", "alerts.yml"],
        ["check", "config", "--syntax-only", "prometheus.yml"],
        ["test", "rules", str(TOP / "tests/deploy/alerts_test.yml")],
    ):
        ran = subprocess.run([promtool, *arguments], cwd=DEPLOY, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_command_that_is_named_there_is_one() -> None:
    pages = [TOP / "README.md", *DEPLOY.rglob("*.md"), *DEPLOY.glob("*.yml")]
    lines = [line for page in pages for line in re.findall(r"`(relay [a-z][^`]*)`", page.read_text("utf-8"))]
    lines += [line for line in "".join(blocks("session")).splitlines() if line.startswith("relay ")]
    assert len(lines) > 50
    for line in lines:
        command, words = named(line.split()[1:])
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options | {"--help", "--json"}, line


def test_every_setting_and_file_that_is_named_exists() -> None:
    settings = (
        {row.name for row in describe()} | {"RELAY_SITE", "RELAY_UPSTREAM", "RELAY_NAME"} | {"RELAY_REQUIRE_CHROMIUM"}
    )
    for path in DEPLOY.rglob("*.*"):
        if path.name != "requirements.txt":
            assert set(re.findall(r"\bRELAY_[A-Z_]+[A-Z]", path.read_text("utf-8"))) <= settings, path.name
    assert [
        name
        for name in re.findall(r"`([\w@.-]+\.(?:yml|json|conf|service|toml))`", README)
        if not (DEPLOY / name).exists()
    ] == []
    assert {block["kind"] for block in BLOCK.finditer(README)} == {"install", "systemd", "docker", "session"}
