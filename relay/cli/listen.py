"""`relay listen`: results on this machine, without a public address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from relay.cli.exits import Exit, Failure
from relay.cli.nouns import SUBSCRIPTION, WEBHOOK
from relay.cli.output import note, put
from relay.cli.session import drop_none, find_id, open_api, segment
from relay.cli.state import StateLine, clock_time, ended_by_signals, pausing
from relay.errors import RelayError

if TYPE_CHECKING:
    from relay.client.forward import Answered
    from relay.client.http import Api
    from relay.client.listen import Message


@click.command()
@click.argument("url", required=False)
@click.option("--webhook", "webhooks", multiple=True, metavar="NAME_OR_ID", help="Only results of this webhook.")
@click.option("--type", "event_types", multiple=True, help="Only this type, for example result.completed.")
@click.option("--keep", metavar="NAME", help="Use the pull subscription of this name, made if there is none; leave it.")
@click.option("--print-secret", is_flag=True, help="Print the secret that signs what comes, and nothing else.")
def listen(
    url: str | None, webhooks: tuple[str, ...], event_types: tuple[str, ...], keep: str | None, print_secret: bool
) -> None:
    """Bring results to a server on this machine, for example http://localhost:3000/hook, until Ctrl-C.

    Each is sent as a relay would send it, with the same headers and bytes, and counts as delivered when the server
    answers 2xx; otherwise it comes again, later each time. Nothing is lost while the relay, this machine or the server
    is away: what was missed comes when they are back.
    """
    from relay.client.listen import local_secret

    with open_api() as api:
        if print_secret:
            if api.api_key is not None:
                put(local_secret(api.api_key))
            return
        subscription = _subscription(api, _checked(url), webhooks, event_types, keep)
        try:
            with ended_by_signals():
                _listen(api, subscription, _checked(url))
        finally:
            if keep is None:
                _remove(api, subscription)


def _checked(url: str | None) -> str:
    if url is None or not _is_address(url):
        raise click.UsageError("say where to send results, for example http://localhost:3000/hook")
    return url


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is none
        return False


def _subscription(
    api: Api, url: str, webhooks: tuple[str, ...], event_types: tuple[str, ...], keep: str | None
) -> dict[str, Any]:
    """The pull subscription to take from: the one that is kept, else a new one."""
    from relay.client.listen import local_secret
    from relay.clock import SystemClock
    from relay.ids import new_id
    from relay.model import SUBSCRIPTION as PREFIX

    found = None if keep is None else _kept(api, keep)
    if found is not None:
        if webhooks or event_types:
            note(f"{keep} is there already: its own filters stay")
        return found
    body = {
        "name": keep or f"listen-{new_id(PREFIX, SystemClock().now())[-12:]}",
        "kind": "pull",
        "webhook_ids": [find_id(api, WEBHOOK.path, WEBHOOK.prefix, one) for one in webhooks] or None,
        "event_types": list(event_types) or None,
        "secret": None if api.api_key is None else local_secret(api.api_key),
        "metadata": {"made_by": "relay listen", "url": url},
    }
    made: dict[str, Any] = api.call("POST", SUBSCRIPTION.path, body=drop_none(body))
    return made


def _kept(api: Api, name: str) -> dict[str, Any] | None:
    for item in api.pages(SUBSCRIPTION.path, {}):
        if item.get("name") == name:
            if item.get("kind") != "pull":
                raise Failure(f"the subscription {name!r} is not a pull subscription", Exit.CONFLICT)
            return item
    return None


def _listen(api: Api, subscription: dict[str, Any], url: str) -> None:
    from relay.client.forward import Forwarder
    from relay.client.listen import Listener
    from relay.clock import SystemClock

    clock = SystemClock()
    watcher = Lines(url)
    with Forwarder(url, clock) as forward:
        listener = Listener(api, str(subscription["id"]), forward, watcher, clock, pausing(clock))
        note(f"ready  {subscription['name']} at {api.url} → {url}  (relay listen --print-secret: what signs it)")
        try:
            while True:
                listener.step()
        except KeyboardInterrupt:
            watcher.line.clear()
            try:
                listener.finish()
            except RelayError as error:
                note(f"the last message comes again: {error}")


def _remove(api: Api, subscription: dict[str, Any]) -> None:
    try:
        api.call("DELETE", f"{SUBSCRIPTION.path}/{segment(str(subscription['id']))}")
    except RelayError as error:
        note(f"the temporary subscription {subscription['name']} is still there ({error}): relay sub delete it")


class Lines:
    """A line for each message and each change of the connection."""

    def __init__(self, url: str) -> None:
        self._path = urlsplit(url).path or "/"
        self.line = StateLine()
        self._handled = 0

    def handled(self, message: Message, answered: Answered, retry_seconds: float | None) -> None:
        self._handled += 1
        outcome = answered.error if answered.status is None else str(answered.status)
        later = "" if retry_seconds is None else f"  comes again in {retry_seconds:.0f} s"
        self.line.clear()
        put(
            f"{clock_time()}  {outcome}  POST {self._path}  {answered.duration_ms} ms  {message.id}  {_type(message)}"
            f"  {len(message.body)} B{later}"
        )

    def lost(self, reason: str) -> None:
        self.line.clear()
        note(f"{clock_time()}  connection lost: {reason}; trying again")

    def back(self, seconds: float) -> None:
        note(f"{clock_time()}  reconnected after {seconds:.0f} s")

    def woke(self, seconds: float) -> None:
        self.line.clear()
        note(f"{clock_time()}  this machine was asleep for {seconds:.0f} s")

    def missed(self, count: int) -> None:
        self.line.clear()
        note(f"{clock_time()}  {count} missed {'message' if count == 1 else 'messages'} delivered")

    def alive(self) -> None:
        self.line.show(f"connected, last heard from at {clock_time()}, {self._handled} messages")


def _type(message: Message) -> str:
    import json

    try:
        return str(json.loads(message.body)["type"])
    except (ValueError, KeyError, TypeError):
        return message.headers.get("content-type", "")
