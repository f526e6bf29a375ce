"""`relay replay`: stored results, delivered again."""

from __future__ import annotations

from typing import Any

import click

from relay.cli import values
from relay.cli.exits import Exit, Failure
from relay.cli.listed import Listed
from relay.cli.noun import action_command, as_json, list_command
from relay.cli.nouns import REPLAY, SUBSCRIPTION, WEBHOOK
from relay.cli.output import note, put_record
from relay.cli.progress import follow
from relay.cli.session import drop_none, find_id, open_api, segment


@click.group(name="replay", cls=Listed)
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
@click.option(
    "--http-status",
    multiple=True,
    type=click.IntRange(100, 599),
    help="Only where the latest attempt of a delivery got this.",
)
@click.option("--job-status", multiple=True, help="Only results that jobs ended with which stand so: failed.")
@click.option("--job-created-after", metavar="TIME", help="Only of jobs made at this time or later.")
@click.option("--job-created-before", metavar="TIME", help="Only of jobs made before this time.")
@click.option("--delivery-created-after", metavar="TIME", help="Only where a delivery was made since.")
@click.option("--delivery-created-before", metavar="TIME", help="Only where a delivery was made before.")
@click.option("--dry-run", is_flag=True, help="Only count what would be sent.")
@click.option("--wait", is_flag=True, help="Show how far it is until it is over.")
@click.option("--timeout", default="24h", show_default=True, help="With --wait: how long, for example 90s or 2h.")
@as_json
def create(
    as_json: bool,
    wait: bool,
    timeout: str,
    webhook: str | None,
    subscriptions: tuple[str, ...],
    dry_run: bool,
    new_message_id: bool,
    **given: Any,
) -> None:
    """Deliver stored results again: those named, or those that the options choose."""
    body = {"mode": given.pop("mode"), "rate_per_second": given.pop("rate_per_second")}
    values.seconds("--timeout", timeout)
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
    if wait and not dry_run:
        _finish(made["id"], timeout, as_json=as_json)
        return
    put_record(made, as_json=as_json)
    note(
        "nothing was sent: repeat without --dry-run"
        if dry_run
        else f"follow it with: relay replay show {made.get('id')}"
    )


@group.command()
@click.argument("replay_id", metavar="ID")
@click.option("--wait", is_flag=True, help="Show how far it is until it is over.")
@click.option("--timeout", default="24h", show_default=True, help="With --wait: how long, for example 90s or 2h.")
@as_json
def show(replay_id: str, wait: bool, timeout: str, as_json: bool) -> None:
    """Show one and how far it is."""
    if wait:
        _finish(replay_id, timeout, as_json=as_json)
    else:
        put_record(_ask(replay_id), as_json=as_json)


@group.command()
@click.argument("replay_id", metavar="ID")
@click.option("--rate-per-second", type=click.FloatRange(min=0, min_open=True), help="Deliveries per second.")
@click.option("--no-rate", is_flag=True, help="As fast as the subscribers take them.")
@as_json
def update(replay_id: str, rate_per_second: float | None, no_rate: bool, as_json: bool) -> None:
    """Change the rate of one that is under way."""
    if no_rate == (rate_per_second is not None):
        raise click.UsageError("give one of --rate-per-second and --no-rate")
    with open_api() as api:
        changed = api.call("PATCH", f"{REPLAY.path}/{segment(replay_id)}", body={"rate_per_second": rate_per_second})
    put_record(changed, as_json=as_json)


def _ask(replay_id: str) -> dict[str, Any]:
    with open_api() as api:
        found: dict[str, Any] = api.call("GET", f"{REPLAY.path}/{segment(replay_id)}")
    return found


def _finish(replay_id: str, timeout: str, *, as_json: bool) -> None:
    """Wait for its end. Exit 0 if all was delivered, 6 if some was not, 1 if it was cancelled, 7 if it goes on."""
    replay = follow(lambda: _ask(replay_id), values.seconds("--timeout", timeout))
    put_record(replay, as_json=as_json)
    match replay.get("status"):
        case "done":
            if replay.get("failed"):
                raise Failure(f"{replay['failed']} of {replay['total']} were not delivered", Exit.PARTLY)
        case "cancelled":
            raise Failure(f"replay {replay_id} was cancelled", Exit.FAILED)
        case status:
            raise Failure(f"replay {replay_id} is {status}", Exit.TIMED_OUT)


group.add_command(list_command(REPLAY))
group.add_command(action_command(REPLAY, "pause", "Send nothing more of it until it is resumed.", done="paused"))
group.add_command(action_command(REPLAY, "resume", "Go on where it was paused.", done="resumed"))
group.add_command(action_command(REPLAY, "cancel", "Plan no more of it.", delete=True, done="cancelled"))
