"""`relay provider`: the profiles that a relay has loaded."""

from __future__ import annotations

import click

from relay.cli.noun import list_command, show_command
from relay.cli.nouns import PROVIDER


@click.group(name="provider")
def group() -> None:
    """Provider profiles that are loaded."""


group.add_command(list_command(PROVIDER))
group.add_command(show_command(PROVIDER))
