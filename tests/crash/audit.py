"""What must be true at the end: compare what was acknowledged with the database and with what the subscriber saw."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, text

from relay.store.migrate import look
from tests.crash.load import Ack
from tests.crash.rig import CrashError
from tests.crash.stage import Received, find_name, payload_of
from tests.crash.world import PATHS, World

MOST_SHOWN: Final = 5
UNSETTLED: Final = (
    "SELECT (SELECT count(*) FROM jobs WHERE due_at IS NOT NULL)"
    " + (SELECT count(*) FROM deliveries WHERE due_at IS NOT NULL)"
)
LEFT: Final = (
    "SELECT id, status, due_at, lease_until, claims, last_error FROM {} WHERE due_at IS NOT NULL ORDER BY due_at"
)
STANDSTILL_SECONDS: Final = 90.0  # three leases: what a dead worker held is done by then


@dataclass
class Contents:
    """The rows that matter."""

    notifications: list[Any] = field(default_factory=list)
    jobs: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)  # payload id -> SHA-256 of what is stored
    deliveries: list[Any] = field(default_factory=list)


@dataclass
class Findings:
    """What is wrong, by kind; and how much there was."""

    problems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    figures: dict[str, float] = field(default_factory=dict)

    def note(self, kind: str, what: str) -> None:
        self.problems[kind].append(what)

    def lines(self) -> list[str]:
        """One line per kind of problem."""
        return [
            f"{len(found)} × {kind}, such as {', '.join(found[:MOST_SHOWN])}" for kind, found in self.problems.items()
        ]


def query(url: str, statement: str) -> list[Any]:
    """Rows of a reading statement, over a connection of its own."""

    def run(connection: Connection) -> list[Any]:
        return list(connection.execute(text(statement)))

    return asyncio.run(look(url, run))


def unsettled(url: str) -> int:
    """How many jobs and deliveries still wait."""
    return int(query(url, UNSETTLED)[0][0])


def drain(world: World) -> None:
    """Wait until nothing waits any more, however much it is. Raises CrashError with what is left once nothing of it has
    been settled for STANDSTILL_SECONDS."""
    least, since = None, time.monotonic()
    while left := unsettled(world.url):
        if least is None or left < least:
            least, since = left, time.monotonic()
        elif time.monotonic() - since > STANDSTILL_SECONDS:
            rows = [tuple(row) for table in ("jobs", "deliveries") for row in query(world.url, LEFT.format(table))]
            raise CrashError(f"{left} jobs and deliveries are left and stand still, such as {rows[:MOST_SHOWN]}")
        time.sleep(0.25)


def read_contents(url: str) -> Contents:
    """All of the database that an audit needs."""
    return asyncio.run(look(url, _read))


def _read(connection: Connection) -> Contents:
    def rows(statement: str) -> list[Any]:
        return list(connection.execute(text(statement)))

    contents = Contents(
        notifications=rows("SELECT id, body, status, job_id FROM notifications"),
        jobs={row.id: row for row in rows("SELECT id, provider_job_id, status, result_id FROM jobs")},
        results={row.id: row for row in rows("SELECT id, job_id, payload_id, sha256 FROM results")},
        deliveries=rows("SELECT id, result_id, subscription_id, status, message_id FROM deliveries"),
    )
    digests: dict[str, Any] = defaultdict(hashlib.sha256)
    pieces = connection.execute(text("SELECT payload_id, data FROM payload_chunks ORDER BY payload_id, seq"))
    for payload_id, data in pieces:
        digests[payload_id].update(data)
    contents.digests = {payload_id: digest.hexdigest() for payload_id, digest in digests.items()}
    return contents


def audit(acks: Sequence[Ack], contents: Contents, received: Iterable[Received]) -> Findings:
    """Everything that the promise says, for everything that was acknowledged. Pure."""
    findings = Findings()
    _duplicates(contents, findings)
    stored = {row.id: row for row in contents.notifications}
    sent: dict[tuple[str, str], set[str]] = defaultdict(set)
    posts = 0
    for message in received:
        posts += 1
        sent[(message.name, message.path)].add(message.message_id)
        if not message.intact:
            findings.note("delivery with another payload", message.name)
    waiting = {row.result_id for row in contents.deliveries if row.status != "delivered"}
    names = {ack.name for ack in acks}
    for ack in acks:
        row = stored.get(ack.notification_id)
        if row is None or find_name(bytes(row.body)) != ack.name or row.job_id != ack.job_id:
            findings.note("acknowledged and lost", ack.name)
        else:
            _follow(ack, contents, waiting, sent, findings)
    findings.figures = {
        "acknowledged": len(names),
        "acknowledged more than once": len(acks) - len(names),
        "stored": len(contents.notifications),
        "results": len(contents.results),
        "deliveries": len(contents.deliveries),
        "posts": posts,
    }
    return findings


def _follow(
    ack: Ack, contents: Contents, waiting: set[str], sent: dict[tuple[str, str], set[str]], findings: Findings
) -> None:
    """From the notification to the subscriber."""
    job = contents.jobs.get(ack.job_id)
    result = None if job is None else contents.results.get(job.result_id or "")
    if job is None or job.status != "completed" or result is None:
        findings.note("job without its result", f"{ack.name} ({None if job is None else job.status})")
        return
    wanted = hashlib.sha256(payload_of(ack.name)).hexdigest()
    if result.sha256 != wanted or contents.digests.get(result.payload_id) != wanted:
        findings.note("result with another payload", ack.name)
    if result.id in waiting:
        findings.note("delivery that is not delivered", ack.name)
    for path in PATHS:
        if sent[(ack.name, path)] != {result.id}:
            findings.note("result that a subscriber never got, or under another webhook-id", f"{ack.name} {path}")


def _duplicates(contents: Contents, findings: Findings) -> None:
    counted = {
        "notification stored twice": Counter(find_name(bytes(row.body or b"")) for row in contents.notifications),
        "job stored twice": Counter(row.provider_job_id for row in contents.jobs.values()),
        "job with two results": Counter(row.job_id for row in contents.results.values()),
        "result delivered as two": Counter((row.result_id, row.subscription_id) for row in contents.deliveries),
    }
    for kind, counter in counted.items():
        for name, count in counter.items():
            if count > 1:
                findings.note(kind, str(name))
    per_result = Counter(row.result_id for row in contents.deliveries)
    for result_id in contents.results:
        if per_result[result_id] != len(PATHS):
            findings.note("result without its deliveries", result_id)
