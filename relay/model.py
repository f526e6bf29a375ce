"""The nouns and their states. One noun = one class = one table = one URL segment = one log field.

Everything is frozen: a change is a new row, read anew. Rows become these classes in `relay.store` only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from relay.clock import Instant
from relay.frozen import frozen

WEBHOOK, NOTIFICATION, JOB, RESULT = "wh", "ntf", "job", "res"
SUBSCRIPTION, DELIVERY, ATTEMPT, REPLAY, KEY, EVENT = "sub", "dlv", "att", "rpl", "key", "evt"
ENVELOPE, RAW, THIN, CLOUDEVENTS = "envelope", "raw", "thin", "cloudevents"  # what a subscription is sent
PRIVATE_KEY_PREFIX: Final = "whsk_"  # of an Ed25519 signing secret (Standard Webhooks); all others are for HMAC


class Secret:
    """A string that shows itself to nobody who does not ask: `repr`, `str` and formatting print `***`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself. Call it where it is used, never to keep it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Secret is not pickled")


class WebhookStatus(StrEnum):
    ACTIVE = "active"
    DISABLED = "disabled"
    CREDENTIALS_REJECTED = "credentials_rejected"


class NotificationStatus(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # only ever answered: the first one's row stands for all
    IGNORED = "ignored"
    UNPROCESSABLE = "unprocessable"
    REJECTED = "rejected"


class JobStatus(StrEnum):
    WAITING = "waiting"
    FETCHING = "fetching"  # the provider said it is done; the result is not stored yet
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        return self not in _OPEN


_OPEN: Final = (JobStatus.WAITING, JobStatus.FETCHING)


class SubscriptionStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    CANCELLED = "cancelled"


class ReplayStatus(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


class Trigger(StrEnum):
    """Why an attempt was made."""

    NEW = "new"
    RETRY = "retry"
    REPLAY = "replay"


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@frozen(kw_only=True)
class Webhook:
    """A registered inbound address: provider + credentials + verification."""

    id: str
    name: str
    provider: str
    credentials: Mapping[str, Secret]
    verification: Mapping[str, Secret]
    origins: tuple[str, ...]  # as given; the profile's own come on top when this is empty
    base_url: str | None
    parameters: Mapping[str, str]
    retention_seconds: float | None  # None = the profile's
    poll_seconds: tuple[float, ...] | None
    fetch_max_in_flight: int
    fetch_rate_per_second: float | None
    untracked: str  # accept | ignore
    metadata: Mapping[str, Any]
    status: WebhookStatus
    generation: int  # of the callback token
    previous_valid_until: Instant | None  # until when generation - 1 is still taken
    created_at: Instant
    updated_at: Instant
    deleted_at: Instant | None = None
    retention_days: float | None = None  # how long this relay keeps its results; None = as the setting says
    retention_bytes: int | None = None  # of payloads, the oldest of which go first
    notification_rate_per_second: float | None = None  # of those that are taken; None = as many as come


@frozen(kw_only=True)
class Notification:
    """One inbound call to a callback URL, as received."""

    id: str
    webhook_id: str
    job_id: str | None
    status: NotificationStatus
    reason: str | None
    method: str
    suffix: str  # what stood after the token
    query: str
    content_type: str | None
    headers: Mapping[str, str]
    body_size: int
    received_at: Instant


@frozen(kw_only=True)
class Job:
    """One asynchronous request at a provider; the thing with a deadline."""

    id: str
    webhook_id: str
    provider_job_id: str | None
    response_url: str | None
    status: JobStatus
    provider_status: str | None
    metadata: Mapping[str, Any]
    deadline: Instant  # when the provider may drop the result; orders and paces, does not stop
    give_up_at: Instant
    created_at: Instant
    notified_at: Instant | None
    completed_at: Instant | None
    result_id: str | None
    inline_notification_id: str | None  # the notification whose body is the payload, where nothing can be fetched
    tracked: bool  # its webhook asked for it; no other webhook of the same account may have it
    attempts: int
    step: int  # how far along the current list of waits
    due_at: Instant | None  # None = settled
    lease_until: Instant | None
    claims: int  # the fence
    last_error: str | None
    submitted: bool = False  # through Relay: the callback URL was put into its request
    result_path: str | None = None  # below the base URL, where this kind of job has another place than the profile's
    status_url: str | None = None  # as the provider's answer to the submit named it
    cancel_url: str | None = None


@frozen(kw_only=True)
class Result:
    """How a job ended, with the final payload as the provider sent it (absent when there is none)."""

    id: str
    job_id: str
    webhook_id: str
    provider_job_id: str | None
    status: JobStatus
    error: str | None
    partial: bool
    metadata: Mapping[str, Any]
    content_type: str | None
    size_bytes: int | None  # None = no payload
    sha256: str | None
    payload_id: str | None
    fetched_at: Instant
    matched: int | None = None  # how many subscriptions wanted it when it was stored; None = not known

    @property
    def type(self) -> str:
        return f"result.{self.status}"


@frozen(kw_only=True)
class Subscription:
    """Where results go and which ones."""

    id: str
    name: str
    kind: str  # push | pull
    url: str | None
    webhook_ids: tuple[str, ...] | None
    event_types: tuple[str, ...] | None  # None = the four result.* types
    filter: Mapping[str, Any] | None
    format: str  # envelope | raw | thin | cloudevents
    headers: Mapping[str, str]
    secrets: tuple[Secret, ...]  # newest first; those after the first while rotations overlap
    max_in_flight: int
    rate_per_second: float | None
    status: SubscriptionStatus
    status_reason: str | None
    metadata: Mapping[str, Any]
    created_at: Instant
    updated_at: Instant
    previous_secret_until: Instant | None = None  # until when some earlier secret signs too
    deleted_at: Instant | None = None
    secret_ends: tuple[Instant, ...] = ()  # until when each of secrets[1:] signs
    schedule_seconds: tuple[float, ...] | None = None  # None = the setting's
    timeout_seconds: float | None = None

    @property
    def signing(self) -> str:
        """`hmac` or `ed25519`: what the newest secret signs with."""
        newest = self.secrets[0].reveal() if self.secrets else ""
        return "ed25519" if newest.startswith(PRIVATE_KEY_PREFIX) else "hmac"

    def signing_secrets(self, now: Instant) -> tuple[Secret, ...]:
        """The secrets that sign at `now`: the newest, and those before it whose overlap is not over."""
        until = self.previous_secret_until
        if until is None or now >= until:
            return self.secrets[:1]
        earlier = self.secrets[1:]
        ends = self.secret_ends if len(self.secret_ends) == len(earlier) else (until,) * len(earlier)
        return (*self.secrets[:1], *(secret for secret, end in zip(earlier, ends, strict=True) if now < end))


@frozen(kw_only=True)
class Delivery:
    """One result to one subscription."""

    id: str
    result_id: str
    subscription_id: str
    replay_id: str | None
    message_id: str
    status: DeliveryStatus
    attempts: int
    budget_from: int  # attempts made before the present budget began (a manual retry gives a fresh one)
    created_at: Instant
    settled_at: Instant | None
    http_status: int | None
    due_at: Instant | None
    lease_until: Instant | None
    claims: int
    last_error: str | None
    pull_at: Instant | None = None  # of a pull subscription: when it may be taken (again), in place of `due_at`


@frozen(kw_only=True)
class Attempt:
    """One HTTP try, of a fetch or of a delivery."""

    id: str
    owner_id: str  # the job or the delivery
    number: int
    trigger: Trigger
    started_at: Instant
    duration_ms: int
    http_status: int | None
    error_code: str | None
    response_excerpt: str | None
    dns_ms: int | None = None  # of a connection that was opened for it; None where one was there already
    connect_ms: int | None = None  # TCP and TLS, of the same
    first_byte_ms: int | None = None  # from its start to the head of the answer


@frozen(kw_only=True)
class Replay:
    """New deliveries of stored results, asked for by somebody."""

    id: str
    status: ReplayStatus
    filter: Mapping[str, Any]
    subscription_ids: Sequence[str] | None
    mode: str  # undelivered | all
    new_message_id: bool
    rate_per_second: float | None
    created_at: Instant
    cursor: str | None  # the last result planned
    upper_id: str  # results stored after the replay began are not part of it
    total: int  # deliveries planned so far
    planned: bool
    expected: int | None = None  # deliveries that will come of it; None = not counted yet
    delivered: int = 0
    failed: int = 0
    next_due_at: Instant | None = None  # where its rate has got to; of a cancelled one: since when nothing was pending
    finished_at: Instant | None = None


@frozen(kw_only=True)
class ApiKey:
    """A management key; only its hash is kept."""

    id: str
    name: str
    scope: Scope
    sha256: str
    created_at: Instant
    last_used_at: Instant | None = None
    expires_at: Instant | None = None
    revoked_at: Instant | None = None


RESULT_TYPES: Final = tuple(
    f"result.{status}" for status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED)
)
