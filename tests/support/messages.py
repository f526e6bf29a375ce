"""Two profiles, NetNut's and one that uses the whole language, and messages read by them."""

from __future__ import annotations

import json
from typing import Any

from relay.providers.loader import load_profiles, parse_profile
from relay.providers.reading import Notice, Verdict, read_answer, read_notification

MINIMAL = """
name = "acme"
title = "Acme"
[fetch]
kind = "url"
done_present = ["result"]
"""

FULL = """
name = "acme"
title = "Acme"
summary = "Slow things, fast."
notes = "Nothing is known."
origins = ["https://api.acme.example", "https://eu.acme.example:8443"]
base_url = "https://api.acme.example/v2"

[auth]
kind = "header"
header = "X-Api-Key"
value_prefix = "Key "

[[parameters]]
name = "project"
required = true
summary = "Your project."

[[parameters]]
name = "organization_id"

[callback]
methods = ["POST", "GET"]
event = ["type", "header:X-Acme-Event"]
ignore_events = ["webhook.test", "*.started"]
job_id = ["data.id", "items[0].id", "query:job"]
response_url = "urls.get"
status = ["data.status"]
delivery_id = ["header:webhook-id"]
completed_at = ["data.completed_at"]
expires_at = ["expiresAt"]
error = ["data.error"]

[callback.verification]
kind = "hmac"
header = "X-Acme-Signature"
algorithm = "sha512"
encoding = "base64"
prefix = "v1="
template = "{header:X-Time}.{body}"
timestamp_header = "X-Time"
tolerance_seconds = 60
key_encoding = "base64"
required = true
authenticates = true

[callback.inline]
present = ["data.output"]
type = "array"

[fetch]
kind = "template"
template = "/projects/{project}/jobs/{job_id}?organizationId={organization_id}"
done_present = ["output"]
done_type = "any"
status = ["status", "state"]
pending_http = [202, 404]
gone_present = ["data_removed"]
job_id = ["id"]
error = ["error.message", "error"]
completed_at = ["completed_at"]
expires_at = ["expires_at"]

[fetch.statuses]
pending = ["queued", "In Progress"]
completed = ["succeeded"]
partial = ["incomplete"]
failed = ["failed", "TIMED-OUT"]
cancelled = ["canceled", "cancelled"]
expired = ["expired"]

[retention]
seconds = 3600
anchor = "submitted"

[poll]
waits = [2, 5.5]
backstop = [60]
ready = [0, 1]
max_wait_seconds = 86400
hints = ["Acme-Poll-After-Ms"]
"""

NETNUT = load_profiles(None)["netnut"]
ACME = parse_profile(FULL, "acme.toml")
URL = "https://llm-scraper.netnut.io/result/1"
FINAL: dict[str, Any] = {
    "traceID": "7b0e-1",
    "model": "perplexity",
    "timestamp": "2026-11-21T19:00:00Z",
    "response": {"prompt": "p", "text": "t", "citations_found": False},
}


def told(body: object, *, query: str = "", headers: dict[str, str] | None = None, profile: Any = NETNUT) -> Notice:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_notification(profile, "POST", query, headers or {}, data)


def answered(
    body: object, status: int = 200, *, headers: dict[str, str] | None = None, profile: Any = NETNUT
) -> Verdict:
    return read_answer(profile, status, headers or {}, body if isinstance(body, bytes) else json.dumps(body).encode())
