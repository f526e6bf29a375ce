"""Intake, claims, settlements and lost workers in a random order, against a few dictionaries that say what is right."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial

import pytest

from relay.clock import Instant
from relay.model import JobStatus, NotificationStatus
from relay.store.database import Database
from relay.store.intake import ACCEPT, Accepted
from relay.store.queue import claim, extend, give_back
from relay.store.schema import deliveries, jobs, notifications, results
from relay.store.settlement import SETTLE_FETCH, Ended, FetchSettlement, Postponed, Settled
from tests.support.store import a_delivery, a_job, a_result, an_accept, an_attempt, count, rows_of

STEPS = 250
NAMES = 12
LEASE = 30_000


@dataclass
class Known:
    """A job as the model sees it."""

    id: str
    status: str
    due_at: int | None
    notified_at: int
    lease_until: int | None = None
    claims: int = 0
    attempts: int = 0
    ended: int = 0


@dataclass
class Worker:
    """Somebody who claimed a job, and what the claim showed."""

    job: Known
    claims: int
    attempts: int
    notified_at: int


@dataclass
class Model:
    database: Database
    chance: random.Random
    now: Instant = Instant(1_795_287_600_000)
    jobs: dict[str, Known] = field(default_factory=dict)  # by what the provider calls it
    seen: dict[bytes, str] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)

    async def step(self) -> None:
        self.now = Instant(self.now + self.chance.choice([1, 500, 5_000, 20_000]))
        actions = [
            self.notify,
            self.notify,
            self.claim,
            self.claim,
            self.end,
            self.postpone,
            self.extend,
            self.give_back,
        ]
        await self.chance.choice(actions)()

    async def notify(self) -> None:
        """One to four notifications in one batch, repeats among them."""
        names = [f"p-{self.chance.randrange(NAMES)}" for _ in range(self.chance.randint(1, 4))]
        items = [
            an_accept(name, at=self.now, dedupe_key=f"{name}-{self.chance.randrange(30)}".encode()) for name in names
        ]
        outcomes = await self.database.write(lambda connection: ACCEPT.apply(connection, items))
        for name, item, outcome in zip(names, items, outcomes, strict=True):
            assert isinstance(outcome, Accepted) and item.dedupe_key is not None
            if item.dedupe_key in self.seen:
                assert outcome.status is NotificationStatus.DUPLICATE
                assert outcome.notification_id == self.seen[item.dedupe_key]
                continue
            self.seen[item.dedupe_key] = item.notification.id
            self._notified(name, outcome)

    def _notified(self, name: str, outcome: Accepted) -> None:
        assert outcome.status is NotificationStatus.ACCEPTED and outcome.job_id is not None
        job = self.jobs.get(name)
        if job is None:
            self.jobs[name] = Known(outcome.job_id, "fetching", self.now, self.now)
            return
        assert outcome.job_id == job.id
        if job.status == "completed":
            return
        job.due_at = job.notified_at = self.now
        if job.status not in ("failed", "expired"):
            job.status = "fetching"

    async def claim(self) -> None:
        wanted = [job for job in self.jobs.values() if self.chance.random() < 0.5]
        take = partial(
            claim, table=jobs, ids=[job.id for job in wanted], now=self.now, lease_until=Instant(self.now + LEASE)
        )
        got = {row.id: row for row in await self.database.write(take)}
        free = [job for job in wanted if job.due_at is not None and job.due_at <= self.now]
        free = [job for job in free if job.lease_until is None or job.lease_until <= self.now]
        assert set(got) == {job.id for job in free}
        for job in free:
            job.claims += 1
            job.lease_until = self.now + LEASE
            assert got[job.id].claims == job.claims
            self.workers.append(Worker(job, job.claims, job.attempts, job.notified_at))

    def _some_workers(self) -> list[Worker]:
        """Some stay in the list though they have settled: they try again, as one does who got no answer."""
        some = self.chance.sample(self.workers, min(len(self.workers), self.chance.randint(0, 4)))
        self.workers = [worker for worker in self.workers if worker not in some or self.chance.random() < 0.3]
        return some

    async def end(self) -> None:
        status = self.chance.choice([JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.EXPIRED])
        some = self._some_workers()
        items = []
        for worker in some:
            result = a_result(a_job(id=worker.job.id), status=status, fetched_at=self.now)
            items.append(self._settlement(worker, Ended(result=result, deliveries=(a_delivery(result_id=result.id),))))
        for worker in await self._settled(some, items):
            job = worker.job
            again = status is not JobStatus.COMPLETED and job.notified_at != worker.notified_at
            job.status, job.due_at = status.value, self.now if again else None
            job.ended += 1

    async def postpone(self) -> None:
        due_at = Instant(self.now + 10_000)
        some = self._some_workers()
        outcomes = {
            worker.job.id: Postponed(
                due_at=due_at,
                status=JobStatus(worker.job.status),
                deadline=due_at,
                step=1,
                provider_status=None,
                last_error=None,
            )
            for worker in some
        }
        items = [self._settlement(worker, outcomes[worker.job.id]) for worker in some]
        for worker in await self._settled(some, items):
            worker.job.due_at = self.now if worker.job.notified_at != worker.notified_at else due_at

    def _settlement(self, worker: Worker, outcome: Ended | Postponed) -> FetchSettlement:
        return FetchSettlement(
            job_id=worker.job.id,
            claims=worker.claims,
            notified_at=Instant(worker.notified_at),
            now=self.now,
            outcome=outcome,
            attempt=an_attempt(a_job(id=worker.job.id, attempts=worker.attempts)),
            config_version=1,
        )

    async def _settled(self, some: list[Worker], items: list[FetchSettlement]) -> list[Worker]:
        """Those whose settlement counts, after the batch was settled."""
        outcomes = await self.database.write(lambda connection: SETTLE_FETCH.apply(connection, items))
        done = []
        for worker, outcome in zip(some, outcomes, strict=True):
            stands = worker.job.claims == worker.claims
            assert outcome is (Settled.DONE if stands else Settled.LOST)
            if stands:
                worker.job.claims += 1
                worker.job.attempts += 1
                worker.job.lease_until = None
                done.append(worker)
        return done

    async def extend(self) -> None:
        until = Instant(self.now + LEASE)
        claims = [(worker.job.id, worker.claims) for worker in self.workers]
        kept = await self.database.write(partial(extend, table=jobs, claims=claims, lease_until=until))
        standing = [worker for worker in self.workers if worker.job.claims == worker.claims]
        assert kept == {worker.job.id for worker in standing}
        for worker in standing:
            worker.job.lease_until = until

    async def give_back(self) -> None:
        some = self._some_workers()
        claims = [(worker.job.id, worker.claims) for worker in some]
        standing = {worker.job.id: worker.job for worker in some if worker.job.claims == worker.claims}
        assert await self.database.write(partial(give_back, table=jobs, claims=claims)) == len(standing)
        for job in standing.values():
            job.lease_until = None
            job.claims += 1

    async def check(self) -> None:
        there = {row["id"]: row for row in await rows_of(self.database, jobs)}
        assert set(there) == {job.id for job in self.jobs.values()}
        for job in self.jobs.values():
            row = there[job.id]
            for name in ("status", "due_at", "notified_at", "lease_until", "claims", "attempts"):
                assert row[name] == getattr(job, name), (name, row, job)
        ended = sum(job.ended for job in self.jobs.values())
        assert await count(self.database, results) == await count(self.database, deliveries) == ended
        assert await count(self.database, notifications) == len(self.seen)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_store_does_what_a_simple_model_of_it_does(database: Database, seed: int) -> None:
    model = Model(database, random.Random(seed))
    for number in range(STEPS):
        await model.step()
        if number % 10 == 0:
            await model.check()
    await model.check()
    assert sum(job.ended for job in model.jobs.values()) > 10
