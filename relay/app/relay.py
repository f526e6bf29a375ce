"""The stages and the edge put together: one object that starts and stops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Final

import structlog

from relay import __version__
from relay.app import calls, duties, edge, guards, serving
from relay.app.hands import DeliverHands, FetchHands, NoHands, Platform, deliver_hands, fetch_hands
from relay.clock import Clock, CorrectedClock, SystemClock
from relay.ids import new_id
from relay.model import Job
from relay.outbound.addresses import AddressPolicy
from relay.outbound.deliveries import DeliveryDoor
from relay.outbound.provider_door import ProviderDoor
from relay.pipeline.bell import Bell
from relay.pipeline.bindings import Bindings
from relay.pipeline.breaker import Breakers
from relay.pipeline.capture import Captures
from relay.pipeline.concluding import Concluder
from relay.pipeline.deliver import Deliverer
from relay.pipeline.expiring import ExpiringJobs
from relay.pipeline.fanout import Fanout
from relay.pipeline.fetch import Fetcher, FetchLimits
from relay.pipeline.floor import Floor
from relay.pipeline.gate import OriginGate
from relay.pipeline.jwks import PublishedKeys
from relay.pipeline.payloads import Payloads
from relay.pipeline.probe import SubscriptionProbe
from relay.pipeline.pull import Puller
from relay.pipeline.receive import Receiver
from relay.pipeline.replay import Replayer
from relay.pipeline.under_way import UnderWay
from relay.pipeline.watch import Watch
from relay.providers.loader import load_profiles
from relay.settings import Settings
from relay.signing.tokens import CallbackTokens, PayloadLinks
from relay.signing.vault import Vault
from relay.store import configuration as configuration_store
from relay.store import migrate, nodes
from relay.store.configuration import ConfigurationCache
from relay.store.database import open_database
from relay.tracing import open_tracer
from relay.web.callback import CallbackEndpoint
from relay.web.playground import Playground
from relay.web.server import Server
from relay.web.sse import Streams
from relay.workers import housekeeping
from relay.workers.heartbeat import Heartbeat
from relay.workers.supervisor import Duty, Supervisor

log = structlog.get_logger(__name__)

CONFIGURATION_SECONDS: Final = 2.0  # how soon another node's change is seen when nothing is stored or claimed
PROBE_SECONDS: Final = 0.5
EXPIRING_SECONDS: Final = 15.0
DISK_SECONDS: Final = 2.0


class Relay:
    """A relay in this process: serving, working, or both. `start` it once, then `stop` it.

    `bound` is a socket that has the settings' port already; it is closed with the rest. `health_port` is where
    a process that serves nothing else answers for its health and shows its metrics. A `playground` is listening
    already, and is stopped by who started it; this relay may call its exact addresses.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        serves: bool = True,
        works: bool = True,
        clock: Clock | None = None,
        bound: socket.socket | None = None,
        health_port: int | None = None,
        playground: Playground | None = None,
    ) -> None:
        self.settings = settings
        self._bound = bound
        self._health_port = health_port
        self.playground = playground
        self.clock: Clock = clock or SystemClock()
        self.stopping = asyncio.Event()
        self.bell = Bell()
        self.failed = asyncio.Event()  # set when the database file could not be synced: stop and start again
        self._serves = serves
        self._works = works
        self._draining = False
        self.disk: guards.DiskGuard | None = None
        self.supervisor = Supervisor(self.clock)
        self.server: Server | None = None
        self.callback: CallbackEndpoint | None = None
        self.streams = Streams()
        self.fetching: FetchHands | None = None
        self.delivering: DeliverHands | None = None

    # --- starting ---

    async def start(self) -> None:
        """Open the database, put everything together, listen and work.

        Raises SettingError, SchemaStale, AlreadyRunning, StoreUnavailable, or OSError when a port cannot be had.
        """
        settings = self.settings
        if settings.is_sqlite:
            await migrate.upgrade(settings.database_url)
        else:
            await migrate.check(settings.database_url)
        loop = asyncio.get_running_loop()

        def on_fatal() -> None:
            loop.call_soon_threadsafe(self.failed.set)

        self.database = await open_database(settings.database_url, on_fatal=on_fatal)
        try:
            await self._assemble()
            await self._begin()
        except BaseException:
            await self._close()
            raise

    async def _assemble(self) -> None:
        settings, clock = self.settings, self.clock
        self.vault = Vault(settings.secret_keys)
        self.tokens = CallbackTokens(settings.secret_keys)
        self.links = PayloadLinks(settings.secret_keys)
        self.profiles = load_profiles(settings.own_profiles)
        await guards.check_keys(self.database, self.vault, clock)
        self.configuration = ConfigurationCache(self.database, self.vault.unseal)
        await guards.load_configuration(self.configuration)
        role = nodes.WORKER if self._works else "server"
        self.heartbeat = Heartbeat(new_id("node", clock.now()), role, self.database, clock)
        if not settings.is_sqlite:  # by a clock that is ahead nobody would do before hours are over what is due now
            clock = self.clock = CorrectedClock(clock, lambda: self.heartbeat.ahead_seconds)
        self.floor = Floor(
            clock=clock,
            database=self.database,
            configuration=self.configuration,
            bindings=Bindings(self.profiles),
            payloads=Payloads(self.database, clock),
            captures=Captures(self.database),
            seal=self.vault.seal,
            unseal=self.vault.unseal,
            lease_seconds=settings.lease_seconds,
            give_up_seconds=settings.give_up_hours * 3600,
            tracer=open_tracer(settings.trace_endpoint, __version__),
        )
        self._open_doors()
        self._assemble_stages()
        self.configuration.on_change = self._configuration_changed

    def _open_doors(self) -> None:
        settings, played = self.settings, self.playground
        if played is not None:
            played.plays_for(settings)
        subscribers = () if played is None else played.subscriber_addresses
        providers = () if played is None else played.provider_addresses
        self.deliveries_door = DeliveryDoor(
            AddressPolicy((*settings.egress_allow, *subscribers)), self.clock, max_connections=settings.delivery_slots
        )
        policy = AddressPolicy((*settings.provider_egress_allow, *providers))
        self.providers_door = ProviderDoor(policy, self.clock, max_connections=settings.fetch_slots)

    def _assemble_stages(self) -> None:
        settings, floor = self.settings, self.floor
        self.watch = Watch()
        self.gate = OriginGate(self.clock, self._origin_of)
        self.breakers = Breakers(self.database, self.clock, self.deliveries_due)
        deliverer = self.deliverer = Deliverer(
            floor,
            self.deliveries_door,
            edge.payload_urls(settings, self.links, self.clock),
            self.breakers,
            schedule=settings.delivery_schedule_seconds,
            timeout_seconds=settings.delivery_timeout_seconds,
            part_of=lambda rate: self.heartbeat.share.of_rate(rate),
            disable_after_seconds=settings.disable_after_days * 86_400 or None,
        )
        platform = Platform(
            self.database, self.configuration, self.clock, settings.lease_seconds, lambda: self.heartbeat.share
        )
        delivering: DeliverHands | NoHands = NoHands()
        fetching: FetchHands | NoHands = NoHands()
        if self._works:
            delivering = self.delivering = deliver_hands(
                platform,
                deliverer.run,
                self.breakers,
                slots=settings.delivery_slots,
                timeout_seconds=settings.delivery_timeout_seconds,
            )
        fanout = Fanout(self.clock, delivering, settings.lease_seconds, self.bell)
        limits = FetchLimits(settings.fetch_timeout_seconds, settings.max_result_bytes)
        concluder = Concluder(floor, fanout, deliverer)
        self.fetcher = Fetcher(floor, self.providers_door, self.gate, concluder, limits)
        if self._works:
            fetching = self.fetching = fetch_hands(
                platform,
                self._fetch,
                self.gate,
                slots=settings.fetch_slots,
                max_seconds=settings.fetch_timeout_seconds,
            )
        published = PublishedKeys(self.providers_door, self.clock)
        under_way = UnderWay()
        self.receiver = Receiver(floor, self.tokens, fetching, published, self._may_take, under_way)
        self.tracker = calls.tracker(settings, floor, self.providers_door, concluder, fetching, self.watch)
        self.submitter = calls.submitter(settings, floor, self.tokens, self.providers_door, fetching, under_way)
        self.replayer = Replayer(floor, delivering, bell=self.bell, may_plan=lambda: self.heartbeat.clock_is_right)
        self.puller = Puller(floor, deliverer, self.bell)
        self.probe = SubscriptionProbe(floor, self.deliveries_door, settings.delivery_timeout_seconds)

    async def _fetch(self, job: Job) -> None:
        calls = await self.fetcher.run(job)
        if self.fetching is not None:
            self.fetching.took(job.webhook_id, calls)
        self.watch.settled(job.id)

    async def _begin(self) -> None:
        watch = self.supervisor.watch_duty
        await self.heartbeat.run_once()  # before any work: it tells what part of the work is ours, if any
        self._pause_if(not self.heartbeat.clock_is_right)
        if self._works:
            await self._begin_work()
        watch(Duty("heartbeat", self.heartbeat.run_once, self.heartbeat.every_seconds))
        watch(Duty("configuration", self._look_for_changes, CONFIGURATION_SECONDS))
        for duty in duties.gathered(self.floor):
            watch(duty)
        if self.settings.is_sqlite:
            self.disk = guards.DiskGuard(self.settings.sqlite_path.parent, self.settings.free_disk_floor_bytes)
            await self.disk.run_once()
            watch(Duty("disk", self.disk.run_once, DISK_SECONDS))
        if sites := serving.listening(self, serves=self._serves, health_port=self._health_port, bound=self._bound):
            self.server = Server(sites, self.clock, shutdown_seconds=self.settings.shutdown_seconds)
            await self.server.start()

    async def _begin_work(self) -> None:
        await self.breakers.refresh()
        for hands in (self.fetching, self.delivering):
            if hands is not None:
                if self.database.is_sqlite:
                    await hands.void_leases()
                hands.supervise(self.supervisor)
        expiring = ExpiringJobs(self.floor, self.deliveries_due, before_seconds=self.settings.expiring_seconds)
        timed = [
            Duty("expiring", expiring.run_once, EXPIRING_SECONDS),
            Duty("breakers", self.breakers.run_once, PROBE_SECONDS),  # a probe that is taken has to be made
        ]
        self.supervisor.watch("replays", self.replayer.run)
        timed += housekeeping.duties(
            self.database, self.configuration, self.clock,
            retention_days=self.settings.retention_days, deletes=self.settings.retention == "on",
        )  # fmt: skip
        for duty in timed:
            self.supervisor.watch_duty(duties.while_it_may(duty, self._may_begin))

    # --- the edge ---

    async def components(self) -> Mapping[str, str | bool]:
        """The state of each part, for `/readyz`."""
        states: dict[str, str | bool] = {"serving": "draining" if self._draining else "ok"}
        await self.database.read(configuration_store.current_version)
        states["database"] = "ok"
        states["clock"] = self.heartbeat.clock_is_right or "skewed"
        if not self._may_take():
            states["disk"] = "low"
        return states

    # --- hints and states ---

    def configuration_changed(self) -> None:
        """A webhook, subscription or key changed here: look at once."""
        self.supervisor.soon(self._look_for_changes)

    def jobs_due(self) -> None:
        """Some job may be due."""
        if self.fetching is not None:
            self.fetching.hint()

    def deliveries_due(self) -> None:
        """Some delivery may be due, or may be taken."""
        self.bell.ring_all()
        if self.delivering is not None:
            self.delivering.hint()

    def _configuration_changed(self) -> None:
        self.deliverer.outgoing.forget_bodies()  # a payload may have been erased
        self.jobs_due()
        self.deliveries_due()

    async def _look_for_changes(self) -> int:
        await self.configuration.refresh()
        if self._works:
            await self.breakers.refresh()
        self._pause_if(not self.heartbeat.clock_is_right)
        return 0

    def _pause_if(self, wrong: bool) -> None:
        for hands in (self.fetching, self.delivering):
            if hands is not None and not self._draining:
                hands.scheduler.paused = wrong

    def _may_begin(self) -> bool:
        return self.heartbeat.clock_is_right and not self._draining

    def _may_take(self) -> bool:
        return self.disk is None or not self.disk.is_low

    def _origin_of(self, webhook_id: str) -> str:
        webhook = self.configuration.current.webhooks.get(webhook_id)
        binding = None if webhook is None else self.floor.bindings.of(webhook)
        return webhook_id if binding is None else binding.origin

    # --- stopping ---

    async def stop(self) -> None:
        """Take nothing new, finish what is under way or give it back, let go of everything."""
        self._draining = True
        self.stopping.set()
        seconds = self.settings.shutdown_seconds
        tasks = [hands.drain(seconds) for hands in (self.fetching, self.delivering) if hands is not None]
        if self.server is not None:
            tasks += [self.server.stop(), self.submitter.drain(seconds)]
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.warning("stop.incomplete", reason=type(outcome).__name__)
        await self._close()

    async def _close(self) -> None:
        await self.supervisor.stop()
        await duties.write_last_counts(getattr(self, "floor", None))
        if hasattr(self, "heartbeat"):
            try:
                await self.heartbeat.leave()
            except Exception as error:
                log.warning("stop.incomplete", reason=type(error).__name__)
        for door in (getattr(self, "deliveries_door", None), getattr(self, "providers_door", None)):
            if door is not None:
                await door.close()
        if hasattr(self, "floor") and self.floor.tracer is not None:
            await asyncio.to_thread(self.floor.tracer.close)
        await self.database.close()
