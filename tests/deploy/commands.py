"""Which command of Relay's a line names."""

from __future__ import annotations

import click

from relay.cli.main import cli


def named(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command behind `relay WORDS…`, and what is left for it. Fails where there is none."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"there is no command {' '.join(words)}"
        command, words = found, words[1:]
    return command, words
