"""`relay completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click

from relay.cli.output import put


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell. For bash: source <(relay completion bash) in ~/.bashrc."""
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root().command
    found = get_completion_class(shell)
    assert found is not None  # Click has all three
    put(found(root, {}, "relay", "_RELAY_COMPLETE").source().rstrip("\n"))
