"""`relay delivery`: one result to one subscription, with its attempts."""

from __future__ import annotations

import click

from relay.cli.listed import Listed
from relay.cli.noun import action_command, list_command, show_command, text_filter
from relay.cli.nouns import DELIVERY, SUBSCRIPTION


@click.group(name="delivery", cls=Listed)
def group() -> None:
    """One result to one subscription, with its attempts."""


group.add_command(
    list_command(
        DELIVERY,
        [
            text_filter("--sub", "subscription_id", "Only to this subscription."),
            text_filter("--status", "status", "pending, delivered, exhausted or cancelled."),
            text_filter("--result", "result_id", "Only of this result."),
            text_filter("--job", "job_id", "Only of this job."),
            text_filter("--replay", "replay_id", "Only of this replay."),
            text_filter("--created-after", "created_after", "An RFC 3339 time."),
            text_filter("--created-before", "created_before", "An RFC 3339 time."),
        ],
        resolve={"subscription_id": SUBSCRIPTION},
    )
)
group.add_command(show_command(DELIVERY))
group.add_command(
    action_command(DELIVERY, "retry", "Send it again, with a fresh budget of attempts.", done="will be sent")
)
group.add_command(action_command(DELIVERY, "cancel", "Give it up.", done="cancelled"))
