"""What goes in and out at `/v1/webhooks`."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from relay.model import Webhook
from relay.providers.profile import Profile
from relay.web.fields import (
    Change,
    InFlight,
    Metadata,
    Name,
    Rate,
    Request,
    Seconds,
    SecretText,
    Text,
    Time,
    View,
)
from relay.web.services import Services

HIDDEN: Final = "[hidden]"

Credentials = Annotated[
    dict[str, SecretText], Field(description="`username` and `password`, or `api_key`: what the provider asks for.")
]
Verification = Annotated[
    dict[str, SecretText], Field(description="`secret`, with `previous_secret` during a rotation; never shown again.")
]
RetentionDays = Annotated[
    float,
    Field(gt=0, le=36_500, description="How long this relay keeps what came in here, instead of RELAY_RETENTION_DAYS."),
]
RetentionBytes = Annotated[
    int,
    Field(
        ge=1024 * 1024, description="Payload bytes above which the oldest results go. Those still on their way stay."
    ),
]
NotificationRate = Annotated[
    Rate, Field(description="Calls of its callback URL above which the answer is 503, in each process. Null: no limit.")
]
Origins = Annotated[list[Text], Field(max_length=50, description="Where results may be fetched from.")]
Parameters = Annotated[dict[str, Text], Field(description="What the provider's profile asks for besides.")]
Waits = Annotated[list[Annotated[float, Field(ge=0, le=86_400)]], Field(min_length=1, max_length=100)]


class NewWebhook(Request):
    """A webhook to be registered."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "netnut-prod",
                    "provider": "netnut",
                    "credentials": {"username": "user", "password": "a-password"},
                    "origins": ["https://llm-scraper.netnut.io"],
                }
            ]
        }
    )

    name: Name
    provider: Annotated[Text, Field(description="The name of a loaded profile: `GET /v1/providers` lists them.")]
    credentials: Credentials | None = None
    origins: Origins | None = None
    base_url: Text | None = None
    parameters: Parameters = Field(default_factory=dict)
    verification: Verification | None = None
    retention_seconds: Seconds | None = None
    retention_days: RetentionDays | None = None
    retention_bytes: RetentionBytes | None = None
    poll_seconds: Waits | None = None
    fetch_max_in_flight: InFlight = 8
    fetch_rate_per_second: Rate | None = None
    notification_rate_per_second: NotificationRate | None = None
    untracked: Literal["accept", "ignore"] = "accept"
    metadata: Metadata = Field(default_factory=dict)


class WebhookChange(Change):
    """What to change; what is not named stays."""

    name: Name = "-"
    credentials: Credentials | None = None
    origins: Origins | None = None
    base_url: Text | None = None
    parameters: Parameters = Field(default_factory=dict)
    verification: Verification | None = None
    retention_seconds: Seconds | None = None
    retention_days: RetentionDays | None = None
    retention_bytes: RetentionBytes | None = None
    poll_seconds: Waits | None = None
    fetch_max_in_flight: InFlight = 8
    fetch_rate_per_second: Rate | None = None
    notification_rate_per_second: NotificationRate | None = None
    untracked: Literal["accept", "ignore"] = "accept"
    metadata: Metadata = Field(default_factory=dict)


class Rotation(Request):
    """How to rotate the callback URL."""

    overlap_seconds: Annotated[float, Field(ge=0, le=2_592_000, description="How long the old one stays valid.")] = 0


class WebhookView(View):
    """A registered inbound address. Secrets are not part of it, only the names of those that are set."""

    id: str
    name: str
    provider: str
    callback_url: Annotated[str | None, Field(description="Null for keys with the scope `read`.")]
    origins: list[str]
    base_url: str | None
    parameters: Annotated[
        dict[str, str], Field(description="`[hidden]` for keys with the scope `read` where it verifies notifications.")
    ]
    credentials_set: list[str]
    verification_set: list[str]
    retention_seconds: float | None
    retention_days: float | None
    retention_bytes: int | None
    poll_seconds: list[float] | None
    fetch_max_in_flight: int
    fetch_rate_per_second: float | None
    notification_rate_per_second: float | None
    untracked: str
    metadata: dict[str, Any]
    status: str
    created_at: Time
    updated_at: Time


def _shown_parameters(webhook: Webhook, profile: Profile | None, *, shows_secrets: bool) -> dict[str, str]:
    """One that notifications are verified by opens as much as the callback URL does."""
    callback = None if profile is None else profile.callback
    secret = "" if callback is None or shows_secrets else callback.verification.secret_parameter
    return {name: HIDDEN if name == secret else value for name, value in webhook.parameters.items()}


def view_of(services: Services, webhook: Webhook, *, with_url: bool) -> WebhookView:
    """The webhook as it goes out."""
    profile = services.profiles.get(webhook.provider)
    token = services.callback_tokens.mint(webhook.id, webhook.generation) if with_url else ""
    return WebhookView(
        id=webhook.id,
        name=webhook.name,
        provider=webhook.provider,
        callback_url=f"{services.public_url}/in/{token}" if with_url else None,
        origins=list(webhook.origins or (profile.origins if profile else ())),
        base_url=webhook.base_url,
        parameters=_shown_parameters(webhook, profile, shows_secrets=with_url),
        credentials_set=sorted(webhook.credentials),
        verification_set=sorted(webhook.verification),
        retention_seconds=webhook.retention_seconds,
        retention_days=webhook.retention_days,
        retention_bytes=webhook.retention_bytes,
        poll_seconds=None if webhook.poll_seconds is None else list(webhook.poll_seconds),
        fetch_max_in_flight=webhook.fetch_max_in_flight,
        fetch_rate_per_second=webhook.fetch_rate_per_second,
        notification_rate_per_second=webhook.notification_rate_per_second,
        untracked=webhook.untracked,
        metadata=dict(webhook.metadata),
        status=webhook.status,
        created_at=webhook.created_at,
        updated_at=webhook.updated_at,
    )
