"""`relay ui`: a link that signs in to the dashboard."""

from __future__ import annotations

import click

from relay.cli.output import note
from relay.errors import SettingError

NO_KEYS = (
    "RELAY_SECRET_KEYS is not set and {} has no keys of a relay: run this where the relay runs, with its settings, or"
    " sign in with an API key at /ui/"
)


@click.command()
def ui() -> None:
    """Print a link that signs you in to the dashboard as the administrator, once and in the next ten minutes.

    It is made with the secret keys of the relay, so this runs where the relay runs, with the relay's settings.
    Elsewhere sign in with an API key at /ui/.
    """
    from relay import settings
    from relay.clock import SystemClock
    from relay.doctor.local import with_kept_keys
    from relay.signing.browser import sign_in_url

    loaded = with_kept_keys(settings.load())
    if not loaded.secret_keys:  # a link made with new ones would open nothing
        raise SettingError(NO_KEYS.format(loaded.data_dir))
    click.echo(sign_in_url(loaded.url, loaded.secret_keys, SystemClock().now()))
    note("good once, for ten minutes")
