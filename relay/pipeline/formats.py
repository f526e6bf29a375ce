"""What a subscriber is sent in each format, before it is signed.

`envelope` is made in `relay.pipeline.envelope`; `thin` is one with an address in the place of the payload. `raw` is
the provider's bytes with their content type, and `cloudevents` the same as a CloudEvents 1.0 event in binary mode:
what the envelope would say stands in headers there, as `relay-*` or as `ce-*`. The signature covers the body, in every
format; these headers are as trustworthy as the connection that they come by.

Texts in headers are percent-encoded as CloudEvents has it (its HTTP binding, 3.1.3.2). A header of more than 2 KiB is
left out, since many servers refuse a whole request for one such; `relay-omitted` or `ce-omitted` then names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from relay.clock import rfc3339
from relay.frozen import frozen
from relay.model import CLOUDEVENTS, RAW, Result
from relay.pipeline.envelope import ENVELOPE_TYPE

MAX_HEADER_BYTES: Final = 2048

_TO_ENCODE: Final = re.compile(r"[^\x21\x23\x24\x26-\x7e]")  # blank, quote, per cent, what is not visible ASCII


@frozen()
class Message:
    """One delivery's body and what is said beside it. `held`: bytes that were taken of the budget for large bodies."""

    job_id: str
    body: bytes
    content_type: str | None = ENVELOPE_TYPE
    headers: Mapping[str, str] | None = None
    held: int = 0


def raw_headers(result: Result, webhook_name: str, provider: str) -> dict[str, str]:
    """What goes beside the provider's bytes: the envelope's members as `relay-*`."""
    told = {"event-type": result.type, "timestamp": rfc3339(result.fetched_at), **_told(result, webhook_name, provider)}
    return _headers("relay-", told, {name: name.replace("_", "-") for name in told})


def cloudevent_headers(result: Result, webhook_name: str, provider: str, message_id: str) -> dict[str, str]:
    """What makes the provider's bytes a CloudEvent; `message_id` is the same on every repeat, as its `id` has to be.

    The source is the webhook's address in the API, relative: it stays the same wherever this relay is reached.
    """
    told = _told(result, webhook_name, provider)
    context = {
        "specversion": "1.0",
        "id": message_id,
        "source": f"/v1/webhooks/{result.webhook_id}",
        "type": result.type,
        "time": rfc3339(result.fetched_at),
        "subject": result.id,
        **told,
    }
    return _headers("ce-", context, {name: name.replace("_", "") for name in context})


def test_headers(format: str, subscription_id: str, message_id: str, type: str, time: str) -> dict[str, str]:
    """What a test message has besides, so that a subscriber's parser finds what it looks for."""
    if format == RAW:
        return {"relay-event-type": type, "relay-timestamp": time}
    if format == CLOUDEVENTS:
        source = f"/v1/subscriptions/{subscription_id}"
        return {"ce-specversion": "1.0", "ce-id": message_id, "ce-source": source, "ce-type": type, "ce-time": time}
    return {}


def _told(result: Result, webhook_name: str, provider: str) -> dict[str, Any]:
    return {
        "result_id": result.id,
        "job_id": result.job_id,
        "provider_job_id": result.provider_job_id,
        "webhook_id": result.webhook_id,
        "webhook_name": webhook_name,
        "provider": provider,
        "status": str(result.status),
        "partial": "true" if result.partial else "false",
        "error": result.error,
        "metadata": json.dumps(dict(result.metadata), separators=(",", ":")) if result.metadata else None,
    }


def _headers(prefix: str, told: Mapping[str, str | None], names: Mapping[str, str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    omitted: list[str] = []
    for name, value in told.items():
        if not value:
            continue
        encoded = _TO_ENCODE.sub(_encoded, value)
        if len(encoded) > MAX_HEADER_BYTES:
            omitted.append(names[name])
        else:
            headers[prefix + names[name]] = encoded
    return headers | ({f"{prefix}omitted": ",".join(omitted)} if omitted else {})


def _encoded(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace"))
