"""What is in deploy/: its README in pieces, and the files as what they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import yaml

TOP: Final = Path(__file__).parents[2]
DEPLOY: Final = TOP / "deploy"
README: Final = (DEPLOY / "README.md").read_text("utf-8")
BLOCK: Final = re.compile(
    r"(?:<!-- block: (?P<kind>[^>]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)


def blocks(kind: str) -> list[str]:
    """The fenced blocks of this kind."""
    found = [block["text"] for block in BLOCK.finditer(README) if block["kind"] == kind]
    assert found, f"deploy/README.md has no block {kind!r}"
    return found


def table(name: str) -> list[list[str]]:
    """The rows of the table between two comments, without its head: each a list of cells."""
    text = README.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- end of {name} -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()[2:]]
    assert rows, f"deploy/README.md has no table {name!r}"
    return rows


def load_yaml(name: str) -> Any:
    """A YAML file of deploy/."""
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


def load_dashboard() -> dict[str, Any]:
    """The Grafana dashboard."""
    found: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))
    return found


def expressions() -> dict[str, str]:
    """Every PromQL expression in deploy/, by where it stands."""
    found = {
        f"alerts.yml {rule['alert']}": rule["expr"]
        for group in load_yaml("alerts.yml")["groups"]
        for rule in group["rules"]
    }
    for panel in load_dashboard()["panels"]:
        for target in panel.get("targets", ()):
            found[f"grafana.json {panel['title']} {target['refId']}"] = target["expr"]
    return found
