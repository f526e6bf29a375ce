"""The pipeline on a real store, with the world outside as plain functions and time moved by hand.

    stage = await Stage.open(url)
    webhook = await stage.add_webhook()
    await stage.receive(webhook, {"response_url": URL})
    await stage.work_until_idle()

`work_until_idle` drives the two schedulers by their `run_once`; `supervise` and `elapse` run everything that Relay
runs, as it runs, while time passes. Neither sleeps: the only real waiting is for the database.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from relay.app.hands import DeliverHands, FetchHands, Platform, deliver_hands, fetch_hands
from relay.clock import Clock, Instant
from relay.errors import TimedOut
from relay.ids import new_id
from relay.model import (
    SUBSCRIPTION,
    WEBHOOK,
    Attempt,
    Delivery,
    Job,
    Notification,
    Result,
    Secret,
    Subscription,
    Webhook,
)
from relay.outbound.provider_door import ProviderRequest
from relay.pipeline.admission import TurnedAway
from relay.pipeline.bell import Bell
from relay.pipeline.bindings import Bindings
from relay.pipeline.breaker import Breakers
from relay.pipeline.cancel import Canceller
from relay.pipeline.capture import Captures
from relay.pipeline.concluding import Concluder
from relay.pipeline.deliver import Deliverer
from relay.pipeline.fanout import Fanout
from relay.pipeline.fetch import Fetcher, FetchLimits
from relay.pipeline.floor import Floor
from relay.pipeline.gate import OriginGate
from relay.pipeline.jwks import PublishedKeys
from relay.pipeline.payloads import Payloads
from relay.pipeline.prepare import Inbound
from relay.pipeline.pull import Puller
from relay.pipeline.receive import Answer, Receiver
from relay.pipeline.replay import Replayer
from relay.pipeline.track import Tracker
from relay.pipeline.under_way import UnderWay
from relay.pipeline.watch import Watch
from relay.providers.loader import load_profiles
from relay.signing.tokens import CallbackTokens, PayloadLinks
from relay.signing.vault import Vault
from relay.store import attempts, deliveries, jobs, notifications, results, schema, subscriptions, webhooks
from relay.store.configuration import ConfigurationCache
from relay.store.database import open_database
from relay.store.queue import QueueTable, due, next_due_at
from relay.store.rows import Connection
from relay.workers.shares import Share
from relay.workers.supervisor import Duty, Supervisor
from tests.support.doors import Page, PlainProvider, PlainSubscribers
from tests.support.quiet import CountedDatabase, QuietClock
from tests.support.store import DELIVERY_QUEUE, JOB_QUEUE, a_subscription, a_webhook, rows_of

ORIGIN = "https://provider.example"
URL = f"{ORIGIN}/results/1"
KEYS = (Secret("k" * 40),)
PUBLIC_URL = "https://relay.example"
SCHEDULE = (0.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 10800.0, 28800.0, 43200.0, 86400.0)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a stage is made with."""

    providers_dir: Path | None = None
    fetch_slots: int = 64
    delivery_slots: int = 256
    max_result_bytes: int = 32 * 1024 * 1024
    schedule: tuple[float, ...] = SCHEDULE
    lease_seconds: float = 30.0
    give_up_seconds: float = 72 * 3600.0
    disable_after_seconds: float | None = 5 * 86_400.0
    gate: Callable[[Clock, Callable[[str], str]], OriginGate] = OriginGate
    fetch_hands: Callable[..., FetchHands] = fetch_hands


DEFAULT_PLAN = Plan()


class Stage:
    """Every stage of the pipeline with its hands, as the composition root puts them together."""

    def __init__(self, database: CountedDatabase, clock: QuietClock, plan: Plan) -> None:
        self.database, self.clock, self.plan = database, clock, plan
        self.vault, self.tokens, self.links = Vault(KEYS), CallbackTokens(KEYS), PayloadLinks(KEYS)
        self.configuration = ConfigurationCache(database, self.vault.unseal, self._changed)
        self.floor = Floor(
            clock=clock,
            database=database,
            configuration=self.configuration,
            bindings=Bindings(load_profiles(plan.providers_dir)),
            payloads=Payloads(database, clock),
            captures=Captures(database),
            seal=self.vault.seal,
            unseal=self.vault.unseal,
            lease_seconds=plan.lease_seconds,
            give_up_seconds=plan.give_up_seconds,
        )
        self.provider, self.subscribers = PlainProvider(), PlainSubscribers(clock)
        self.gate = plan.gate(clock, self._origin_of)
        self.share = Share()
        self.may_take = True
        self.watch = Watch()
        self.under_way = UnderWay()
        self._put_together()

    def _put_together(self) -> None:
        floor, plan = self.floor, self.plan
        platform = Platform(self.database, self.configuration, self.clock, plan.lease_seconds, lambda: self.share)
        self.breakers = Breakers(self.database, self.clock, lambda: self.delivering.hint())
        self.deliverer = Deliverer(
            floor,
            self.subscribers,
            self._payload_url,
            self.breakers,
            schedule=plan.schedule,
            timeout_seconds=30.0,
            part_of=lambda rate: self.share.of_rate(rate),
            disable_after_seconds=plan.disable_after_seconds,
        )
        self.delivering: DeliverHands = deliver_hands(
            platform, self.deliverer.run, self.breakers, slots=plan.delivery_slots, timeout_seconds=30.0
        )
        self.bell = Bell()
        fanout = Fanout(self.clock, self.delivering, plan.lease_seconds, self.bell)
        limits = FetchLimits(120.0, plan.max_result_bytes)
        concluder = Concluder(floor, fanout, self.deliverer)
        self.fetcher = Fetcher(floor, self.provider, self.gate, concluder, limits)
        self.fetching = plan.fetch_hands(platform, self._fetch, self.gate, slots=plan.fetch_slots, max_seconds=120.0)
        published = PublishedKeys(self.provider, self.clock)
        self.receiver = Receiver(floor, self.tokens, self.fetching, published, lambda: self.may_take, self.under_way)
        canceller = Canceller(floor, self.provider, concluder, self.fetching, self.watch, 120.0)
        self.tracker = Tracker(floor, self.fetching, self.watch, canceller)
        self.replayer = Replayer(floor, self.delivering, bell=self.bell)
        self.puller = Puller(floor, self.deliverer, self.bell)
        self.supervisor = Supervisor(self.clock)

    @classmethod
    async def open(cls, url: str, plan: Plan = DEFAULT_PLAN) -> Stage:
        """On a database whose schema is current."""
        clock, database = QuietClock(), CountedDatabase(await open_database(url))
        clock.database = database
        stage = cls(database, clock, plan)
        await stage.configuration.refresh()
        return stage

    async def close(self) -> None:
        """Stop whatever runs, let go of the database."""
        await self.supervisor.stop()
        for hands in (self.fetching, self.delivering):
            await hands.crew.drain(0)
        await self.database.close()

    async def another(self) -> Stage:
        """A second process on the same database, at the same time."""
        stage = Stage(self.database, self.clock, self.plan)
        await stage.configuration.refresh()
        return stage

    async def _fetch(self, job: Job) -> None:
        self.fetching.took(job.webhook_id, await self.fetcher.run(job))
        self.watch.settled(job.id)

    def _changed(self) -> None:
        self.fetching.hint()
        self.delivering.hint()

    def _payload_url(self, result_id: str) -> str:
        token = self.links.mint(result_id, Instant(self.clock.now() + 7 * 86_400_000))
        return f"{PUBLIC_URL}/v1/results/{result_id}/payload?token={token}"

    def _origin_of(self, webhook_id: str) -> str:
        webhook = self.configuration.current.webhooks.get(webhook_id)
        binding = None if webhook is None else self.floor.bindings.of(webhook)
        return webhook_id if binding is None else binding.origin

    # --- what is registered ---

    async def add_webhook(self, **changes: Any) -> Webhook:
        """An active NetNut webhook whose results are at ORIGIN, unless said otherwise."""
        webhook_id = new_id(WEBHOOK, self.clock.now())
        webhook = a_webhook(**{"id": webhook_id, "name": webhook_id, **changes})
        await self.database.write(partial(webhooks.insert, webhook=webhook, seal=self.vault.seal))
        await self.configuration.refresh()
        return self.configuration.current.webhooks[webhook.id]

    async def change_webhook(self, webhook: Webhook, *, refresh: bool = True, **changes: Any) -> Webhook:
        """As a PATCH would; with `refresh=False` as if by another node, whose news have not come yet."""
        changed = replace(webhook, updated_at=self.clock.now(), **changes)
        await self.database.write(partial(webhooks.update, webhook=changed, seal=self.vault.seal))
        if refresh:
            await self.configuration.refresh()
        return changed

    async def add_subscription(self, *, refresh: bool = True, **changes: Any) -> Subscription:
        """An active one for everything, unless said otherwise."""
        row_id = new_id(SUBSCRIPTION, self.clock.now())
        subscription = a_subscription(**{"id": row_id, "name": row_id, **changes})
        await self.database.write(partial(subscriptions.insert, subscription=subscription, seal=self.vault.seal))
        if refresh:
            await self.configuration.refresh()
        return subscription

    async def change_subscription(self, subscription: Subscription, **changes: Any) -> Subscription:
        """As a PATCH would."""
        changed = replace(subscription, updated_at=self.clock.now(), **changes)
        await self.database.write(partial(subscriptions.update, subscription=changed, seal=self.vault.seal))
        await self.configuration.refresh()
        return changed

    # --- what happens ---

    async def receive(
        self,
        webhook: Webhook,
        body: object,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        suffix: str = "",
        query: str = "",
    ) -> Answer | TurnedAway:
        """One call to the callback URL. `body`: bytes as they are, anything else as JSON."""
        shown = self.tokens.mint(webhook.id, webhook.generation) if token is None else token
        admitted = await self.receiver.admit(shown, method)
        if isinstance(admitted, TurnedAway):
            return admitted
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = tuple((name.lower(), value) for name, value in (headers or {}).items())
        inbound = Inbound(method, suffix, query, given, content, self.clock.now())
        return await self.receiver.receive(admitted, inbound)

    async def never(self, request: ProviderRequest) -> Page:
        """A provider that takes the call and says nothing: until the clock is moved an hour on."""
        await self.clock.sleep(3600)
        raise TimedOut("no answer")

    async def accept(self, webhook: Webhook, body: object, **options: Any) -> Answer:
        """One call that is answered 200."""
        answer = await self.receive(webhook, body, **options)
        assert isinstance(answer, Answer) and answer.http_status == 200, answer
        return answer

    async def work_until_idle(self) -> None:
        """Have everything done that can be done now. What hangs in the world outside goes on hanging."""
        while True:
            await self.database.quiet()
            await self.breakers.refresh()
            await self.breakers.run_once()
            started = 0
            for hands in (self.fetching, self.delivering):
                hands.hint()
                started += await hands.scheduler.run_once()
            if not started:
                await self.database.quiet()
                return

    async def work_through(self, seconds: float) -> None:
        """Pass this much time, from one due moment to the next, and do what is due."""
        target = Instant(self.clock.now() + round(seconds * 1000))
        while True:
            await self.work_until_idle()
            waits = [at for at in await self.database.read(self._coming) if at <= target]
            if not waits:
                break
            self.clock.advance((min(waits) - self.clock.now()) / 1000)
        self.clock.advance((target - self.clock.now()) / 1000)
        await self.work_until_idle()

    def _coming(self, connection: Connection) -> list[Instant]:
        """The next moment of each queue, in one transaction: on PostgreSQL each is three round trips."""
        found = [self._next_due(connection, queue) for queue in (JOB_QUEUE, DELIVERY_QUEUE)]
        return [at for at in found if at is not None]

    def _next_due(self, connection: Connection, queue: QueueTable) -> Instant | None:
        """The next due moment; what is due and held back is looked at every second, or when a probe is due."""
        now = self.clock.now()
        coming = next_due_at(connection, queue=queue, now=now)
        waiting = due(connection, queue=queue, now=now, limit=500)
        held = [self.breakers.next_probe_at(item.lane) or now for item in waiting]
        soon = Instant(max(now + 1000, min(held, default=now)))
        return soon if waiting and (coming is None or coming > soon) else coming

    def supervise(self) -> None:
        """Start what `relay serve` starts for the two stages; then `elapse`."""
        for hands in (self.fetching, self.delivering):
            hands.supervise(self.supervisor)
        self.supervisor.watch_duty(Duty("breakers", self.breakers.run_once, 0.5))
        self.supervisor.watch_duty(Duty("configuration", self._look, 2.0))

    async def _look(self) -> int:
        await self.configuration.refresh()
        await self.breakers.refresh()
        return 0

    async def elapse(self, seconds: float) -> None:
        """Time passes: every sleeper wakes at its own moment, and everything that follows is done before the next."""
        await self.clock.elapse(seconds)

    # --- what is there ---

    async def job(self, job_id: str | None) -> Job:
        """A job that is there."""
        assert job_id is not None
        found = await self.database.read(partial(jobs.get, id=job_id))
        assert found is not None
        return found

    async def the_job(self) -> Job:
        """The only job."""
        [row] = await rows_of(self.database, schema.jobs)
        return await self.job(row["id"])

    async def notification(self, notification_id: str | None) -> Notification:
        """A notification that is there."""
        assert notification_id is not None
        found = await self.database.read(partial(notifications.get, id=notification_id))
        assert found is not None
        return found

    async def result(self, job_id: str | None) -> Result:
        """The newest result of a job."""
        assert job_id is not None
        found = await self.database.read(partial(results.latest_of_job, job_id=job_id))
        assert found is not None
        return found

    async def payload(self, result: Result) -> bytes:
        """The bytes of a result."""
        assert result.payload_id is not None
        return await self.floor.payloads.read(result.payload_id)

    async def deliveries(self) -> list[Delivery]:
        """All of them, oldest first."""
        rows = await rows_of(self.database, schema.deliveries)
        found = [await self.database.read(partial(deliveries.get, id=row["id"])) for row in rows]
        return [delivery for delivery in found if delivery is not None]

    async def attempts(self, owner_id: str) -> list[Attempt]:
        """Of a job or a delivery, oldest first."""
        return await self.database.read(partial(attempts.of, owner_id=owner_id))
