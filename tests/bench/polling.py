"""Jobs that never get a notification: what asking after all of them costs, and whether each is asked in time."""

from __future__ import annotations

import http.client
import time
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import orjson

from tests.bench import rig
from tests.bench.memory import MIB, Watch
from tests.bench.report import Line
from tests.bench.scale import Scale

TRACKERS: Final = 4
PERIODS: Final = 2.5  # watched, so that every job is asked at least twice


def run(scale: Scale) -> list[Line]:
    """Processor share, memory and lateness while so many jobs wait, each asked every `polling_seconds` on average."""
    every = scale.polling_seconds
    with rig.light("provider") as provider, rig.relay() as relay:
        relay.webhook(provider, poll_seconds=[every])
        webhook_id = relay.api("GET", "/v1/webhooks")["data"][0]["id"]
        idle = relay.running.rss_bytes()
        with Watch(relay.running) as watch:
            _track(relay, webhook_id, provider.port, scale.polling_jobs)
            time.sleep(every)  # the first questions are asked
            cpu, began = relay.running.cpu_seconds(), time.monotonic()
            time.sleep(PERIODS * every)
            spent, took = relay.running.cpu_seconds() - cpu, time.monotonic() - began
        asked = array("d")
        asked.frombytes(provider.get("/asked"))
    gaps = _gaps(asked, scale.polling_jobs)
    worst = max(abs(gap - every) / every for gap in gaps) * 100
    note = f"{scale.polling_jobs} jobs, each every {every:g} s; asked {len(asked) // 2} times"
    return [
        _line("waiting jobs: processor", spent / took * 100, "% of a core", 5, note),
        _line("waiting jobs: memory over idle", (watch.peak - idle) / MIB, "MiB", 60, ""),
        _line("waiting jobs: off schedule, at most", worst, "%", 10, "of the time between two questions about a job"),
    ]


def _line(name: str, measured: float, unit: str, target: float, note: str) -> Line:
    return Line(name=name, measured=measured, unit=unit, judged=measured, target=target, at_least=False, note=note)


def _track(relay: rig.Relay, webhook_id: str, provider_port: int, count: int) -> None:
    """Have so many jobs followed, through a few kept connections. Raises RigError."""

    def some(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", relay.running.port, timeout=30)
        headers = {"authorization": f"Bearer {rig.ADMIN_KEY}", "content-type": "application/json"}
        for number in range(first, count, TRACKERS):
            url = f"http://127.0.0.1:{provider_port}/pending/bench-{number:010d}"
            connection.request(
                "POST", "/v1/jobs", orjson.dumps({"webhook_id": webhook_id, "response_url": url}), headers
            )
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 201:
                raise rig.RigError(f"POST /v1/jobs answered {answer.status}: {text[:300]!r}")
        connection.close()

    with ThreadPoolExecutor(TRACKERS) as pool:
        list(pool.map(some, range(TRACKERS)))


def _gaps(asked: Sequence[float], count: int) -> list[float]:
    """The seconds between two questions about one job, of all jobs. Raises RigError if one was not asked twice."""
    last: dict[int, float] = {}
    gaps: list[float] = []
    seen: set[int] = set()
    for number, at in zip(asked[::2], asked[1::2], strict=True):
        job = int(number)
        if job in last:
            gaps.append(at - last[job])
            seen.add(job)
        last[job] = at
    if len(seen) < count:
        raise rig.RigError(f"{count - len(seen)} of {count} jobs were not asked twice")
    return gaps
