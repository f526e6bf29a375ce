"""What a subscriber receives: the envelope around a result, and the headers of one attempt.

The provider's bytes are spliced in untouched: no number, key order or duplicate name changes on the way.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final

import orjson

from relay import __version__
from relay.clock import Instant, rfc3339
from relay.jsontext import is_strict_json
from relay.model import Result, Trigger
from relay.store.events import Event
from relay.tracing import span_id, trace_id

MAX_ENVELOPE_BYTES: Final = 1_048_576
ENVELOPE_TYPE: Final = "application/json"
USER_AGENT: Final = f"relay-webhooks/{__version__}"

_CLOSE: Final = b"}}"
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]+\Z")


def build_envelope(
    result: Result,
    webhook_name: str,
    provider: str,
    payload: bytes | None,
    payload_url: str | None,
    is_json: bool | None = None,
) -> bytes:
    """The body of a delivery.

    `payload` goes in as it is where every strict JSON parser takes it, else as `payload_base64`. Without a payload, or
    where the whole would be over 1 MiB, `payload_url` takes its place; a result that has neither has no such member.
    `is_json`: whether the payload is that kind of JSON, where somebody has found out already.
    Raises ValueError when the payload is too large and there is no URL for it.
    """
    head = _head(result, webhook_name, provider)
    if payload is not None and len(head) + len(payload) <= MAX_ENVELOPE_BYTES:
        strict = is_strict_json(payload) if is_json is None else is_json
        body = head + _payload_member(payload, strict) + _CLOSE
        if len(body) <= MAX_ENVELOPE_BYTES:
            return body
    if payload_url is not None:
        return head + b',"payload_url":' + orjson.dumps(payload_url) + _CLOSE
    if payload is not None:
        raise ValueError("a payload that does not fit into an envelope needs a payload_url")
    return head + _CLOSE


def _payload_member(payload: bytes, is_json: bool) -> bytes:
    if is_json:
        return b',"payload":' + payload
    return b',"payload_base64":"' + base64.b64encode(payload) + b'"'


def envelope_head(result: Result, webhook_name: str, provider: str) -> dict[str, Any]:
    """The envelope without its payload, as filters see it."""
    data = {
        "result_id": result.id,
        "job_id": result.job_id,
        "provider_job_id": result.provider_job_id,
        "webhook_id": result.webhook_id,
        "webhook_name": webhook_name,
        "provider": provider,
        "status": result.status,
        "partial": result.partial,
        "error": result.error,
        "metadata": dict(result.metadata),
        "content_type": result.content_type,
    }
    return {"type": result.type, "timestamp": rfc3339(result.fetched_at), "data": data}


def _head(result: Result, webhook_name: str, provider: str) -> bytes:
    """The envelope up to where the payload stands, still open."""
    return orjson.dumps(envelope_head(result, webhook_name, provider))[: -len(_CLOSE)]


def event_envelope(event: Event) -> bytes:
    """The body of a delivery that tells of an operational event."""
    return orjson.dumps({"type": event.type, "timestamp": rfc3339(event.created_at), "data": dict(event.data)})


def delivery_headers(
    *,
    message_id: str,
    delivery_id: str,
    job_id: str,
    attempt: int,
    trigger: Trigger,
    sent_at: Instant,
    signature: str,
    content_type: str | None = ENVELOPE_TYPE,
) -> dict[str, str]:
    """The headers of one attempt: Standard Webhooks, Relay's own, and W3C Trace Context.

    `signature` is over `message_id`, `sent_at` in whole seconds and the body. The trace is the job, so that all that
    happens to one job is one trace; the span is this attempt. A content type that cannot stand in a header becomes
    `application/octet-stream`.
    """
    if content_type is None or not _HEADER_VALUE.match(content_type):
        content_type = "application/octet-stream"
    return {
        "content-type": content_type,
        "user-agent": USER_AGENT,
        "webhook-id": message_id,
        "webhook-timestamp": str(webhook_timestamp(sent_at)),
        "webhook-signature": signature,
        "relay-delivery-id": delivery_id,
        "relay-attempt": str(attempt),
        "relay-trigger": trigger.value,
        "traceparent": traceparent(job_id, delivery_id, attempt),
    }


def webhook_timestamp(sent_at: Instant) -> int:
    """The attempt's time as Standard Webhooks has it: whole Unix seconds."""
    return sent_at // 1000


def traceparent(job_id: str, delivery_id: str, attempt: int) -> str:
    """W3C Trace Context for one attempt; the same attempt always has the same span."""
    return f"00-{trace_id(job_id)}-{span_id(delivery_id, attempt)}-01"
