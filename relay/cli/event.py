"""`relay event`: what Relay had to say about itself."""

from __future__ import annotations

import click

from relay.cli.listed import Listed
from relay.cli.noun import list_command, show_command, text_filter
from relay.cli.nouns import EVENT


@click.group(name="event", cls=Listed)
def group() -> None:
    """Operational events: a job that may expire, a subscription that was disabled."""


group.add_command(
    list_command(
        EVENT,
        [
            text_filter("--type", "type", "job.expiring, subscription.disabled."),
            text_filter("--subject", "subject_id", "The id of the job or the subscription."),
            text_filter("--created-after", "created_after", "From this RFC 3339 time on."),
            text_filter("--created-before", "created_before", "Before this RFC 3339 time."),
        ],
    )
)
group.add_command(show_command(EVENT))
