"""What a running relay knows of itself without counting: the gauges of `/metrics`."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector

import relay
from relay.clock import Clock
from relay.metrics import Metrics, Sample
from relay.model import Subscription, SubscriptionStatus, Webhook, WebhookStatus
from relay.store import backlog
from relay.store.backlog import Backlog, Waiting
from relay.store.configuration import ConfigurationCache
from relay.store.database import Database

if TYPE_CHECKING:
    from relay.app.relay import Relay

Named = TypeVar("Named", Webhook, Subscription)

FRESH_SECONDS: Final = 10.0  # however many look, the queues are looked at this often
PATIENCE_SECONDS: Final = 2.0


class BacklogWatch:
    """The queues as they were a few seconds ago. Looked at only when somebody asks for metrics."""

    def __init__(self, database: Database, configuration: ConfigurationCache, clock: Clock, metrics: Metrics) -> None:
        self._database = database
        self._configuration = configuration
        self._clock = clock
        self._read_at: float | None = None
        self._found: Backlog | None = None
        self._reading = asyncio.Lock()
        metrics.read(self._samples)

    async def refresh(self) -> None:
        """Look again if the last look is too old. A database that does not answer leaves its gauges out."""
        async with self._reading:
            now = self._clock.monotonic()
            if self._read_at is not None and now - self._read_at < FRESH_SECONDS:
                return
            self._read_at = now
            query = partial(backlog.read, now=self._clock.now(), webhook_ids=list(self._configuration.current.webhooks))
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    self._found = await self._database.read(query)
            except Exception:  # whoever scrapes wants the other numbers now more than ever
                self._found = None

    def _samples(self) -> Iterator[Sample]:
        found = self._found
        if found is None:
            return
        yield from _of_queue("fetch", found.jobs)
        yield from _of_queue("deliver", found.deliveries)
        by_provider: dict[str, int] = {}
        for webhook in self._configuration.current.webhooks.values():
            near = found.at_risk.get(webhook.id, 0)
            by_provider[webhook.provider] = by_provider.get(webhook.provider, 0) + near
        for provider, near in by_provider.items():
            yield Sample("relay_fetch_at_risk", (provider,), near)


def _of_queue(queue: str, waiting: Waiting) -> Iterator[Sample]:
    yield Sample("relay_queue_due", (queue,), waiting.due)
    yield Sample("relay_queue_oldest_age_seconds", (queue,), waiting.oldest_seconds)


class Observer:
    """Everything that `/metrics` of one process shows."""

    def __init__(self, of: Relay, metrics: Metrics) -> None:
        self._relay = of
        self.metrics = metrics
        self.registry = CollectorRegistry()
        self.registry.register(metrics)
        ProcessCollector(registry=self.registry)
        for reader in (self._build, self._work, self._inbound, self._disk, self._configuration):
            metrics.read(reader)
        self.refresh = BacklogWatch(of.database, of.configuration, of.clock, metrics).refresh

    def _build(self) -> Iterator[Sample]:
        database = "sqlite" if self._relay.settings.is_sqlite else "postgresql"
        yield Sample("relay_build_info", (relay.__version__, platform.python_version(), database), 1)
        yield Sample("relay_workers", (), self._relay.heartbeat.workers)
        yield Sample("relay_clock_skew_seconds", (), self._relay.heartbeat.skew_seconds)

    def _work(self) -> Iterator[Sample]:
        for hands in (self._relay.fetching, self._relay.delivering):
            if hands is not None:
                stage = (hands.crew.name,)
                yield Sample("relay_work_in_flight", stage, hands.crew.slots.taken)
                yield Sample("relay_work_slots", stage, hands.crew.slots.total)
                yield Sample("relay_leases_lost", stage, hands.leases.lost)
        if self._relay.delivering is not None:
            subscriptions = _living(self._relay.configuration.current.subscriptions)
            is_open = ((each.name, self._relay.breakers.is_open(each.id)) for each in subscriptions)
            yield from _flags("relay_breaker_open", self.metrics.subscription_label, is_open)

    def _inbound(self) -> Iterator[Sample]:
        if self._relay.server is not None:
            listeners = self._relay.server.listeners
            yield Sample("relay_open_connections", (), sum(len(each.connections.open) for each in listeners))
        if self._relay.callback is not None:
            budget = self._relay.callback.budget
            yield Sample("relay_intake_bytes", (), budget.used)
            yield Sample("relay_intake_budget_bytes", (), budget.total)
            yield Sample("relay_streams", (), self._relay.streams.open)

    def _disk(self) -> Iterator[Sample]:
        if not self._relay.settings.is_sqlite:
            return
        path = self._relay.settings.sqlite_path
        yield Sample("relay_store_bytes", ("database",), _size(path))
        yield Sample("relay_store_bytes", ("wal",), _size(path.with_name(f"{path.name}-wal")))
        yield Sample("relay_disk_free_bytes", (), shutil.disk_usage(path.parent).free)

    def _configuration(self) -> Iterator[Sample]:
        current = self._relay.configuration.current
        hooks, rejected = _living(current.webhooks), WebhookStatus.CREDENTIALS_REJECTED
        is_rejected = ((each.name, each.status is rejected) for each in hooks)
        yield from _flags("relay_webhook_credentials_rejected", self.metrics.webhook_label, is_rejected)
        subscriptions = _living(current.subscriptions)
        is_paused = ((each.name, each.status is not SubscriptionStatus.ACTIVE) for each in subscriptions)
        yield from _flags("relay_subscription_paused", self.metrics.subscription_label, is_paused)


def _flags(metric: str, label: Callable[[str], str], flags: Iterable[tuple[str, bool]]) -> Iterator[Sample]:
    """1 where it is so. Names beyond those that labels may have share one label, which is 1 if it is so of any."""
    found: dict[str, bool] = {}
    for name, flag in flags:
        shown = label(name)
        found[shown] = flag or found.get(shown, False)
    for shown, flag in found.items():
        yield Sample(metric, (shown,), flag)


def _living(items: Mapping[str, Named]) -> list[Named]:
    return [item for item in items.values() if item.deleted_at is None]


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
