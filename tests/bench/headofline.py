"""Head of line: a hundred subscriptions, fifty of them dead; and one with a backlog of a hundred thousand.

Ten webhooks; each result goes to the ten subscriptions of its webhook, five of which are dead in one relay (half of
them never answer, half refuse the connection) and well in the other. The same fifty are compared, in turn.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.bench import rig
from tests.bench.report import Line, interleave, median, percentile
from tests.bench.scale import Scale
from tests.bench.wire import Plan, notification
from tests.support.ports import free_port

WEBHOOKS: Final = 10
WELL: Final = 5  # of the ten subscriptions of a webhook
TOLERATED_RATIO: Final = 1.2
TOLERATED_MS: Final = 10.0
WARM_UP: Final = 100
PATIENCE_SECONDS: Final = 30.0

# A finished result, and so many more like it that wait for one subscription. Ids sort as if they were made just now.
COPY_RESULTS: Final = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO results (id, job_id, webhook_id, provider_job_id, status, error, partial, metadata, content_type,
                     size_bytes, sha256, payload_id, fetched_at)
SELECT substr(r.id, 1, 16) || printf('%020x', i), job_id, webhook_id, provider_job_id, status, error, partial, metadata,
       content_type, size_bytes, sha256, payload_id, fetched_at
FROM n, (SELECT * FROM results ORDER BY id DESC LIMIT 1) AS r
"""
WAITING: Final = """
INSERT INTO deliveries (id, result_id, subscription_id, message_id, status, created_at, due_at)
SELECT 'dlv_' || substr(id, 5), id, ?, id, 'pending', fetched_at, fetched_at
FROM results WHERE substr(id, 17) < '00000000000000ffffff'
"""


@dataclass
class Hundred:
    """A relay with ten webhooks of ten subscriptions each."""

    relay: rig.Relay
    provider: rig.Running
    subscriber: rig.Running
    callbacks: Sequence[str]
    sent: int = 0

    def play(self, count: int, rate: float) -> list[float]:
        """Send so many; seconds from each 2xx to each delivery that is compared. Raises RigError if one is missing."""
        first, self.sent = self.sent, self.sent + count
        results = f"http://127.0.0.1:{self.provider.port}/results"
        template, *others = [notification(path, results) for path in self.callbacks]
        with tempfile.TemporaryDirectory(prefix="relay-bench-") as directory:
            file = Path(directory, "times")
            plan = Plan(port=self.relay.running.port, template=template, count=count, first=first, rate=rate)
            plan = replace(plan, others=tuple(others), times_file=str(file), seconds=count / rate + PATIENCE_SECONDS)
            rig.send(plan)
            _, answered = rig.times_of(file)
        paths = [well_path(webhook, place) for webhook in range(WEBHOOKS) for place in range(WELL)]
        if rig.wait_delivered(self.subscriber, paths, self.sent // WEBHOOKS, PATIENCE_SECONDS) != self.sent // WEBHOOKS:
            raise rig.RigError(f"not everything was delivered\n{self.relay.said()}")
        times = {path: rig.arrivals(self.subscriber, path) for path in paths}
        return [
            times[well_path(number % WEBHOOKS, place)][number] - answered[number - first]
            for number in range(first, first + count)
            for place in range(WELL)
        ]


def well_path(webhook: int, place: int) -> str:
    return f"/ok/{webhook}/{place}"


@contextlib.contextmanager
def hundred(*, dead: bool, directory: Path | None = None) -> Iterator[Hundred]:
    """Everything started and warm."""
    settings = {} if directory is None else {"RELAY_DATABASE_URL": f"sqlite:///{directory}/relay.db"}
    with rig.light("provider") as provider, rig.light("subscriber") as subscriber, rig.relay(**settings) as relay:
        callbacks = []
        nobody = replace(subscriber, port=free_port())
        for webhook in range(WEBHOOKS):
            name = f"bench-{webhook}"
            made = relay.webhook(provider, name=name)
            callbacks.append(made)
            [webhook_id] = [item["id"] for item in relay.api("GET", "/v1/webhooks")["data"] if item["name"] == name]
            mine = {"webhook_ids": [webhook_id], "max_in_flight": 8}
            for place in range(10):
                if place < WELL or not dead:
                    relay.subscribe(subscriber, well_path(webhook, place), **mine)
                elif place % 2:
                    relay.subscribe(subscriber, f"/hang/{webhook}/{place}", **mine)
                else:
                    relay.subscribe(nobody, f"/nobody/{webhook}/{place}", **mine)
        yield Hundred(relay, provider, subscriber, callbacks)


def run(scale: Scale) -> list[Line]:
    """p99 of the fifty that are well, with and without the dead; then beside a backlog."""
    return [_beside_the_dead(scale), _beside_a_backlog(scale)]


def _beside_the_dead(scale: Scale) -> Line:
    count, rate = scale.headofline_results, scale.headofline_rate
    with hundred(dead=False) as well, hundred(dead=True) as mixed:
        well.play(WARM_UP, rate), mixed.play(WARM_UP, rate)
        bases, others = interleave(
            scale.rounds,
            lambda: percentile(well.play(count, rate), 0.99),
            lambda: percentile(mixed.play(count, rate), 0.99),
        )
    return _line("p99 of 50 beside 50 that are dead", bases, others, f"at {rate:g}/s, each to ten of a hundred")


def _beside_a_backlog(scale: Scale) -> Line:
    count, rate = scale.headofline_results, scale.headofline_rate
    with (
        tempfile.TemporaryDirectory(prefix="relay-bench-") as name,
        hundred(dead=False) as well,
        hundred(dead=False, directory=Path(name)) as loaded,
    ):
        well.play(WARM_UP, rate), loaded.play(WARM_UP, rate)
        slow = _backlog(loaded, Path(name, "relay.db"), scale.headofline_backlog)
        bases, others = interleave(
            scale.rounds,
            lambda: percentile(well.play(count, rate), 0.99),
            lambda: percentile(loaded.play(count, rate), 0.99),
        )
        left = loaded.relay.api("GET", f"/v1/deliveries?{slow}&status=pending")["data"]
    if not left:
        raise rig.RigError("the backlog was over before the measurement")
    return _line(f"p99 beside a backlog of {scale.headofline_backlog:,}", bases, others, f"at {rate:g}/s to ten each")


def _backlog(well: Hundred, file: Path, size: int) -> str:
    """A subscription for which so many deliveries wait, being sent while others are measured."""
    wanted = {
        "name": "slow",
        "url": f"http://127.0.0.1:{well.subscriber.port}/slow/0.1",
        "event_types": ["job.expiring"],
    }
    slow: str = well.relay.api("POST", "/v1/subscriptions", wanted)["id"]
    connection = sqlite3.connect(file, timeout=60)
    with contextlib.closing(connection), connection:
        connection.execute(COPY_RESULTS, (size,))
        connection.execute(WAITING, (slow,))
    time.sleep(3)  # it is found without a hint, and its first ones are under way
    return f"subscription_id={slow}"


def _line(name: str, bases: Sequence[float], others: Sequence[float], note: str) -> Line:
    base, other = median(bases) * 1000, median(others) * 1000
    return Line(
        name=name,
        measured=other,
        unit="ms",
        floor=base,
        ratio=other / base,
        judged=other,
        target=round(max(TOLERATED_RATIO * base, base + TOLERATED_MS), 1),
        at_least=False,
        note=f"{note}; allowed 1.2 x or 10 ms more than without",
    )
