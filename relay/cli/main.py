"""The top of the command tree: which commands there are, and how a failure becomes one line and an exit code."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

import click

import relay
from relay.cli import streams
from relay.cli.exits import Exit, report
from relay.cli.listed import Listed
from relay.cli.text import is_text
from relay.errors import RelayError

# name on the command line → module and attribute; imported when it is needed
COMMANDS: Final = {
    "serve": "relay.cli.run:serve",
    "worker": "relay.cli.run:worker",
    "demo": "relay.cli.run:demo",
    "ui": "relay.cli.ui:ui",
    "trigger": "relay.cli.trigger:trigger",
    "listen": "relay.cli.listen:listen",
    "tail": "relay.cli.tail:tail",
    "doctor": "relay.cli.doctor:doctor",
    "sign": "relay.cli.sign:sign",
    "verify": "relay.cli.sign:verify",
    "export": "relay.cli.export:export",
    "completion": "relay.cli.completion:completion",
    "db": "relay.cli.db:group",
    "webhook": "relay.cli.webhook:group",
    "sub": "relay.cli.sub:group",
    "job": "relay.cli.job:group",
    "result": "relay.cli.result:group",
    "delivery": "relay.cli.delivery:group",
    "replay": "relay.cli.replay:group",
    "notification": "relay.cli.notification:group",
    "event": "relay.cli.event:group",
    "key": "relay.cli.key:group",
    "provider": "relay.cli.provider:group",
}
INTERRUPTED: Final = 130  # what a shell makes of SIGINT


class Relay(Listed):
    """The root group: commands are imported on demand, Relay's own exceptions end as a line on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches  # click looks only among commands that are imported

            nearest = "".join(f" Did you mean {name!r}?" for name in get_close_matches(args[0], COMMANDS, n=1))
            raise click.UsageError(error.message + nearest, ctx) from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for arg in args:
            if not is_text(arg):
                raise click.UsageError(f"this is not text in UTF-8: {arg!r}")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RelayError as error:
            ctx.exit(report(error))
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@click.command(cls=Relay, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(relay.__version__, prog_name="relay", message="%(prog)s %(version)s")
def cli() -> None:
    """Receive completion notifications, fetch the results, deliver them signed.

    Noun commands speak to the relay at RELAY_URL (http://127.0.0.1:8000 if not set) with RELAY_API_KEY.

    Exit codes: 0 ok, 1 failed, 2 wrong usage or setting, 3 not found, 4 not allowed, 5 conflict,
    6 partly failed, 7 timed out.
    """


def main() -> None:
    """The console script."""
    streams.make_usable()
    try:
        cli(prog_name="relay")
    except OSError as error:
        if error.errno not in streams.FULL:
            raise
        streams.forsake_stdout()
        click.echo(f"Error: the output cannot be written: {error.strerror}", err=True)
        sys.exit(Exit.FAILED)
