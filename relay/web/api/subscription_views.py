"""What goes in and out at `/v1/subscriptions`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from relay.clock import Instant
from relay.model import PRIVATE_KEY_PREFIX, Subscription
from relay.pipeline.deliver import LONGEST_TIMEOUT_SECONDS
from relay.signing.asymmetric import public_key_of
from relay.store.breakers import Breaker
from relay.web.fields import (
    Change,
    InFlight,
    Metadata,
    Name,
    Rate,
    Request,
    SecretText,
    Text,
    Time,
    View,
    WebhookId,
)

EventType = Literal[
    "result.completed",
    "result.failed",
    "result.cancelled",
    "result.expired",
    "job.expiring",
    "subscription.disabled",
]
Headers = Annotated[
    dict[str, Annotated[str, Field(max_length=4096)]],
    Field(max_length=20, description="Sent with every delivery. Kept encrypted; the values are never shown again."),
]
WebhookIds = Annotated[list[WebhookId], Field(max_length=1000, description="Null: results of every webhook.")]
EventTypes = Annotated[list[EventType], Field(min_length=1, description="Null: the four `result.*` types.")]
GivenFilter = Annotated[
    dict[str, Any],
    Field(
        description='Paths of the delivered envelope with conditions, such as `{"data.provider": {"$eq": "netnut"}}`; '
        "null: everything. Operators: $eq $neq $gt $gte $lt $lte $in $nin $startsWith $endsWith $exist $and $or $not."
    ),
]
Format = Annotated[
    Literal["envelope", "raw", "thin", "cloudevents"],
    Field(
        description="`envelope`: JSON with the payload in it; `thin`: with an address in its place; `raw`: the "
        "provider's bytes; `cloudevents`: those as a CloudEvent in binary mode."
    ),
]
Overlap = Annotated[
    float, Field(ge=0, le=2_592_000, description="How long the old secret signs too. 0: no earlier one signs any more.")
]
Signing = Annotated[
    Literal["hmac", "ed25519"],
    Field(description="`hmac`: a secret that both sides have (`v1`). `ed25519`: verified with `public_keys` (`v1a`)."),
]
OwnSecret = Annotated[
    SecretText | None,
    Field(description="Your own, of 24 to 64 bytes (`whsec_` and base64, or text), or for ed25519 a `whsk_` key."),
]
Schedule = Annotated[
    list[Annotated[float, Field(ge=0, le=2_592_000)]],
    Field(
        min_length=1,
        max_length=50,
        description="Waits before each attempt, the first of which is 0. Null: the setting's.",
    ),
]
AttemptSeconds = Annotated[
    float, Field(gt=0, le=LONGEST_TIMEOUT_SECONDS, description="Total time of one attempt. Null: the setting's.")
]


class NewSubscription(Request):
    """A subscription to be made."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "billing", "url": "https://billing.example.com/hooks"}]}
    )

    name: Name
    kind: Annotated[
        Literal["push", "pull"],
        Field(
            description="Whether results are sent to `url`, or taken from `messages` at the taker's own pace: then "
            "`max_in_flight` and `rate_per_second` mean nothing."
        ),
    ] = "push"
    url: Annotated[Text | None, Field(description="Where results are sent; needed unless `kind` is `pull`.")] = None
    webhook_ids: WebhookIds | None = None
    event_types: EventTypes | None = None
    filter: GivenFilter | None = None
    format: Format = "envelope"
    headers: Headers = Field(default_factory=dict)
    signing: Signing = "hmac"
    secret: OwnSecret = None
    max_in_flight: InFlight = 8
    rate_per_second: Rate | None = None
    schedule_seconds: Schedule | None = None
    timeout_seconds: AttemptSeconds | None = None
    metadata: Metadata = Field(default_factory=dict)


class SubscriptionChange(Change):
    """What to change; what is not named stays."""

    name: Name = "-"
    url: Text = "-"
    webhook_ids: WebhookIds | None = None
    event_types: EventTypes | None = None
    filter: GivenFilter | None = None
    format: Format = "envelope"
    headers: Headers = Field(default_factory=dict)
    max_in_flight: InFlight = 8
    rate_per_second: Rate | None = None
    schedule_seconds: Schedule | None = None
    timeout_seconds: AttemptSeconds | None = None
    metadata: Metadata = Field(default_factory=dict)


class SecretRotation(Request):
    """How to rotate the signing secret."""

    signing: Annotated[Signing | None, Field(description="Null: as it is.")] = None
    secret: OwnSecret = None
    overlap_seconds: Overlap = 86_400


class SubscriptionView(View):
    """Where results go. Secrets are not part of it; of the headers only the names are."""

    id: str
    name: str
    kind: str
    url: str | None
    webhook_ids: list[str] | None
    event_types: list[str] | None
    filter: dict[str, Any] | None
    format: str
    header_names: list[str]
    max_in_flight: int
    rate_per_second: float | None
    schedule_seconds: list[float] | None
    timeout_seconds: float | None
    signing: str
    public_keys: Annotated[
        list[str], Field(description="`whpk_…` to verify with, newest first; several while a rotation overlaps.")
    ]
    metadata: dict[str, Any]
    status: str
    status_reason: str | None
    breaker: BreakerView
    previous_secret_until: Time | None
    created_at: Time
    updated_at: Time


class BreakerView(View):
    """How the subscriber takes what it is sent."""

    state: Annotated[
        Literal["closed", "open", "half_open"],
        Field(description="`open`: it is down, deliveries wait. `half_open`: one is under way, to see."),
    ]
    opened_at: Time | None
    next_probe_at: Time | None
    failing_since: Annotated[Time | None, Field(description="Nothing but failures since then.")]
    last_error: str | None


class NewSubscriptionView(SubscriptionView):
    """A subscription with its new signing secret, which is not shown again."""

    secret: Annotated[str | None, Field(description="Null with ed25519: verify with `public_keys`.")]


class TestView(View):
    """What became of a test message."""

    message_id: str
    delivered: bool
    http_status: int | None
    error_code: str | None
    duration_ms: int
    response_excerpt: str | None


def breaker_view(breaker: Breaker | None, now: Instant) -> BreakerView:
    """A breaker as it goes out; without one the subscription is healthy."""
    if breaker is None:
        return BreakerView(state="closed", opened_at=None, next_probe_at=None, failing_since=None, last_error=None)
    probing = breaker.probe_until is not None and breaker.probe_until > now
    return BreakerView(
        state="closed" if breaker.opened_at is None else "half_open" if probing else "open",
        opened_at=breaker.opened_at,
        next_probe_at=breaker.next_probe_at,
        failing_since=breaker.failing_since,
        last_error=breaker.last_error,
    )


def view_of(subscription: Subscription, now: Instant, breaker: Breaker | None = None) -> SubscriptionView:
    """The subscription as it goes out."""
    private = [each for each in subscription.secrets if each.reveal().startswith(PRIVATE_KEY_PREFIX)]
    schedule = subscription.schedule_seconds
    return SubscriptionView(
        id=subscription.id,
        name=subscription.name,
        kind=subscription.kind,
        url=subscription.url,
        webhook_ids=None if subscription.webhook_ids is None else list(subscription.webhook_ids),
        event_types=None if subscription.event_types is None else list(subscription.event_types),
        filter=None if subscription.filter is None else dict(subscription.filter),
        format=subscription.format,
        header_names=sorted(subscription.headers),
        max_in_flight=subscription.max_in_flight,
        rate_per_second=subscription.rate_per_second,
        schedule_seconds=None if schedule is None else list(schedule),
        timeout_seconds=subscription.timeout_seconds,
        signing=subscription.signing,
        public_keys=[public_key_of(each) for each in private],
        metadata=dict(subscription.metadata),
        status=subscription.status,
        status_reason=subscription.status_reason,
        breaker=breaker_view(breaker, now),
        previous_secret_until=subscription.previous_secret_until,
        created_at=subscription.created_at,
        updated_at=subscription.updated_at,
    )


def with_secret(subscription: Subscription, now: Instant, breaker: Breaker | None = None) -> NewSubscriptionView:
    """The same with its newest secret."""
    secret = subscription.secrets[0].reveal() if subscription.signing == "hmac" else None
    return NewSubscriptionView(**dict(view_of(subscription, now, breaker)), secret=secret)
