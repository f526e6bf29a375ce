"""What a stand-in remembers of the work it was asked for, and what a request for it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from relay.clock import Instant, after
from relay.demo.knobs import Knobs, Outcome


class State(StrEnum):
    """Where a job is; each provider has its own words for these."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


UNFINISHED = frozenset({State.QUEUED, State.RUNNING})


class Cancel(StrEnum):
    """What became of a request to cancel."""

    TOOK = "took"
    ASKED = "asked"  # noted; the job may end otherwise
    TOO_LATE = "too late"


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One request for work."""

    id: str
    wanted: Any = field(repr=False)  # the body of the request
    created_at: Instant
    knobs: Knobs
    retention_seconds: float  # the provider's own
    callback_url: str | None = field(default=None, repr=False)
    completed_at: Instant | None = None  # when it ended, however it did
    cancelled: bool = False
    looks: int = 0  # requests for its status or result
    pending_answers: int = 0  # spent since it ended
    unready_answers: int = 0
    extra: dict[str, str] = field(default_factory=dict, repr=False)  # what this provider needs besides

    def look(self, now: Instant) -> State:
        """What a request finds; it counts. The first one finds unfinished work queued, the later ones running."""
        unfinished = State.RUNNING if self.looks else State.QUEUED
        self.looks += 1
        if self.completed_at is None or self.knobs.status_word is not None:
            return unfinished
        if self.pending_answers < self.knobs.pending_answers:
            self.pending_answers += 1
            return unfinished
        return self.state(now)

    def state(self, now: Instant) -> State:
        """Where it is; nothing is counted."""
        if self.completed_at is None:
            return State.RUNNING
        kept = self.retention_seconds if self.knobs.expires_after is None else self.knobs.expires_after
        if self.knobs.outcome is Outcome.EXPIRED or (now - self.completed_at) / 1000 >= kept:
            return State.EXPIRED
        return self.told

    @property
    def told(self) -> State:
        """How it ended or will end: what its notification says."""
        if self.cancelled:
            return State.CANCELLED
        outcome = self.knobs.outcome
        return State.COMPLETED if outcome is Outcome.EXPIRED else State(outcome.value)

    @property
    def ended_at(self) -> Instant:
        """For the times in answers: its end, or its beginning while there is none."""
        return self.created_at if self.completed_at is None else self.completed_at

    @property
    def expires_at(self) -> Instant:
        """When the result is dropped."""
        kept = self.retention_seconds if self.knobs.expires_after is None else self.knobs.expires_after
        return after(self.ended_at, kept)

    def unready(self) -> bool:
        """Whether its result is not there yet although it has ended; it counts."""
        if self.unready_answers >= self.knobs.unready_answers:
            return False
        self.unready_answers += 1
        return True
