"""A signing secret is rotated while deliveries flow: who verifies with the old one until the overlap is over, and with
the new one from then on, never refuses one. The judges are the official package, and `cryptography` for Ed25519."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import standardwebhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from relay.clock import Instant, SystemClock
from relay.demo.sink import Message
from tests.support.journey import World, travelling

OVERLAP_SECONDS: Final = 240.0  # the official package takes no timestamp that is further ahead than 5 min
EVERY_SECONDS: Final = 0.03
LEAST: Final = 10  # deliveries to each in each of the three spans, or the test has shown nothing


class MovedClock(SystemClock):
    """The machine's time, until the test moves on."""

    ahead_seconds = 0.0

    def now(self) -> Instant:
        return Instant(super().now() + round(self.ahead_seconds * 1000))


def _hmac(secret: str, message: Message) -> bool:
    try:
        standardwebhooks.Webhook(secret).verify(message.body, dict(message.headers))
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


def _ed25519(public_key: str, message: Message) -> bool:
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
    signed = f"{message.message_id}.{message.headers['webhook-timestamp']}.".encode() + message.body
    for item in message.headers["webhook-signature"].split(" "):
        try:
            if item.startswith("v1a,"):
                key.verify(base64.b64decode(item[4:]), signed)
                return True
        except InvalidSignature:
            continue
    return False


async def _load(world: World, webhook: Mapping[str, Any], stopped: asyncio.Event) -> None:
    while not stopped.is_set():
        await world.ask(webhook, "tea", later=False)
        await asyncio.sleep(EVERY_SECONDS)


async def _until_received(world: World, paths: Iterable[str]) -> None:
    """Return when each path has had `LEAST` deliveries more, and those that were under way."""
    had = Counter(message.path for message in world.sink.messages)
    while any(sum(message.path == path for message in world.sink.messages) < had[path] + 2 * LEAST for path in paths):
        await world.sink.after(world.sink.received)


async def test_no_delivery_fails_verification_while_secrets_are_rotated(sqlite_stage_url: str, tmp_path: Path) -> None:
    judges = {"/shared": _hmac, "/pair": _ed25519}
    keys: dict[str, list[str]] = {}
    clock = MovedClock()
    async with travelling(sqlite_stage_url, tmp_path, clock=clock) as world:
        webhook = await world.webhook()
        made = {
            "/shared": await world.post("/v1/subscriptions", _at(world, "/shared", "hmac")),
            "/pair": await world.post("/v1/subscriptions", _at(world, "/pair", "ed25519")),
        }
        stopped = asyncio.Event()
        load = asyncio.create_task(_load(world, webhook, stopped))
        await _until_received(world, made)
        rotating_at = clock.now()
        for path, subscription in made.items():
            rotate = f"/v1/subscriptions/{subscription['id']}/rotate-secret"
            changed = await world.post(rotate, {"overlap_seconds": OVERLAP_SECONDS})
            keys[path] = [each["secret"] or each["public_keys"][0] for each in (subscription, changed)]
        await _until_received(world, made)
        clock.ahead_seconds = OVERLAP_SECONDS
        over_at = clock.now()
        await _until_received(world, made)
        stopped.set()
        await load
        messages = list(world.sink.messages)
    for path, judge in judges.items():
        old, new = keys[path]
        mine = [message for message in messages if message.path == path]
        before = [message for message in mine if message.at < rotating_at]
        during = [message for message in mine if rotating_at <= message.at < over_at]
        after = [message for message in mine if message.at >= over_at]
        assert min(len(before), len(during), len(after)) >= LEAST
        assert all(judge(old, message) for message in (*before, *during))
        assert all(judge(new, message) for message in after)
        assert not any(judge(new, message) for message in before)
        assert not any(judge(old, message) for message in after[LEAST:])
        assert any(judge(new, message) for message in during)


def _at(world: World, path: str, signing: str) -> dict[str, Any]:
    return {"name": path[1:], "url": world.sink.url + path, "signing": signing}
