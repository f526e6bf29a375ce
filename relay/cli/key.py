"""`relay key`: management keys."""

from __future__ import annotations

import click

from relay.cli.listed import Listed
from relay.cli.noun import action_command, as_json, list_command, show_command
from relay.cli.nouns import KEY
from relay.cli.output import note, put_record
from relay.cli.session import drop_none, open_api


@click.group(name="key", cls=Listed)
def group() -> None:
    """API keys with a scope."""


@group.command()
@click.argument("name")
@click.option("--scope", type=click.Choice(["read", "write", "admin"]), required=True, help="What it may do.")
@click.option("--expires-at", metavar="TIME", help="An RFC 3339 time.")
@as_json
def create(name: str, scope: str, expires_at: str | None, as_json: bool) -> None:
    """Make a key and print it. It is shown only now."""
    with open_api() as api:
        made = api.call("POST", KEY.path, body=drop_none({"name": name, "scope": scope, "expires_at": expires_at}))
    put_record(made, as_json=as_json)
    note("keep the key: it is shown only now")


group.add_command(list_command(KEY))
group.add_command(show_command(KEY))
group.add_command(
    action_command(
        KEY,
        "revoke",
        "Stop taking a key.",
        delete=True,
        done="revoked",
        ask=True,
    )
)
