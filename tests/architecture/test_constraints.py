from __future__ import annotations

import re
import subprocess
import sys
import tomllib

from packaging.requirements import Requirement

from tests.architecture.tree import TOP

TEXT = (TOP / "constraints.txt").read_text("utf-8")
PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)[^\n]*\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)


def _required() -> list[Requirement]:
    project = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))
    listed = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        listed += extra
    return [Requirement(line) for line in listed if not line.startswith(project["project"]["name"])]


def test_every_requirement_is_pinned_to_a_version_that_satisfies_it() -> None:
    pins: dict[str, list[str]] = {}
    for name, version, _hashes in PINNED.findall(TEXT):
        pins.setdefault(name, []).append(version)
    missing = [
        str(wanted)
        for wanted in _required()
        if not any(wanted.specifier.contains(version) for version in pins.get(wanted.name.lower(), []))
    ]
    assert missing == [], "run `make constraints`"


def test_nothing_but_pins_with_hashes_stands_in_the_file() -> None:
    assert PINNED.sub("", TEXT).strip().startswith("# Made by 'make constraints'")
    assert PINNED.sub("", TEXT).strip().count("\n") == 0
    assert "://" not in TEXT


def test_what_is_installed_fits_together() -> None:
    """The pins are installed as they are, without a look at what each of them requires: so that is looked at here."""
    checked = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
