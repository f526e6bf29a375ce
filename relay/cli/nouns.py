"""The nouns of the API with their paths, id prefixes and list columns."""

from __future__ import annotations

from relay.cli.noun import Noun

WEBHOOK = Noun("webhook", "/v1/webhooks", "wh", ("id", "name", "provider", "status", "created_at"), has_name=True)
SUBSCRIPTION = Noun("sub", "/v1/subscriptions", "sub", ("id", "name", "status", "url", "created_at"), has_name=True)
JOB = Noun(
    "job", "/v1/jobs", "job", ("id", "status", "provider_job_id", "attempts", "deadline", "result_id", "last_error")
)
RESULT = Noun("result", "/v1/results", "res", ("id", "type", "job_id", "provider_job_id", "size_bytes", "fetched_at"))
DELIVERY = Noun(
    "delivery", "/v1/deliveries", "dlv", ("id", "status", "subscription_id", "result_id", "attempt_count", "last_error")
)
REPLAY = Noun("replay", "/v1/replays", "rpl", ("id", "status", "total", "queued", "delivered", "failed"))
NOTIFICATION = Noun(
    "notification", "/v1/notifications", "ntf", ("id", "status", "webhook_id", "job_id", "received_at", "reason")
)
EVENT = Noun("event", "/v1/events", "evt", ("id", "type", "subject_id", "created_at"))
KEY = Noun("key", "/v1/keys", "key", ("id", "name", "scope", "created_at", "expires_at", "revoked_at"), has_name=True)
PROVIDER = Noun(
    "provider",
    "/v1/providers",
    "",
    ("name", "title", "verification", "credentials", "retention_seconds"),
    has_pages=False,
)
