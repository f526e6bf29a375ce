"""`relay sub`: where results go and which ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from relay.cli import values
from relay.cli.exits import Exit, Failure
from relay.cli.listed import Listed
from relay.cli.noun import action_command, as_json, list_command, show_command
from relay.cli.nouns import PROVIDER, SUBSCRIPTION, WEBHOOK
from relay.cli.output import note, put_list, put_record
from relay.cli.session import drop_none, find_id, no_such_name, open_api

if TYPE_CHECKING:
    from relay.client.http import Api

# What may be nothing, by the option that sets it.
CLEARED = {
    "webhook": "webhook_ids",
    "type": "event_types",
    "filter": "filter",
    "rate-per-second": "rate_per_second",
    "schedule": "schedule_seconds",
    "timeout-seconds": "timeout_seconds",
}
PROVIDER_PATH = "data.provider"


def _body(given: dict[str, Any]) -> dict[str, Any]:
    """The options in the API's words; None for what was not given."""
    filter_json, schedule = given.pop("filter_json"), given.pop("schedule")
    return {
        **given,
        "event_types": list(given["event_types"]) or None,
        "filter": values.json_or_file("--filter", filter_json),
        "headers": values.pairs("--header", given["headers"]),
        "metadata": values.json_object("--metadata", given["metadata"]),
        "schedule_seconds": values.waits("--schedule", schedule),
    }


@click.group(name="sub", cls=Listed)
def group() -> None:
    """Subscriptions: where results go and which ones."""


@group.command()
@click.argument("name")
@click.option("--to", "--url", "url", metavar="URL", help="Where results are posted; not for --kind pull.")
@click.option("--webhook", "webhooks", multiple=True, metavar="NAME_OR_ID", help="Only results of this webhook.")
@click.option("--type", "event_types", multiple=True, help="Only this type, for example result.completed.")
@click.option("--provider", "providers", multiple=True, help="Only results of this provider.")
@click.option("--filter", "filter_json", metavar="FILE|JSON", help="Only what matches, by paths of the envelope.")
@click.option(
    "--format",
    type=click.Choice(["envelope", "raw", "thin", "cloudevents"]),
    help="What is sent: the envelope, the provider's bytes, an address of them, or a CloudEvent.",
)
@click.option("--kind", type=click.Choice(["push", "pull"]), help="Whether results are sent or fetched.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header to send along.")
@click.option("--signing", type=click.Choice(["hmac", "ed25519"]), help="With a shared secret, or with a key pair.")
@click.option("--secret", metavar="SECRET", help="Your own signing secret; @FILE reads it, - asks for it.")
@click.option("--max-in-flight", type=click.IntRange(min=1), help="Deliveries at one time.")
@click.option("--rate-per-second", type=click.FloatRange(min=0, min_open=True), help="Deliveries per second.")
@click.option("--schedule", metavar="WAITS", help="Waits before each attempt, such as 0,5s,10m.")
@click.option("--timeout-seconds", type=click.FloatRange(min=0, min_open=True), help="Total time of one attempt.")
@click.option("--metadata", metavar="JSON", help="An object of your own.")
@as_json
def create(
    as_json: bool, webhooks: tuple[str, ...], providers: tuple[str, ...], secret: str | None, **given: Any
) -> None:
    """Subscribe an address to results and print its signing secret, which is shown only now."""
    body = _body(given)
    body["filter"] = _filter(body["filter"], providers)
    body["secret"] = None if secret is None else values.secret("--secret", "secret", secret)
    with open_api() as api:
        _check_providers(api, providers)
        body["webhook_ids"] = [find_id(api, WEBHOOK.path, WEBHOOK.prefix, one) for one in webhooks] or None
        subscription = api.call("POST", SUBSCRIPTION.path, body=drop_none(body))
    put_record(subscription, as_json=as_json)
    if subscription.get("public_keys"):
        note("verify what is delivered with the public key: no secret is needed for it")
    else:
        note("keep the secret: it is shown only now, and verifies what is delivered")


@group.command()
@click.argument("subscription", metavar="NAME_OR_ID")
@click.option("--name", help="Another name.")
@click.option("--to", "--url", "url", metavar="URL", help="Where results are posted.")
@click.option("--webhook", "webhooks", multiple=True, metavar="NAME_OR_ID", help="Only results of this webhook.")
@click.option("--type", "event_types", multiple=True, help="Only this type, for example result.completed.")
@click.option("--filter", "filter_json", metavar="FILE|JSON", help="Only what matches, by paths of the envelope.")
@click.option("--format", type=click.Choice(["envelope", "raw", "thin", "cloudevents"]), help="What is sent.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="All headers to send along.")
@click.option("--max-in-flight", type=click.IntRange(min=1), help="Deliveries at one time.")
@click.option("--rate-per-second", type=click.FloatRange(min=0, min_open=True), help="Deliveries per second.")
@click.option("--schedule", metavar="WAITS", help="Waits before each attempt, such as 0,5s,10m.")
@click.option("--timeout-seconds", type=click.FloatRange(min=0, min_open=True), help="Total time of one attempt.")
@click.option("--metadata", metavar="JSON", help="An object of your own.")
@click.option("--clear", "cleared", multiple=True, type=click.Choice(sorted(CLEARED)), help="No longer say it.")
@as_json
def update(as_json: bool, subscription: str, webhooks: tuple[str, ...], cleared: tuple[str, ...], **given: Any) -> None:
    """Change what the options name; the rest stays."""
    body = drop_none(_body(given))
    twice = [name for name in cleared if CLEARED[name] in body or (name == "webhook" and webhooks)]
    if twice:
        raise click.UsageError(f"--{twice[0]} and --clear {twice[0]}: give one of them")
    if not (body or webhooks or cleared):
        raise click.UsageError("say what to change")
    with open_api() as api:
        if webhooks:
            body["webhook_ids"] = [find_id(api, WEBHOOK.path, WEBHOOK.prefix, one) for one in webhooks]
        body |= {CLEARED[name]: None for name in cleared}
        changed = api.call("PATCH", SUBSCRIPTION.address(api, subscription), body=body)
    put_record(changed, as_json=as_json)


def _check_providers(api: Api, providers: tuple[str, ...]) -> None:
    """A misspelt one would be a filter that nothing ever passes. Raises Failure."""
    if not providers:
        return
    loaded = [str(item["name"]) for item in api.call("GET", PROVIDER.path)["data"]]
    for name in providers:
        if name not in loaded:
            raise no_such_name(PROVIDER.path, name, loaded)


def _filter(given: dict[str, Any] | None, providers: tuple[str, ...]) -> dict[str, Any] | None:
    """The filter, and that the provider is one of these."""
    if not providers:
        return given
    if given and PROVIDER_PATH in given:
        raise click.UsageError(f"--provider and {PROVIDER_PATH} in --filter say the same: give one of them")
    return {PROVIDER_PATH: {"$in": list(providers)}, **(given or {})}


@group.command()
@click.argument("subscription", metavar="NAME_OR_ID")
@click.option("--result", "result_id", metavar="RESULT_ID", help="Send nothing: say whether it would get this result.")
@click.option("--filter", "filter_json", metavar="FILE|JSON", help="With --result: judge by this filter instead.")
@as_json
def test(subscription: str, result_id: str | None, filter_json: str | None, as_json: bool) -> None:
    """Send a test message now, or judge a stored result. Exit 1 if it was not taken, or does not match."""
    if filter_json is not None and result_id is None:
        raise click.UsageError("--filter is tested with a stored result: name it with --result")
    body = drop_none({"result_id": result_id, "filter": values.json_or_file("--filter", filter_json)})
    with open_api() as api:
        outcome = api.call("POST", f"{SUBSCRIPTION.address(api, subscription)}/test", body=body or None)
    put_record(outcome, as_json=as_json)
    if result_id is not None and not outcome.get("matches"):
        raise Failure("the subscription does not get this result", Exit.FAILED)
    if result_id is None and not outcome.get("delivered"):
        raise Failure("the test message was not delivered", Exit.FAILED)


@group.command()
@click.argument("subscription", metavar="NAME_OR_ID")
@click.option("--since", metavar="AGE", help="Only results of the last 30m, 6h, 2d.")
@as_json
def missing(subscription: str, since: str | None, as_json: bool) -> None:
    """List the results that it wants and does not have, newest first: `relay replay create --sub` sends them."""
    given = None if since is None else values.since("--since", since)
    with open_api() as api:
        items = list(api.pages(f"{SUBSCRIPTION.address(api, subscription)}/missing", {"since": given}))
    put_list(items, ("result_id", "type", "delivery_status", "fetched_at", "job_id"), as_json=as_json)


group.add_command(list_command(SUBSCRIPTION))
group.add_command(show_command(SUBSCRIPTION))
group.add_command(
    action_command(
        SUBSCRIPTION,
        "rotate-secret",
        "Make a new signing secret; both sign until the overlap is over.",
        done="has a new secret, which is shown only now",
        show="secret",
        options=[
            click.Option(["--overlap-seconds"], type=click.IntRange(min=0), help="How long the old one still signs."),
            click.Option(["--signing"], type=click.Choice(["hmac", "ed25519"]), help="To sign in another way."),
        ],
    )
)
group.add_command(action_command(SUBSCRIPTION, "pause", "Keep its deliveries until it is resumed.", done="paused"))
group.add_command(action_command(SUBSCRIPTION, "resume", "Send what has waited.", done="resumed"))
group.add_command(action_command(SUBSCRIPTION, "enable", "Take it into use again after a 410.", done="enabled"))
group.add_command(
    action_command(
        SUBSCRIPTION,
        "delete",
        "Delete it with its pending deliveries.",
        delete=True,
        done="deleted",
        ask=True,
    )
)
