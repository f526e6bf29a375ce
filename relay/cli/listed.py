"""Groups of commands whose list in `--help` says each whole sentence."""

from __future__ import annotations

from typing import Final

import click

WHOLE: Final = 500  # longer than any first sentence of ours: click cuts at the width of the line


class Listed(click.Group):
    """A group that breaks the lines of its list instead of cutting them off."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, one.get_short_help_str(WHOLE)) for name, one in commands if one is not None and not one.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
