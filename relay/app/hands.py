"""The two working stages with everything that keeps them going, and what other stages may ask of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from relay.clock import Clock
from relay.ids import is_replayed
from relay.model import Job, SubscriptionStatus, WebhookStatus
from relay.pipeline.breaker import Breakers
from relay.pipeline.deliver import LONGEST_TIMEOUT_SECONDS
from relay.pipeline.fanout import DeliveryWork
from relay.store import deliveries, jobs, schema
from relay.store.configuration import ConfigurationCache
from relay.store.database import Database
from relay.store.queue import QueueTable, void_leases
from relay.workers.crew import Crew
from relay.workers.lanes import Policy, earliest_first, round_robin
from relay.workers.leases import LeaseKeeper
from relay.workers.scheduler import Scheduler
from relay.workers.shares import Share
from relay.workers.slots import Gate, LaneLimit, Slots
from relay.workers.supervisor import Duty, Supervisor

W = TypeVar("W")

MARGIN_SECONDS: Final = 30.0  # what a piece of work may take beyond its network calls
DELIVERY_SHARE: Final = 0.25  # of the free slots, for one subscription: half of a hundred may hang, nobody waits
REJECTED_RATE: Final = 1 / 60  # one question a minute while a provider refuses the credentials


@dataclass(frozen=True, slots=True)
class Platform:
    """What hands are made on."""

    database: Database
    configuration: ConfigurationCache
    clock: Clock
    lease_seconds: float
    share: Callable[[], Share]  # of the work, that this process has now


@dataclass(frozen=True, slots=True)
class Stage(Generic[W]):
    """Where a stage's work waits, whose turn it is, and how a claimed row becomes work."""

    name: str
    queue: QueueTable
    policy: Policy
    work_of: Callable[[Any], tuple[str, W]]


FETCH: Final[Stage[Job]] = Stage(
    "fetch",
    QueueTable(schema.jobs, lane="webhook_id", order="deadline"),
    earliest_first,
    lambda row: (row.webhook_id, jobs.read(row)),
)
DELIVER: Final[Stage[DeliveryWork]] = Stage(
    "deliver",
    QueueTable(schema.deliveries, lane="subscription_id", order="due_at", late=is_replayed),
    round_robin,
    lambda row: (row.subscription_id, DeliveryWork(deliveries.read(row))),
)


class Hands(Generic[W]):
    """One stage at work: crew, scheduler and lease keeper."""

    def __init__(
        self,
        stage: Stage[W],
        platform: Platform,
        *,
        slots: Slots,
        handle: Callable[[W], Awaitable[None]],
        open_lanes: Callable[[], Iterable[str]],
        max_seconds: float,
    ) -> None:
        queue = self._queue = stage.queue
        self._platform = platform
        self.crew: Crew[W] = Crew(
            stage.name,
            slots=slots,
            handle=handle,
            clock=platform.clock,
            max_seconds=max_seconds + MARGIN_SECONDS,
            on_free=lambda: self.scheduler.slot_freed(),
        )
        self.scheduler: Scheduler[W] = Scheduler(
            queue,
            database=platform.database,
            crew=self.crew,
            policy=stage.policy,
            clock=platform.clock,
            open_lanes=open_lanes,
            work_of=stage.work_of,
            lease_seconds=platform.lease_seconds,
        )
        self.leases = LeaseKeeper(
            queue,
            database=platform.database,
            crew=self.crew,
            clock=platform.clock,
            lease_seconds=platform.lease_seconds,
        )

    def supervise(self, supervisor: Supervisor) -> None:
        """Start working."""
        supervisor.watch(f"{self.crew.name}.scheduler", self.scheduler.run)
        supervisor.watch_duty(Duty(f"{self.crew.name}.leases", self.leases.run_once, self.leases.every_seconds))

    async def void_leases(self) -> None:
        """On SQLite: whatever was leased was leased by a process that is no more."""
        await self._platform.database.write(lambda connection: void_leases(connection, self._queue.table))

    async def drain(self, seconds: float) -> None:
        """Take nothing new; finish what is under way, or give it back."""
        self.scheduler.paused = True
        unfinished = await self.crew.drain(seconds)
        await self.leases.give_back(unfinished)

    # --- what other stages ask ---

    def reserve(self, lane: str) -> bool:
        """A slot for one piece of work of this lane, if one is free here and now."""
        return not self.scheduler.paused and self.crew.reserve(lane)

    def release(self, lane: str) -> None:
        """Give back a slot that was not used."""
        self.crew.release(lane)

    def hint(self) -> None:
        """Something became due."""
        self.scheduler.hint()


class FetchHands(Hands[Job]):
    """The fetch stage at work."""

    def start(self, job: Job) -> None:
        """Fetch a job that was inserted claimed, in the slot that was reserved."""
        self.crew.start(job.webhook_id, (job.id, job.claims), job)

    def took(self, webhook_id: str, calls: int) -> None:
        """A job that has its slot still took so many calls; its slot stands for one."""
        self.crew.slots.charge(webhook_id, calls - 1)


class DeliverHands(Hands[DeliveryWork]):
    """The deliver stage at work."""

    def start(self, work: DeliveryWork) -> None:
        """Send a delivery that was inserted claimed, in the slot that was reserved."""
        self.crew.start(work.delivery.subscription_id, (work.delivery.id, work.delivery.claims), work)


class NoHands:
    """For a process that only serves: others find the work."""

    def reserve(self, lane: str) -> bool:
        return False

    def release(self, lane: str) -> None:
        raise AssertionError("nothing was reserved")

    def start(self, work: object) -> None:
        raise AssertionError("nothing was reserved")

    def hint(self) -> None:
        return None


def fetch_hands(
    platform: Platform, handle: Callable[[Job], Awaitable[None]], gate: Gate, *, slots: int, max_seconds: float
) -> FetchHands:
    """Hands that fetch: the earliest deadline first, across all webhooks."""
    configuration = platform.configuration

    def limit_of(webhook_id: str) -> LaneLimit:
        webhook = configuration.current.webhooks.get(webhook_id)
        if webhook is None:
            return LaneLimit(True, 1)  # made by another node just now: the stage itself finds out
        if webhook.status is WebhookStatus.CREDENTIALS_REJECTED:
            return LaneLimit(True, 1, REJECTED_RATE)
        rate, share = webhook.fetch_rate_per_second, platform.share()
        return _limit(True, webhook.fetch_max_in_flight, rate, share)

    return FetchHands(
        FETCH,
        platform,
        slots=Slots(slots, limit_of, platform.clock, gate),
        handle=handle,
        open_lanes=lambda: configuration.current.webhooks,
        max_seconds=max_seconds,
    )


def deliver_hands(
    platform: Platform,
    handle: Callable[[DeliveryWork], Awaitable[None]],
    breakers: Breakers,
    *,
    slots: int,
    timeout_seconds: float,
) -> DeliverHands:
    """Hands that deliver: every subscription in turn, whatever its backlog; one that is down is left alone.

    `timeout_seconds` is for subscriptions that have none of their own.
    """
    configuration = platform.configuration

    def limit_of(subscription_id: str) -> LaneLimit:
        found = configuration.current.subscriptions.get(subscription_id)
        if found is None or found.deleted_at is not None:
            return LaneLimit(True, 1)  # the stage sets such deliveries aside
        is_open = found.status is SubscriptionStatus.ACTIVE and found.kind == "push"
        return _limit(is_open, found.max_in_flight, found.rate_per_second, platform.share())

    def open_lanes() -> list[str]:
        return [
            item.id
            for item in configuration.current.receiving_subscriptions()
            if configuration.current.may_deliver(item.id) and not breakers.holds(item.id)
        ]

    def probe_seconds(subscription_id: str) -> float | None:
        limit, found = limit_of(subscription_id), configuration.current.subscriptions.get(subscription_id)
        if not limit.open or not limit.max_in_flight:
            return None
        own = None if found is None else found.timeout_seconds
        return MARGIN_SECONDS + (timeout_seconds if own is None else own)

    breakers.probe_seconds = probe_seconds
    return DeliverHands(
        DELIVER,
        platform,
        slots=Slots(slots, limit_of, platform.clock, breakers, share=DELIVERY_SHARE),
        handle=handle,
        open_lanes=open_lanes,
        max_seconds=max(timeout_seconds, LONGEST_TIMEOUT_SECONDS),
    )


def _limit(is_open: bool, cap: int, rate: float | None, share: Share) -> LaneLimit:
    """This process's part of what a lane may take over all processes."""
    mine = None if rate is None else share.of_rate(rate)
    return LaneLimit(is_open and mine != 0, share.of_cap(cap), mine)
