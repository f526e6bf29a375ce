"""`relay replay`: stored results, delivered again."""

from __future__ import annotations

from typing import Any

import click

from relay.cli import values
from relay.cli.noun import action_command, as_json, list_command, show_command
from relay.cli.nouns import REPLAY, SUBSCRIPTION, WEBHOOK
from relay.cli.output import note, put_record
from relay.cli.session import drop_none, find_id, open_api


@click.group(name="replay")
def group() -> None:
    """Stored results, delivered again."""


@group.command()
@click.argument("result_ids", metavar="[RESULT_ID]...", nargs=-1)
@click.option("--webhook", metavar="NAME_OR_ID", help="Only results of this webhook.")
@click.option("--type", "types", multiple=True, help="Only this type, for example result.completed.")
@click.option(
    "--status", "delivery_status", multiple=True, help="Only where a delivery stands so, for example exhausted."
)
@click.option("--since", metavar="AGE", help="Only results of the last 30m, 6h, 2d.")
@click.option("--created-after", metavar="TIME", help="An RFC 3339 time.")
@click.option("--created-before", metavar="TIME", help="An RFC 3339 time.")
@click.option(
    "--sub", "subscriptions", multiple=True, metavar="NAME_OR_ID", help="Only to this one; else to all that match."
)
@click.option(
    "--mode", type=click.Choice(["undelivered", "all"]), help="Whether to skip what a subscription already has."
)
@click.option("--new-message-id", is_flag=True, help="For subscribers that drop repeats.")
@click.option("--rate-per-second", type=click.FloatRange(min=0, min_open=True), help="Deliveries per second.")
@click.option("--dry-run", is_flag=True, help="Only count what would be sent.")
@as_json
def create(
    as_json: bool,
    webhook: str | None,
    subscriptions: tuple[str, ...],
    dry_run: bool,
    new_message_id: bool,
    **given: Any,
) -> None:
    """Deliver stored results again: those named, or those that the options choose."""
    body = {"mode": given.pop("mode"), "rate_per_second": given.pop("rate_per_second")}
    age = given.pop("since")
    if age and given["created_after"]:
        raise click.UsageError("--since and --created-after say the same: give one of them")
    chosen = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value}
    if age:
        chosen["created_after"] = values.since("--since", age)
    if not (chosen or webhook):
        raise click.UsageError("say what to replay: result ids, --webhook, --since, --status, …")
    with open_api() as api:
        if webhook:
            chosen["webhook_id"] = find_id(api, WEBHOOK.path, WEBHOOK.prefix, webhook)
        ids = [find_id(api, SUBSCRIPTION.path, SUBSCRIPTION.prefix, one) for one in subscriptions]
        switches = {name: True for name, on in (("dry_run", dry_run), ("new_message_id", new_message_id)) if on}
        made = api.call(
            "POST",
            REPLAY.path,
            body=drop_none({"filter": chosen, "subscription_ids": ids or None, **body, **switches}),
        )
    put_record(made, as_json=as_json)
    note(
        "nothing was sent: repeat without --dry-run"
        if dry_run
        else f"follow it with: relay replay show {made.get('id')}"
    )


group.add_command(list_command(REPLAY))
group.add_command(show_command(REPLAY))
group.add_command(action_command(REPLAY, "cancel", "Plan no more of it.", delete=True, done="cancelled"))
