"""`relay sign` and `relay verify`: Standard Webhooks by hand, for whoever builds or mends a receiver."""

from __future__ import annotations

import sys

import click

from relay.cli import values
from relay.cli.exits import Exit, Failure
from relay.cli.output import note, put

secret_option = click.option(
    "--secret", "given", required=True, metavar="SECRET", help="whsec_…, whsk_… or whpk_…; @FILE reads it."
)


@click.command()
@secret_option
@click.option("--id", "message_id", default="msg_test", show_default=True, help="The webhook-id.")
@click.option("--timestamp", type=click.IntRange(min=0), help="Unix seconds; now if not given.")
def sign(given: str, message_id: str, timestamp: int | None) -> None:
    """Sign the body on stdin and print the three headers, as curl takes them: curl -H @FILE."""
    from relay.clock import SystemClock
    from relay.model import Secret
    from relay.signing import standard_webhooks

    if "." in message_id or not (message_id.isascii() and message_id.isprintable() and message_id.strip()):
        raise click.BadParameter("visible ASCII without a full stop", param_hint="--id")
    second = SystemClock().now() // 1000 if timestamp is None else timestamp
    try:
        key = standard_webhooks.signing_key(Secret(_secret(given)))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--secret") from None
    signature = standard_webhooks.sign(message_id, second, _body(), [key])
    for name, value in (("id", message_id), ("timestamp", second), ("signature", signature)):
        put(f"webhook-{name}: {value}")


@click.command()
@click.option(
    "--secret", "given", required=True, multiple=True, metavar="SECRET", help="whsec_… or whpk_…; @FILE reads it."
)
@click.option(
    "--header", "headers", required=True, multiple=True, metavar="'NAME: VALUE'", help="As it came; @FILE too."
)
@click.option("--tolerance", default="5m", show_default=True, help="How old it may be, for example 5m or 2d.")
def verify(given: tuple[str, ...], headers: tuple[str, ...], tolerance: str) -> None:
    """Verify the body on stdin against the headers that came with it. Exit 1 if it is not what was signed."""
    from relay.client.receiving import verify as check
    from relay.errors import SignatureError

    lines = [line for each in headers for line in (_file_lines(each) if each.startswith("@") else [each])]
    pairs = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    try:
        check(
            _body(),
            pairs,
            [_secret(each) for each in given],
            tolerance_seconds=values.seconds("--tolerance", tolerance),
        )
    except SignatureError as error:
        raise Failure(f"not verified: {error}", Exit.FAILED) from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--secret") from None
    note("verified")


def _secret(given: str) -> str:
    # Not asked for on stdin: that is the body.
    return values.secret("--secret", "secret", given) if given.startswith("@") else given


def _file_lines(given: str) -> list[str]:
    return [line for line in values.secret("--header", "header", given).splitlines() if line.strip()]


def _body() -> bytes:
    return sys.stdin.buffer.read()
