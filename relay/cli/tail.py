"""`relay tail`: what happens, line by line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from relay.cli.noun import as_json
from relay.cli.nouns import WEBHOOK
from relay.cli.output import note, put
from relay.cli.session import find_id, open_api
from relay.cli.state import clock_time, pausing
from relay.cli.text import safe_json

SHOWN = ("provider_job_id", "job_id", "subscription_id", "http_status", "reason", "last_error", "error")


@click.command()
@click.option("--webhook", metavar="NAME_OR_ID", help="Only what is about this webhook.")
@click.option("--type", "types", multiple=True, help="Only this noun or type: result, delivery.exhausted and so on.")
@as_json
def tail(webhook: str | None, types: tuple[str, ...], as_json: bool) -> None:
    """Print notifications, jobs, results and deliveries as they change, a line for each, until Ctrl-C.

    For looking: it goes on after a break where it stopped, up to an hour back. --json prints the events as they come.
    """
    from relay.client.blocking.watch import Stream
    from relay.clock import SystemClock

    clock = SystemClock()
    with open_api() as api:
        webhook_id = None if webhook is None else find_id(api, WEBHOOK.path, WEBHOOK.prefix, webhook)
        params = {"webhook_id": webhook_id, "types": ",".join(types) or None}
        for event in Stream(api, params, States(api.url), clock, pausing(clock)).events():
            put(safe_json(json.dumps(event, ensure_ascii=False, separators=(",", ":"))) if as_json else line(event))


def line(event: Mapping[str, Any]) -> str:
    """One event for people."""
    data = event.get("data")
    item: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    if "id" not in item:
        return f"{event.get('type')}  {event.get('since', '')} to {event.get('until', '')}"
    more = [f"{name}={item[name]}" for name in SHOWN if item.get(name) is not None]
    return " ".join("  ".join([str(event.get("timestamp")), f"{event.get('type'):<24}", item["id"], *more]).split("\n"))


class States:
    """Says when the connection changes."""

    def __init__(self, url: str) -> None:
        self._url = url

    def connected(self) -> None:
        note(f"ready  watching {self._url}")

    def lost(self, reason: str) -> None:
        note(f"{clock_time()}  connection lost: {reason}; trying again")

    def back(self, seconds: float) -> None:
        note(f"{clock_time()}  reconnected after {seconds:.0f} s; what was missed follows")
