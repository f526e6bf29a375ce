"""`relay notification`: inbound calls as they were received."""

from __future__ import annotations

import click

from relay.cli.listed import Listed
from relay.cli.noun import action_command, list_command, show_command, text_filter
from relay.cli.nouns import NOTIFICATION, WEBHOOK


@click.group(name="notification", cls=Listed)
def group() -> None:
    """Inbound calls to callback URLs, as received."""


group.add_command(
    list_command(
        NOTIFICATION,
        [
            text_filter("--webhook", "webhook_id", "Only of this webhook."),
            text_filter("--status", "status", "accepted, ignored, unprocessable or rejected."),
            text_filter("--job", "job_id", "Only of this job."),
            text_filter("--created-after", "created_after", "An RFC 3339 time."),
            text_filter("--created-before", "created_before", "An RFC 3339 time."),
        ],
        resolve={"webhook_id": WEBHOOK},
    )
)
group.add_command(show_command(NOTIFICATION))
group.add_command(
    action_command(
        NOTIFICATION, "reprocess", "Judge it once more, as if it had just come.", done="is processed once more"
    )
)
