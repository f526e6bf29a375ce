"""`relay provider`: the profiles that a relay has loaded, and files that it could load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

from relay.cli.exits import Exit, Failure
from relay.cli.listed import Listed
from relay.cli.noun import as_json, list_command, show_command
from relay.cli.nouns import PROVIDER
from relay.cli.output import note, put, put_json

NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@click.group(name="provider", cls=Listed)
def group() -> None:
    """Provider profiles: those that are loaded, and files of your own."""


group.add_command(list_command(PROVIDER))
group.add_command(show_command(PROVIDER))


@group.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
def check(file: Path, as_json: bool) -> None:
    """Read a profile file as a relay would. Exit 1 if anything is wrong with it, one line for each problem."""
    from relay.providers.loader import check_file

    problems = check_file(file)
    if as_json:
        put_json({"file": str(file), "problems": problems})
    else:
        for problem in problems:
            put(problem)
    if problems:
        raise Failure(f"{len(problems)} problem{'s' * (len(problems) > 1)}", Exit.FAILED)
    note(f"{file}: a relay would load it")


@group.command()
@click.argument("name")
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    help="The file to write; - for standard output. [default: NAME.toml in RELAY_PROVIDERS_DIR]",
)
def new(name: str, to: Path | None) -> None:
    """Write a commented profile to start from. It loads as it is; nothing that exists is overwritten."""
    from relay.providers.loader import load_profiles
    from relay.providers.starting import template

    if not NAME.fullmatch(name):
        raise click.BadParameter("expected lower-case letters, digits and hyphens", param_hint="NAME")
    if name in load_profiles(None):
        raise Failure(f"{name!r} comes with Relay; choose another name", Exit.CONFLICT)
    text = template(name)
    if to is not None and str(to) == "-":
        click.echo(text, nl=False)
        return
    path = to if to is not None else _own(name)
    _write(path, text)
    put(str(path))
    note(f"edit it, then: relay provider check {path}; a relay loads it when it starts")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Failure(f"{path} exists already", Exit.CONFLICT) from None
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", Exit.FAILED) from None


def _own(name: str) -> Path:
    from relay import settings

    return settings.load().providers_dir / f"{name}.toml"
