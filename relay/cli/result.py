"""`relay result`: how jobs ended, with the payload as the provider sent it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

from relay.cli.exits import Exit, Failure
from relay.cli.listed import Listed
from relay.cli.noun import action_command, list_command, show_command, text_filter
from relay.cli.nouns import RESULT, WEBHOOK
from relay.cli.output import note
from relay.cli.session import open_api, segment
from relay.cli.text import on_terminal, safe


@click.group(name="result", cls=Listed)
def group() -> None:
    """How jobs ended, with the final payload byte for byte."""


@group.command()
@click.argument("result_id", metavar="ID")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
def payload(result_id: str, output: Path | None) -> None:
    """Write the exact bytes of a result's payload to stdout or a file."""
    with open_api() as api:
        chunks = api.download(f"{RESULT.path}/{segment(result_id)}/payload")
        if output is not None:
            note(f"wrote {_save(chunks, output)} bytes to {output}")
        elif on_terminal():
            _show(chunks)
        else:
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


def _save(chunks: Iterator[bytes], path: Path) -> int:
    """Write to a neighbour first: a download that breaks leaves neither half a file nor the old one damaged."""
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            size = sum(file.write(chunk) for chunk in chunks)
        shutil.move(partial, path)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", Exit.FAILED) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return size


def _show(chunks: Iterator[bytes]) -> None:
    """On a terminal: text only, and without what a terminal would obey."""
    data = b"".join(chunks)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Failure(f"{len(data)} bytes that are not text: use --output FILE or a pipe", Exit.USAGE) from None
    click.echo(safe(text), nl=not text.endswith("\n"))


group.add_command(
    list_command(
        RESULT,
        [
            text_filter("--webhook", "webhook_id", "Only of this webhook."),
            text_filter("--job", "job_id", "Only of this job."),
            text_filter("--type", "type", "result.completed, result.failed, result.cancelled or result.expired."),
            click.Option(["--unrouted"], flag_value="true", help="Only those that no subscription wanted."),
            text_filter("--created-after", "created_after", "An RFC 3339 time."),
            text_filter("--created-before", "created_before", "An RFC 3339 time."),
        ],
        resolve={"webhook_id": WEBHOOK},
    )
)
group.add_command(show_command(RESULT))
group.add_command(
    action_command(RESULT, "delete", "Erase its payload everywhere.", done="erased", delete=True, ask=True)
)
