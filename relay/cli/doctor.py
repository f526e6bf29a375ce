"""`relay doctor`: what people get wrong, one line for each check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from relay.cli.exits import Exit
from relay.cli.noun import as_json
from relay.cli.output import note, put, put_json
from relay.errors import SettingError

if TYPE_CHECKING:
    from relay.doctor.findings import Finding
    from relay.settings import Settings

OF_A_SERVER: Final = frozenset({"database_url", "data_dir", "public_url", "secret_keys", "management_port"})


@click.command()
@as_json
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Look for what people get wrong: on this machine's settings and, with RELAY_URL, at a relay that runs.

    One line for each check: ok, warn or fail, and what to do. Exit 1 if anything fails, 2 if a setting is wrong.
    """
    from relay import settings
    from relay.doctor.findings import Level, fail

    code = Exit.OK
    try:
        found = list(_examine(settings.load()))
    except SettingError as error:
        found, code = [fail("settings", str(error), "mend the setting")], Exit.USAGE
    failed = [finding for finding in found if finding.level is Level.FAIL]
    if as_json:
        shown = [{"check": one.check, "level": one.level, "says": one.says, "advice": one.advice} for one in found]
        put_json({"ok": not failed, "findings": shown})
    else:
        for one in found:
            advice = f" → {one.advice}" if one.advice else ""
            put(f"{one.level.value:<4}  {one.check:<13} {one.says}{advice}")
    if failed:
        note(f"{len(failed)} of {len(found)} checks failed")
    ctx.exit(code or (Exit.FAILED if failed else Exit.OK))


def _examine(loaded: Settings) -> Iterator[Finding]:
    from relay.clock import SystemClock
    from relay.doctor import outside
    from relay.settings import stored_admin_key

    clock, named = SystemClock(), "url" in loaded.model_fields_set
    if not named or loaded.model_fields_set & OF_A_SERVER or loaded.data_dir.exists():
        yield from _of_this_machine(loaded)
    key = loaded.api_key
    if key is None and not named:  # the key of this machine's relay goes to no other
        key = loaded.admin_key or stored_admin_key(loaded)
    found = list(outside.running(loaded.url, key, clock, expected=named))
    yield from found
    if key is not None and outside.is_local(loaded.url) and any(one.check == "key" for one in found):
        yield from outside.subscribers(loaded, key, clock)


def _of_this_machine(loaded: Settings) -> Iterator[Finding]:
    import asyncio

    from relay.clock import SystemClock
    from relay.doctor import local, outside, stored
    from relay.doctor.findings import ok

    settings = local.with_kept_keys(loaded)
    yield ok("settings", "every one is understood")
    yield from local.keys(settings)
    yield from local.directory(settings)
    yield from local.disk(settings)
    yield from local.egress(settings)
    yield from local.profiles(settings)
    yield from asyncio.run(stored.database(settings, SystemClock()))
    yield from local.public_url(settings)
    if "public_url" in settings.model_fields_set:
        yield from outside.proxy(settings)
