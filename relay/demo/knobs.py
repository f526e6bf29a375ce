"""How a stand-in behaves from now on: one set of knobs for all, each with the meaning that its provider gives it.

The same names serve a test that turns them while it runs and the control routes, where they come as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec


class Outcome(StrEnum):
    """How the jobs end."""

    COMPLETED = "completed"
    PARTIAL = "partial"  # completed with a caveat, where the provider has a word for it
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # completed, and its result is already gone


class Proof(StrEnum):
    """What a notification has to show for itself: a signature, or the shared header."""

    GOOD = "good"
    WRONG = "wrong"  # made with another secret
    MISSING = "missing"
    STALE = "stale"  # right, but ten minutes old


class Pending(StrEnum):
    """How "not ready yet" looks, where the provider does not say or says several things."""

    ACCEPTED = "202"
    OK = "200"
    NO_CONTENT = "204"
    BAD_REQUEST = "400"
    NOT_FOUND = "404"


class Knobs(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Change them while the stand-in runs. Durations are seconds of its clock."""

    # The work.
    work_seconds: float | None = 0.0  # from the request to its end; None = `finish` ends it
    outcome: Outcome = Outcome.COMPLETED
    status_word: str | None = None  # said instead of the true status, by answers and notifications alike
    expires_after: float | None = None  # after the end; None = the provider's own retention
    cancels: bool = True  # False: a cancel is only noted, and the job ends as it would have

    # The notification.
    calls_back: bool = True
    callback_seconds: float = 0.0  # from the end to the notification
    calls_back_early: bool = False  # as soon as the request is answered, while the work goes on
    calls_back_first: bool = False  # before the request is answered; the work is done by then
    notifications: int = 1  # 2 = every notification comes twice
    chatter: bool = False  # before it come the events that mean nothing (`webhook.test`, `*.started`)
    sends_id: bool = True
    response_url: str | None = None  # stands where the notification names a place to fetch from
    proof: Proof = Proof.GOOD
    second_dialect: bool = False  # the other shape, where two are documented

    # Answers to requests for a status or a result.
    pending_answers: int = 0  # how often a job that has ended still answers "pending"
    pending_shape: Pending | None = None  # None = the provider's own
    unready_answers: int = 0  # how often a result at an address of its own is not there though the status says done
    answer_seconds: float | None = 0.0  # how long an answer keeps its reader waiting; None = for ever
    status: int | None = None  # answer every one with this
    statuses: list[int] = msgspec.field(default_factory=list)  # answered first, one each, in this order
    headers: dict[str, str] = msgspec.field(default_factory=dict)  # on every one: `retry-after-ms` and such hints
    rate_per_second: float | None = None  # above it: 429
    retry_after_seconds: int = 1  # said with every 429
    padding: int = 0  # makes the result this many bytes larger
    large: bool = False  # the result lies at a presigned address
    pages: int = 1  # the result comes in so many

    # Answers to requests for work.
    submit_statuses: list[int] = msgspec.field(default_factory=list)  # refuse these first, one each, in this order
    submit_seconds: float | None = 0.0  # how long the answer keeps its reader waiting while the work begins

    def changed(self, changes: Mapping[str, Any]) -> Knobs:
        """Other knobs that differ in these. Raises msgspec.ValidationError, naming what is wrong."""
        return msgspec.convert({**msgspec.to_builtins(self), **changes}, Knobs)

    def turn(self, changes: Mapping[str, Any]) -> None:
        """Change these. Raises msgspec.ValidationError, and then changes none."""
        after = self.changed(changes)
        for name in changes:
            setattr(self, name, getattr(after, name))
