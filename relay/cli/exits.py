"""Exit codes, and how an exception becomes one."""

from __future__ import annotations

from enum import IntEnum

import click

from relay.cli.text import safe
from relay.errors import RelayError, SettingError


class Exit(IntEnum):
    """What the shell is told."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    CONFLICT = 5
    PARTLY = 6
    TIMED_OUT = 7


_OF_STATUS = {
    400: Exit.USAGE,
    401: Exit.NOT_ALLOWED,
    403: Exit.NOT_ALLOWED,
    404: Exit.NOT_FOUND,
    408: Exit.TIMED_OUT,
    409: Exit.CONFLICT,
    410: Exit.NOT_FOUND,
    422: Exit.USAGE,
    504: Exit.TIMED_OUT,
}


class Failure(RelayError):
    """A command that did not do what it was asked, with its exit code."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.code = code


def report(error: RelayError) -> Exit:
    """Print an exception of ours on stderr, one line and one for each wrong field; its exit code."""
    text, code = _explain(error)
    click.echo(safe(f"Error: {text}"), err=True)
    return code


def _explain(error: RelayError) -> tuple[str, Exit]:
    if isinstance(error, Failure):
        return str(error), error.code
    if isinstance(error, SettingError):
        return str(error), Exit.USAGE
    if type(error).__module__.startswith("relay.client"):  # or the import below would be the first, for nothing
        from relay.client.http import ApiError

        if isinstance(error, ApiError):
            more = ", ".join(str(part) for part in (error.code, f"HTTP {error.status}", error.request_id) if part)
            fields = [f"  {field.place}: {field.detail}" for field in error.fields]
            return "\n".join([f"{error} [{more}]", *fields]), _OF_STATUS.get(error.status, Exit.FAILED)
    return str(error), Exit.FAILED
