"""What goes in and out at `/v1/subscriptions`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from relay.model import Subscription
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
Overlap = Annotated[float, Field(ge=0, le=2_592_000, description="How long the old secret signs too.")]


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
    secret: Annotated[SecretText | None, Field(description="A signing secret of your own, of 24 to 64 bytes.")] = None
    max_in_flight: InFlight = 8
    rate_per_second: Rate | None = None
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
    metadata: Metadata = Field(default_factory=dict)


class SecretRotation(Request):
    """How to rotate the signing secret."""

    secret: Annotated[SecretText | None, Field(description="A signing secret of your own, of 24 to 64 bytes.")] = None
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
    metadata: dict[str, Any]
    status: str
    status_reason: str | None
    previous_secret_until: Time | None
    created_at: Time
    updated_at: Time


class NewSubscriptionView(SubscriptionView):
    """A subscription with its new signing secret, which is not shown again."""

    secret: str


class TestView(View):
    """What became of a test message."""

    message_id: str
    delivered: bool
    http_status: int | None
    error_code: str | None
    duration_ms: int
    response_excerpt: str | None


def view_of(subscription: Subscription) -> SubscriptionView:
    """The subscription as it goes out."""
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
        metadata=dict(subscription.metadata),
        status=subscription.status,
        status_reason=subscription.status_reason,
        previous_secret_until=subscription.previous_secret_until,
        created_at=subscription.created_at,
        updated_at=subscription.updated_at,
    )


def with_secret(subscription: Subscription) -> NewSubscriptionView:
    return NewSubscriptionView(**dict(view_of(subscription)), secret=subscription.secrets[0].reveal())
