"""The management API on a real store, without the parts that send and fetch: those are small functions here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
from starlette.applications import Starlette

from relay.ids import new_id
from relay.model import (
    ATTEMPT,
    EVENT,
    Attempt,
    Notification,
    NotificationStatus,
    Secret,
    Subscription,
    Trigger,
    Webhook,
)
from relay.outbound.deliveries import Refusal
from relay.pipeline.bell import Bell
from relay.pipeline.bindings import Bindings
from relay.pipeline.breaker import Breakers
from relay.pipeline.cancel import Canceller
from relay.pipeline.capture import Captures
from relay.pipeline.concluding import Concluder
from relay.pipeline.deliver import Deliverer
from relay.pipeline.fanout import Fanout
from relay.pipeline.floor import Floor
from relay.pipeline.outcomes import Refused
from relay.pipeline.payloads import Payloads
from relay.pipeline.pull import Puller
from relay.pipeline.replay import Replayer
from relay.pipeline.submit import SubmitLimits, Submitter
from relay.pipeline.track import Tracker
from relay.pipeline.under_way import UnderWay
from relay.pipeline.watch import Watch
from relay.providers.loader import load_profiles
from relay.providers.profile import Profile
from relay.signing.tokens import CallbackTokens, Cursors, PayloadLinks
from relay.signing.vault import Vault
from relay.store import notifications
from relay.store.configuration import ConfigurationCache
from relay.store.database import Database, open_database
from relay.store.migrate import upgrade
from relay.web.management import build_management_app
from relay.web.services import Services
from relay.web.sse import Streams
from tests.support.clock import FakeClock
from tests.support.doors import PlainProvider, PlainSubscribers
from tests.support.noun_rows import notification, put_notification

ADMIN_KEY = "an-admin-key-of-more-than-32-characters"
KEYS = (Secret("k" * 40),)
FORBIDDEN_URL = "https://inside.example/hooks"

# Asked so that it is refused: the stream itself has no end, and who collects whole answers would wait for it.
ENDED: Final = {"/v1/stream": "/v1/stream?types=none"}


class Hands:
    """Hands that are never free: all work waits in the database."""

    def reserve(self, lane: str) -> bool:
        return False

    def release(self, lane: str) -> None: ...

    def start(self, work: object) -> None: ...

    def hint(self) -> None: ...


@dataclass
class Outside:
    """What the API asks of the world: noted, and answered as the test wants."""

    database: Database
    clock: FakeClock
    hints: list[str] = field(default_factory=list)
    test_answer: tuple[int | None, str | None] = (200, None)
    reprocess_refusal: Refused | None = None

    def configuration_changed(self) -> None:
        self.hints.append("configuration")

    def jobs_due(self) -> None:
        self.hints.append("jobs")

    def deliveries_due(self) -> None:
        self.hints.append("deliveries")

    async def check(self, url: str) -> Refusal | None:
        if url == FORBIDDEN_URL:
            return Refusal("address_refused", "the URL leads to an address that is not public", "10.0.0.5/32:443")
        return None if url.startswith("https://") else Refusal("url_refused", "the scheme is not https or http", None)

    async def reprocess(self, notification_id: str) -> Notification | Refused | None:
        found = await self.database.read(lambda conn: notifications.get(conn, notification_id))
        return self.reprocess_refusal or found


class Tester:
    """Sends nothing and says what the test wants."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def test(self, subscription: Subscription) -> Attempt:
        status, code = self._outside.test_answer
        now = self._outside.clock.now()
        return Attempt(
            id=new_id(ATTEMPT, now),
            owner_id=new_id(EVENT, now),
            number=1,
            trigger=Trigger.NEW,
            started_at=now,
            duration_ms=12,
            http_status=status,
            error_code=code,
            response_excerpt=None,
        )


class Receiving:
    """Stores what a test notification would be."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def reprocess(self, notification_id: str) -> Notification | Refused | None:
        return await self._outside.reprocess(notification_id)

    async def test(self, webhook: Webhook) -> Notification:
        made = notification(webhook.id, self._outside.clock.now(), status=NotificationStatus.IGNORED)
        await self._outside.database.write(lambda conn: put_notification(conn, made))
        return made


@dataclass
class Management:
    """A running management API and a client that shows the admin key."""

    services: Services
    outside: Outside
    app: Starlette
    client: httpx2.AsyncClient
    floor: Floor
    bell: Bell
    replayer: Replayer

    @property
    def database(self) -> Database:
        return self.services.database

    async def make(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST and expect success."""
        answer = await self.client.post(path, json=body)
        assert answer.status_code in (200, 201, 202), answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def webhook(self, name: str = "netnut-prod", **more: Any) -> dict[str, Any]:
        """A registered webhook of the NetNut profile."""
        return await self.make("/v1/webhooks", webhook_body(name, **more))

    async def subscription(self, name: str = "billing", **more: Any) -> dict[str, Any]:
        """A subscription."""
        return await self.make("/v1/subscriptions", {"name": name, "url": "https://billing.example/hooks", **more})

    async def close(self) -> None:
        await self.client.aclose()
        await self.database.close()


def webhook_body(name: str = "netnut-prod", **more: Any) -> dict[str, Any]:
    """What the contract's example posts."""
    return {
        "name": name,
        "provider": "netnut",
        "credentials": {"username": "planted-username", "password": "planted-password"},
        "origins": ["https://llm-scraper.netnut.io"],
        **more,
    }


async def open_management(database_url: str, clock: FakeClock, *, migrate: bool = True) -> Management:
    """Everything, on a fresh database; `migrate=False` for one that has the schema already."""
    if migrate:
        await upgrade(database_url)
    database = await open_database(database_url)
    vault = Vault(KEYS)
    configuration = ConfigurationCache(database, vault.unseal)
    await configuration.refresh()
    profiles = load_profiles(None)
    floor = _floor(clock, configuration, database, vault, profiles)
    outside, bell = Outside(database, clock), Bell()
    replayer = Replayer(floor, Hands(), bell=bell)
    services = Services(
        database=database,
        configuration=configuration,
        vault=vault,
        clock=clock,
        callback_tokens=CallbackTokens(KEYS),
        payload_links=PayloadLinks(KEYS),
        cursors=Cursors(KEYS),
        profiles=profiles,
        admin_key=Secret(ADMIN_KEY),
        public_url="https://relay.example",
        tracker=_tracker(floor),
        submitter=_submitter(floor),
        receiver=Receiving(outside),
        replayer=replayer,
        puller=Puller(floor, _deliverer(floor), bell),
        tester=Tester(outside),
        door=outside,
        waker=outside,
        streams=Streams(),
        stopping=asyncio.Event(),
    )
    app = build_management_app(services)
    return Management(services, outside, app, client_of(app, ADMIN_KEY), floor, bell, replayer)


def _deliverer(floor: Floor) -> Deliverer:
    """Makes what is sent, and sends nothing."""
    return Deliverer(
        floor,
        PlainSubscribers(floor.clock),
        lambda id: f"https://relay.example/{id}",
        Breakers(floor.database, floor.clock),
        schedule=(0.0,),
        timeout_seconds=30.0,
    )


def _tracker(floor: Floor) -> Tracker:
    hands, watch = Hands(), Watch()
    breakers = Breakers(floor.database, floor.clock)
    deliverer = Deliverer(floor, PlainSubscribers(floor.clock), str, breakers, schedule=(), timeout_seconds=30.0)
    concluder = Concluder(floor, Fanout(floor.clock, hands, 30), deliverer)
    return Tracker(floor, hands, watch, Canceller(floor, PlainProvider(), concluder, hands, watch, 120.0))


def _submitter(floor: Floor) -> Submitter:
    limits = SubmitLimits(120.0, 1024 * 1024)
    tokens, hands = CallbackTokens(KEYS), Hands()
    return Submitter(
        floor, tokens, PlainProvider(), hands, UnderWay(), public_url="https://relay.example", limits=limits
    )


def _floor(
    clock: FakeClock,
    configuration: ConfigurationCache,
    database: Database,
    vault: Vault,
    profiles: Mapping[str, Profile],
) -> Floor:
    return Floor(
        clock=clock,
        database=database,
        configuration=configuration,
        bindings=Bindings(profiles),
        payloads=Payloads(database, clock),
        captures=Captures(database),
        seal=vault.seal,
        unseal=vault.unseal,
        lease_seconds=30,
        give_up_seconds=72 * 3600,
    )


def client_of(app: Starlette, key: str | None) -> httpx2.AsyncClient:
    """A client of the application, in this process."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    transport = httpx2.ASGITransport(app=app)
    return httpx2.AsyncClient(transport=transport, base_url="https://relay.example", headers=headers)
