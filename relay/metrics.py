"""What Relay counts and measures, for `/metrics`: every name, and one function for each thing that happens.

Numbers are added up in plain dictionaries on the event loop's own thread, which costs a fraction of what the client
library's locked children do; the library only writes them out. Labels are names that people gave in Relay, providers
and words of ours: no URL, token or id of a stranger's ever becomes one, and of names there are at most `MOST_NAMES`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

MOST_NAMES: Final = 200  # of webhooks, and of subscriptions, in labels of one process; further ones are `other`
OTHER: Final = "other"

FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
CALLS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
WAITS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
TIME_LEFT: Final = (0.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 5400.0, 7200.0)
SIZES: Final = (1024.0, 16384.0, 131072.0, 1048576.0, 8388608.0, 33554432.0)

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLASSES: Final = {None: "none", 1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}


@dataclass(frozen=True, slots=True)
class Described:
    """One metric: its name without `_total` or `_bucket`, and what it says."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """The names by which its series are asked for."""
        match self.kind:
            case "counter":
                return (f"{self.name}_total",)
            case "gauge":
                return (self.name,)
            case _:
                return tuple(f"{self.name}_{end}" for end in ("bucket", "count", "sum"))


class Sample(NamedTuple):
    """One number of a gauge, or of a counter that somebody else keeps."""

    name: str
    labels: tuple[str, ...]
    value: float


Reader = Callable[[], Iterable[Sample]]


class Counter:
    """Sums by label values."""

    __slots__ = ("described", "values")

    def __init__(self, name: str, labels: tuple[str, ...], help: str) -> None:
        self.described = Described(name, "counter", labels, help)
        self.values: dict[tuple[str, ...], float] = {}

    def add(self, *labels: str) -> None:
        """One more."""
        self.values[labels] = self.values.get(labels, 0) + 1


class Histogram:
    """How often a value fell into which bucket, by label values."""

    __slots__ = ("_bounds", "described", "sums", "values")

    def __init__(self, name: str, labels: tuple[str, ...], buckets: tuple[float, ...], help: str) -> None:
        self.described = Described(name, "histogram", labels, help, buckets)
        self._bounds = buckets
        self.values: dict[tuple[str, ...], list[int]] = {}
        self.sums: dict[tuple[str, ...], float] = {}

    def observe(self, value: float, *labels: str) -> None:
        """One value."""
        counts = self.values.get(labels)
        if counts is None:
            counts = self.values[labels] = [0] * (len(self._bounds) + 1)
            self.sums[labels] = 0.0
        counts[bisect_left(self._bounds, value)] += 1
        self.sums[labels] += value


class Metrics:
    """The numbers of one relay in one process."""

    def __init__(self) -> None:
        self._webhooks, self._subscriptions = _Names(), _Names()
        self._readers: list[Reader] = []
        self._make_inbound()
        self._make_outbound()
        self._kept: tuple[Counter | Histogram, ...] = tuple(
            value for value in vars(self).values() if isinstance(value, Counter | Histogram)
        )

    def _make_inbound(self) -> None:
        self.notifications = Counter(
            "relay_notifications", ("webhook", "provider", "outcome"), "Calls to callback URLs, as they were answered."
        )
        self.notification_seconds = Histogram(
            "relay_notification_duration_seconds", (), FAST, "From the head of a notification to its answer."
        )
        self.requests = Counter(
            "relay_http_requests", ("method", "route", "status_class"), "Requests to the management API."
        )
        self.request_seconds = Histogram(
            "relay_http_request_duration_seconds", ("method", "route"), CALLS, "Time to answer a management request."
        )

    def _make_outbound(self) -> None:
        self.fetches = Counter(
            "relay_fetch_attempts", ("provider", "outcome", "status_class"), "Attempts to fetch a result."
        )
        self.fetch_seconds = Histogram(
            "relay_fetch_duration_seconds", ("provider",), CALLS, "Time of one fetch attempt, hops and pages included."
        )
        self.time_left = Histogram(
            "relay_fetch_time_left_seconds", ("provider",), TIME_LEFT, "Time to the deadline when a result was stored."
        )
        self.results = Counter("relay_results", ("provider", "status"), "Results stored, by how the job ended.")
        self.result_bytes = Histogram("relay_result_size_bytes", ("provider",), SIZES, "Size of stored payloads.")
        self.notified_to_stored = Histogram(
            "relay_notification_to_stored_seconds", ("provider",), WAITS, "From a job's notification to its result."
        )
        self.attempts = Counter(
            "relay_delivery_attempts", ("subscription", "outcome", "status_class", "trigger"), "Attempts to deliver."
        )
        self.delivery_seconds = Histogram(
            "relay_delivery_duration_seconds", ("subscription",), CALLS, "Time of one delivery attempt."
        )
        self.stored_to_delivered = Histogram(
            "relay_stored_to_delivered_seconds", ("subscription",), WAITS, "From a result to its delivery; no replays."
        )
        self.exhausted = Counter("relay_deliveries_exhausted", ("subscription",), "Deliveries that were given up.")

    # --- what happens ---

    def notified(self, webhook: str, provider: str, outcome: str, seconds: float) -> None:
        """A callback URL was called and answered. `webhook` is empty where the address named none."""
        self.notifications.add(self._webhooks.shown(webhook), provider, outcome)
        self.notification_seconds.observe(seconds)

    def requested(self, method: str, route: str, http_status: int, seconds: float) -> None:
        """The management API was asked. `route` is the template of the path, never the path."""
        method = method if method in METHODS else OTHER
        self.requests.add(method, route, status_class(http_status))
        self.request_seconds.observe(seconds, method, route)

    def fetched(self, provider: str, outcome: str, http_status: int | None, duration_ms: int) -> None:
        """A provider was asked for a result."""
        self.fetches.add(provider, outcome, status_class(http_status))
        self.fetch_seconds.observe(duration_ms / 1000, provider)

    def stored(
        self, provider: str, status: str, size_bytes: int | None, left_seconds: float, waited_seconds: float | None
    ) -> None:
        """A result was stored; `waited_seconds` after its notification, if there was one."""
        self.results.add(provider, status)
        self.time_left.observe(left_seconds, provider)
        if size_bytes is not None:
            self.result_bytes.observe(size_bytes, provider)
        if waited_seconds is not None:
            self.notified_to_stored.observe(waited_seconds, provider)

    def attempted(
        self, subscription: str, outcome: str, http_status: int | None, trigger: str, duration_ms: int
    ) -> None:
        """A delivery was tried."""
        name = self._subscriptions.shown(subscription)
        self.attempts.add(name, outcome, status_class(http_status), trigger)
        self.delivery_seconds.observe(duration_ms / 1000, name)
        if outcome == "exhausted":
            self.exhausted.add(name)

    def delivered(self, subscription: str, waited_seconds: float) -> None:
        """A delivery that is no replay arrived, so long after its result was stored."""
        self.stored_to_delivered.observe(waited_seconds, self._subscriptions.shown(subscription))

    # --- what is read ---

    def read(self, reader: Reader) -> None:
        """Ask `reader` for gauges whenever somebody looks. It must be quick: it is asked on the event loop."""
        self._readers.append(reader)

    def collect(self) -> Iterator[Family]:
        """Everything, for prometheus_client."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for metric in self._kept:
            told = metric.described
            if isinstance(metric, Counter):
                counter = CounterMetricFamily(told.name, told.help, labels=told.labels)
                for labels, value in list(metric.values.items()):
                    counter.add_metric(labels, value)
                yield counter
                continue
            histogram = HistogramMetricFamily(told.name, told.help, labels=told.labels)
            for labels, counts in list(metric.values.items()):
                ends = [*(str(bound) for bound in told.buckets), "+Inf"]
                buckets = list(zip(ends, map(float, accumulate(counts)), strict=True))
                histogram.add_metric(labels, buckets, metric.sums[labels])
            yield histogram
        yield from self._read(CounterMetricFamily, GaugeMetricFamily)

    def _read(self, counter: type[Family], gauge: type[Family]) -> Iterator[Family]:
        families: dict[str, Family] = {}
        for reader in self._readers:
            for name, labels, value in reader():
                if name not in families:
                    told = GAUGES[name]
                    make = counter if told.kind == "counter" else gauge
                    families[name] = make(told.name, told.help, labels=told.labels)  # type: ignore[call-arg]
                families[name].add_metric(labels, value)  # type: ignore[attr-defined]
        yield from families.values()

    def webhook_label(self, name: str) -> str:
        """The webhook's name as it stands in labels."""
        return self._webhooks.shown(name)

    def subscription_label(self, name: str) -> str:
        """The subscription's name as it stands in labels."""
        return self._subscriptions.shown(name)


class _Names:
    """The first names that were seen; a process that is given ever new ones does not grow by them."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def shown(self, name: str) -> str:
        if name in self._seen:
            return name
        if len(self._seen) >= MOST_NAMES:
            return OTHER
        self._seen.add(name)
        return name


def status_class(http_status: int | None) -> str:
    """`2xx` and the like; `none` where nothing was answered."""
    return _CLASSES.get(None if http_status is None else http_status // 100, OTHER)


def _gauges(*told: tuple[str, tuple[str, ...], str]) -> dict[str, Described]:
    return {name: Described(name, "gauge", labels, help) for name, labels, help in told}


GAUGES: Final = _gauges(
    ("relay_build_info", ("version", "python", "database"), "1, with what runs here."),
    ("relay_queue_due", ("queue",), "Rows that are due now (`fetch`: jobs, `deliver`: deliveries), counted to 10,000."),
    ("relay_queue_oldest_age_seconds", ("queue",), "How long the row that is due longest has been so."),
    ("relay_fetch_at_risk", ("provider",), "Open jobs whose deadline is less than 300 s away, counted to 10,000."),
    ("relay_work_in_flight", ("stage",), "Fetches and deliveries that this process is at."),
    ("relay_work_slots", ("stage",), "How many it may be at."),
    ("relay_workers", (), "Working processes that share the database, as this one sees it."),
    ("relay_clock_skew_seconds", (), "This process's clock less the database's."),
    ("relay_intake_bytes", (), "Notification bodies in memory."),
    ("relay_intake_budget_bytes", (), "How much of them there may be; above it 503."),
    ("relay_open_connections", (), "Inbound connections."),
    ("relay_store_bytes", ("kind",), "Size of the SQLite file (`database`) and its log (`wal`)."),
    ("relay_disk_free_bytes", (), "Free space where the SQLite file lies."),
    ("relay_streams", (), "Streams of events that are open."),
    ("relay_breaker_open", ("subscription",), "1 while the subscriber is left alone because nobody answers there."),
    ("relay_webhook_credentials_rejected", ("webhook",), "1 while the provider refuses the webhook's credentials."),
    ("relay_subscription_paused", ("subscription",), "1 while paused or disabled: deliveries wait."),
) | {
    "relay_leases_lost": Described("relay_leases_lost", "counter", ("stage",), "Work whose lease went to another."),
}


def described() -> list[Described]:
    """Every metric of ours there is."""
    return [metric.described for metric in Metrics()._kept] + list(GAUGES.values())
