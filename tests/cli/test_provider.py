"""`relay provider check` and `new`: what needs no relay."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Run


def test_a_new_profile_lies_where_a_relay_looks_and_loads_as_it_is(run: Run) -> None:
    made = run("provider", "new", "acme")
    assert made.exit_code == 0
    path = Path(made.stdout.strip())
    assert path == Path(".relay/providers/acme.toml")
    assert 'name = "acme"' in path.read_text()
    checked = run("provider", "check", str(path))
    assert (checked.exit_code, checked.stdout) == (0, "")
    assert "would load it" in checked.stderr


def test_nothing_that_exists_is_overwritten(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("precious")
    again = run("provider", "new", "acme", "--to", str(mine))
    assert (again.exit_code, "exists already" in again.stderr, mine.read_text()) == (5, True, "precious")


def test_a_name_that_comes_with_relay_or_is_none_is_refused(run: Run) -> None:
    assert run("provider", "new", "netnut").exit_code == 5
    odd = run("provider", "new", "Ac me")
    assert (odd.exit_code, "lower-case letters" in odd.stderr) == (2, True)
    assert not Path(".relay").exists()


def test_a_profile_goes_to_standard_output_if_asked(run: Run) -> None:
    shown = run("provider", "new", "acme", "--to", "-")
    assert shown.exit_code == 0
    assert 'title = "Acme"' in shown.stdout
    assert not Path("-").exists()


def test_every_problem_of_a_file_is_one_line_with_its_key(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "acme.toml"
    text = run("provider", "new", "acme", "--to", "-").stdout
    file.write_text(text.replace('kind = "template"', 'kind = "templat"').replace("anchor =", "anker ="))
    checked = run("provider", "check", str(file))
    assert checked.exit_code == 1
    lines = checked.stdout.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["fetch.kind", "retention.anker"]
    assert all(line.startswith(f"{file}: ") for line in lines)
    told = json.loads(run("provider", "check", str(file), "--json").stdout)
    assert told == {"file": str(file), "problems": lines}


def test_a_file_that_takes_the_name_of_a_shipped_profile_is_a_problem(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(run("provider", "new", "acme", "--to", "-").stdout.replace('name = "acme"', 'name = "netnut"'))
    checked = run("provider", "check", str(file))
    assert (checked.exit_code, "comes with Relay" in checked.stdout) == (1, True)
