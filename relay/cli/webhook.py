"""`relay webhook`: inbound addresses to hand to providers."""

from __future__ import annotations

from typing import Any

import click

from relay.cli import values
from relay.cli.listed import Listed
from relay.cli.noun import action_command, as_json, list_command, show_command
from relay.cli.nouns import WEBHOOK
from relay.cli.output import note, put_list, put_record
from relay.cli.session import drop_none, open_api
from relay.cli.text import on_terminal

CAPTURE_COLUMNS = ("kind", "http_status", "captured_at", "content_type", "job_id", "shape", "excerpt")


def _body(given: dict[str, Any]) -> dict[str, Any]:
    """The options in the API's words; None for what was not given."""
    retention, poll = given.pop("retention"), given.pop("poll")
    return {
        **given,
        "credentials": values.secrets("--credential", given["credentials"]),
        "verification": values.secrets("--verification", given["verification"]),
        "parameters": values.pairs("--parameter", given["parameters"]),
        "origins": list(given["origins"]) or None,
        "metadata": values.json_object("--metadata", given["metadata"]),
        "retention_seconds": None if retention is None else values.seconds("--retention", retention),
        "poll_seconds": values.waits("--poll", poll),
    }


@click.group(name="webhook", cls=Listed)
def group() -> None:
    """Inbound addresses: each has a callback URL to hand to its provider."""


@group.command()
@click.argument("name")
@click.option("--provider", required=True, help="Profile name; `relay provider list` shows them.")
@click.option(
    "--credential",
    "credentials",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="username, password or api_key. NAME alone is asked for, NAME=@FILE is read from a file.",
)
@click.option(
    "--verification", multiple=True, metavar="NAME[=VALUE]", help="What verifies notifications, for example secret."
)
@click.option(
    "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="What the profile asks for besides."
)
@click.option("--origin", "origins", multiple=True, help="Where results may be fetched from, instead of the profile's.")
@click.option("--base-url", help="Where submit, poll and cancel go, if not where the profile says.")
@click.option("--retention", help="How long the provider keeps results, for example 2h.")
@click.option("--retention-days", type=click.FloatRange(min=0, min_open=True), help="How long Relay keeps its results.")
@click.option(
    "--retention-bytes", type=click.IntRange(min=1024 * 1024), help="Payload bytes above which old results go."
)
@click.option("--poll", help="Waits between polls, for example 5s,10s,30s.")
@click.option("--fetch-max-in-flight", type=click.IntRange(min=1), help="Fetches at one time.")
@click.option("--fetch-rate-per-second", type=click.FloatRange(min=0, min_open=True), help="Fetches per second.")
@click.option(
    "--notification-rate-per-second",
    type=click.FloatRange(min=0, min_open=True),
    help="Notifications per second above which the answer is 503.",
)
@click.option(
    "--untracked", type=click.Choice(["accept", "ignore"]), help="Notifications of jobs that nobody announced."
)
@click.option("--metadata", metavar="JSON", help="An object of your own.")
@as_json
def create(as_json: bool, **given: Any) -> None:
    """Register a webhook and print its callback URL."""
    body = _body(given)
    with open_api() as api:
        webhook = api.call("POST", WEBHOOK.path, body=drop_none(body))
    put_record(webhook, as_json=as_json)
    note("the callback URL is what the provider is to be given; it is a secret: whoever has it can notify")


@group.command()
@click.argument("webhook", metavar=WEBHOOK.metavar)
@click.option("--name", help="Another name.")
@click.option(
    "--credential",
    "credentials",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="All credentials, as with create. They are tried at once on what waited for them.",
)
@click.option("--verification", multiple=True, metavar="NAME[=VALUE]", help="What verifies notifications.")
@click.option("--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="All that the profile asks for.")
@click.option("--origin", "origins", multiple=True, help="All places where results may be fetched from.")
@click.option("--base-url", help="Where submit, poll and cancel go.")
@click.option("--retention", help="How long the provider keeps results, for example 2h.")
@click.option("--retention-days", type=click.FloatRange(min=0, min_open=True), help="How long Relay keeps its results.")
@click.option("--retention-bytes", type=click.IntRange(min=1024 * 1024), help="Payload bytes above which old ones go.")
@click.option("--poll", help="Waits between polls, for example 5s,10s,30s.")
@click.option("--fetch-max-in-flight", type=click.IntRange(min=1), help="Fetches at one time.")
@click.option("--fetch-rate-per-second", type=click.FloatRange(min=0, min_open=True), help="Fetches per second.")
@click.option(
    "--notification-rate-per-second",
    type=click.FloatRange(min=0, min_open=True),
    help="Notifications per second above which the answer is 503.",
)
@click.option("--untracked", type=click.Choice(["accept", "ignore"]), help="Notifications of jobs nobody announced.")
@click.option("--metadata", metavar="JSON", help="An object of your own.")
@as_json
def update(as_json: bool, webhook: str, **given: Any) -> None:
    """Change what the options name; the rest stays."""
    body = drop_none(_body(given))
    if not body:
        raise click.UsageError("say what to change")
    with open_api() as api:
        changed = api.call("PATCH", WEBHOOK.address(api, webhook), body=body)
    put_record(changed, as_json=as_json)


@group.command()
@click.argument("given", metavar=WEBHOOK.metavar)
@as_json
def captures(given: str, as_json: bool) -> None:
    """Show what its provider really sends: the first message of each shape, without secrets, cut where it is long."""
    with open_api() as api:
        page = api.page(f"{WEBHOOK.address(api, given)}/captures", {})
    if as_json or not on_terminal():
        put_list(page["data"], CAPTURE_COLUMNS, as_json=as_json, page=page)
        return
    for capture in page["data"]:
        put_record(capture, as_json=False)
        note("")
    if not page["data"]:
        note("nothing has come yet")


group.add_command(list_command(WEBHOOK))
group.add_command(show_command(WEBHOOK))
group.add_command(
    action_command(
        WEBHOOK,
        "rotate",
        "Make a new callback URL.",
        done="has a new callback URL",
        show="callback_url",
        options=[
            click.Option(
                ["--overlap-seconds"], type=click.IntRange(min=0), help="How long the old callback URL still works."
            )
        ],
    )
)
group.add_command(
    action_command(WEBHOOK, "test", "Take a test notification through the intake.", done="tested", show="status")
)
group.add_command(action_command(WEBHOOK, "disable", "Answer its callbacks with 410.", done="disabled"))
group.add_command(action_command(WEBHOOK, "enable", "Take its callbacks again.", done="enabled"))
group.add_command(
    action_command(
        WEBHOOK,
        "delete",
        "Delete it: callbacks get 410, jobs under way finish, then its credentials are erased.",
        delete=True,
        done="deleted",
        ask=True,
    )
)
