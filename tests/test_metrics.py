"""What is counted, how it reads, and that nothing in it grows without end."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry, generate_latest

from relay.metrics import GAUGES, MOST_NAMES, OTHER, Metrics, Sample, described, status_class


def told(metrics: Metrics) -> dict[str, float]:
    """Every series with its value."""
    registry = CollectorRegistry()
    registry.register(metrics)
    lines = generate_latest(registry).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_a_round_trip_is_counted_where_it_happens() -> None:
    metrics = Metrics()
    metrics.notified("netnut-prod", "netnut", "accepted", 0.003)
    metrics.fetched("netnut", "completed", 200, 40)
    metrics.stored("netnut", "completed", 584, left_seconds=7000.0, waited_seconds=0.04)
    metrics.attempted("billing", "delivered", 204, "new", 12)
    metrics.delivered("billing", 0.02)
    found = told(metrics)
    assert found['relay_notifications_total{outcome="accepted",provider="netnut",webhook="netnut-prod"}'] == 1
    assert found['relay_fetch_attempts_total{outcome="completed",provider="netnut",status_class="2xx"}'] == 1
    assert found['relay_results_total{provider="netnut",status="completed"}'] == 1
    attempt = 'outcome="delivered",status_class="2xx",subscription="billing",trigger="new"'
    assert found[f"relay_delivery_attempts_total{{{attempt}}}"] == 1
    assert found['relay_stored_to_delivered_seconds_sum{subscription="billing"}'] == 0.02
    assert not any(name.startswith("relay_deliveries_exhausted_total") for name in found)


def test_a_histogram_adds_up_from_bucket_to_bucket() -> None:
    metrics = Metrics()
    for left in (-5.0, 0.0, 45.0, 90_000.0):  # the bound itself belongs to the bucket below it
        metrics.stored("p", "completed", None, left_seconds=left, waited_seconds=None)
    found = told(metrics)
    buckets = {
        re.findall(r'le="([^"]+)"', name)[0]: value
        for name, value in found.items()
        if name.startswith("relay_fetch_time_left_seconds_bucket")
    }
    assert (buckets["0.0"], buckets["10.0"], buckets["60.0"], buckets["7200.0"], buckets["+Inf"]) == (2, 2, 3, 3, 4)
    assert found['relay_fetch_time_left_seconds_sum{provider="p"}'] == 90_040
    assert not any(name.startswith("relay_result_size_bytes") for name in found)


def test_names_beyond_the_most_are_counted_together() -> None:
    metrics = Metrics()
    for number in range(MOST_NAMES + 50):
        metrics.attempted(f"sub-{number}", "exhausted", None, "retry", 1)
        metrics.notified(f"hook-{number}", "netnut", "accepted", 0.001)
    found = told(metrics)
    names = {label for series in found for label in re.findall(r'(?:subscription|webhook)="([^"]+)"', series)}
    assert len(names) == 2 * MOST_NAMES + 1
    assert found[f'relay_deliveries_exhausted_total{{subscription="{OTHER}"}}'] == 50


def test_what_a_stranger_sends_is_no_label() -> None:
    metrics = Metrics()
    metrics.requested("BREW", "unmatched", 405, 0.001)
    metrics.requested("GET", "/v1/jobs/{id}", 799, 0.001)
    assert set(metrics.requests.values) == {
        (OTHER, "unmatched", "4xx"),
        ("GET", "/v1/jobs/{id}", OTHER),
    }
    assert (status_class(None), status_class(0), status_class(204)) == ("none", OTHER, "2xx")


def test_gauges_are_asked_for_when_somebody_looks() -> None:
    metrics = Metrics()
    waiting = 0
    metrics.read(lambda: [Sample("relay_queue_due", ("fetch",), waiting)])
    metrics.read(lambda: [Sample("relay_queue_due", ("deliver",), 7), Sample("relay_leases_lost", ("fetch",), 3)])
    waiting = 5
    found = told(metrics)
    assert found['relay_queue_due{queue="fetch"}'] == 5
    assert found['relay_queue_due{queue="deliver"}'] == 7
    assert found['relay_leases_lost_total{stage="fetch"}'] == 3


def test_names_say_their_unit_and_kind() -> None:
    assert len({metric.name for metric in described()}) == len(described())
    for metric in described():
        assert metric.name.startswith("relay_")
        assert not metric.name.endswith("_total")  # the library adds it
        assert metric.kind != "histogram" or metric.name.endswith(("_seconds", "_bytes"))
        assert set(metric.labels) <= {
            "webhook", "subscription", "provider", "outcome", "status", "status_class", "trigger", "method", "route",
            "queue", "stage", "kind", "version", "python", "database",
        }  # fmt: skip
    assert all(metric.help.endswith(".") for metric in [*described(), *GAUGES.values()])
