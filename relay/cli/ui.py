"""`relay ui`: a link that signs in to the dashboard."""

from __future__ import annotations

import click

from relay.cli.output import note


@click.command()
def ui() -> None:
    """Print a link that signs you in to the dashboard as the administrator, once and in the next ten minutes.

    It is made with the secret keys of the relay, so this runs where the relay runs, with the relay's settings.
    Elsewhere sign in with an API key at /ui/.
    """
    from relay import settings
    from relay.clock import SystemClock
    from relay.signing.browser import sign_in_url

    loaded = settings.ensure_secrets(settings.load())
    click.echo(sign_in_url(loaded.url, loaded.secret_keys, SystemClock().now()))
    note("good once, for ten minutes")
