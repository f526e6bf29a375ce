"""What a subscriber receives: payloads byte for byte, and the headers of an attempt."""

from __future__ import annotations

import base64
import json
import re
import timeit
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.clock import Instant, parse_rfc3339
from relay.model import JobStatus, Result, Trigger
from relay.pipeline.envelope import MAX_ENVELOPE_BYTES, build_envelope, delivery_headers, traceparent

NOW = parse_rfc3339("2026-11-21T19:00:00.250Z")
JOB_ID = "job_0193a3e1c8f07d7e8a1b2c3d4e5f6a7b"


def result(**changes: Any) -> Result:
    values: dict[str, Any] = {
        "id": "res_1",
        "job_id": JOB_ID,
        "webhook_id": "wh_1",
        "provider_job_id": "7b0e-1",
        "status": JobStatus.COMPLETED,
        "error": None,
        "partial": False,
        "metadata": {"tenant": "acme"},
        "content_type": "application/json",
        "size_bytes": 2,
        "sha256": None,
        "payload_id": None,
        "fetched_at": NOW,
    }
    return Result(**values | changes)


def envelope(payload: bytes | None, payload_url: str | None = None, **changes: Any) -> bytes:
    return build_envelope(result(**changes), "netnut-prod", "netnut", payload, payload_url)


def test_the_envelope_is_as_the_contract_says_in_that_order() -> None:
    assert envelope(b'{"b": 1.0, "a": 2}') == (
        b'{"type":"result.completed","timestamp":"2026-11-21T19:00:00.250Z",'
        b'"data":{"result_id":"res_1","job_id":"job_0193a3e1c8f07d7e8a1b2c3d4e5f6a7b","provider_job_id":"7b0e-1",'
        b'"webhook_id":"wh_1","webhook_name":"netnut-prod","provider":"netnut","status":"completed","partial":false,'
        b'"error":null,"metadata":{"tenant":"acme"},"content_type":"application/json","payload":{"b": 1.0, "a": 2}}}'
    )


AS_PAYLOAD = [
    b'{"a":1,"a":2}',
    b'{"z":1,"a":2}',
    b"[-0,1.0,1e2,9223372036854775808,0.1000]",
    b' {"a" :\r\n 1 }\r\n',
    '{"é":"😀","escaped":"\\ud83d\\ude00\\/"}'.encode(),
    b"null",
    b'"text"',
    b"3",
    b"[" * 100 + b"]" * 100,
]
AS_BASE64 = [
    b"",
    b"plain text",
    b"<html></html>",
    b"{",
    b'{"a":NaN}',
    b'{"a":1e400}',
    b"9" * 5000,
    b'{"a":"\\ud800"}',
    b'{"a":"\xff"}',
    b'\xef\xbb\xbf{"a":1}',
    '{"a":1}'.encode("utf-16"),
    b"[" * 5000 + b"]" * 5000,
    b'1}},"type":"result.failed","x":{"y":{',
    bytes(range(256)),
]


@pytest.mark.parametrize("payload", AS_PAYLOAD)
def test_strict_json_is_spliced_in_untouched(payload: bytes) -> None:
    body = envelope(payload)
    assert body.endswith(b',"payload":' + payload + b"}}")
    assert json.loads(body)["data"]["payload"] == json.loads(payload)


@pytest.mark.parametrize("payload", AS_BASE64)
def test_anything_else_is_sent_as_base64(payload: bytes) -> None:
    data = json.loads(envelope(payload))["data"]
    assert base64.b64decode(data["payload_base64"], validate=True) == payload
    assert "payload" not in data


@given(st.binary())
def test_every_envelope_is_json_and_gives_the_payload_back(payload: bytes) -> None:
    body = envelope(payload)
    data = json.loads(body)["data"]
    if "payload" in data:
        assert body.endswith(b',"payload":' + payload + b"}}")
    else:
        assert base64.b64decode(data["payload_base64"]) == payload


@given(st.text().filter(lambda text: text.isprintable()), st.text().filter(lambda text: text.isprintable()))
def test_names_and_metadata_cannot_break_out_of_their_place(name: str, value: str) -> None:
    body = build_envelope(result(metadata={name: value}, error=value), name, "netnut", b"{}", None)
    data = json.loads(body)["data"]
    assert (data["webhook_name"], data["metadata"], data["error"]) == (name, {name: value}, value)


def test_the_largest_envelope_is_exactly_one_mebibyte() -> None:
    room = MAX_ENVELOPE_BYTES - len(envelope(b'""')) + 2
    payload = b'"' + b"x" * (room - 2) + b'"'
    assert len(envelope(payload, "https://relay/p")) == MAX_ENVELOPE_BYTES
    assert json.loads(envelope(b" " + payload, "https://relay/p"))["data"]["payload_url"] == "https://relay/p"


def test_base64_counts_as_it_is_sent() -> None:
    data = json.loads(envelope(b"\x00" * (MAX_ENVELOPE_BYTES * 4 // 5), "https://relay/p"))["data"]
    assert data["payload_url"] == "https://relay/p" and "payload_base64" not in data


def test_a_thin_envelope_has_a_url_and_no_payload() -> None:
    body = envelope(None, "https://relay/p?a=1&b=2")
    assert body.endswith(b'"content_type":"application/json","payload_url":"https://relay/p?a=1&b=2"}}')
    assert "payload" not in json.loads(body)["data"]


def test_a_result_without_payload_has_neither() -> None:
    body = json.loads(envelope(None, status=JobStatus.EXPIRED, content_type=None, error="gone"))
    assert body["type"] == "result.expired"
    assert not {"payload", "payload_base64", "payload_url"} & body["data"].keys()


def test_a_payload_that_does_not_fit_needs_a_url() -> None:
    with pytest.raises(ValueError, match="payload_url"):
        envelope(b'"' + b"x" * MAX_ENVELOPE_BYTES + b'"')


def headers(**changes: Any) -> dict[str, str]:
    values: dict[str, Any] = {
        "message_id": "res_1",
        "delivery_id": "dlv_1",
        "job_id": JOB_ID,
        "attempt": 2,
        "trigger": Trigger.RETRY,
        "sent_at": Instant(NOW),
        "signature": "v1,abc v1,def",
    }
    return delivery_headers(**values | changes)


def test_an_attempt_carries_these_headers() -> None:
    sent = headers()
    assert re.fullmatch(r"relay-webhooks/[0-9.]+", sent.pop("user-agent"))
    assert re.fullmatch(r"00-0193a3e1c8f07d7e8a1b2c3d4e5f6a7b-[0-9a-f]{16}-01", sent.pop("traceparent"))
    assert sent == {
        "content-type": "application/json",
        "webhook-id": "res_1",
        "webhook-timestamp": "1795287600",
        "webhook-signature": "v1,abc v1,def",
        "relay-delivery-id": "dlv_1",
        "relay-attempt": "2",
        "relay-trigger": "retry",
    }


def test_each_attempt_is_its_own_span_of_the_jobs_trace() -> None:
    spans = {traceparent(JOB_ID, delivery, attempt) for delivery in ("dlv_1", "dlv_2") for attempt in (1, 2, 11)}
    assert len(spans) == 6
    assert {span.split("-")[1] for span in spans} == {JOB_ID.removeprefix("job_")}
    assert traceparent(JOB_ID, "dlv_1", 1) in spans


@pytest.mark.parametrize("content_type", [None, "", "text/html\r\nx-injected: 1", "text/ü"])
def test_a_content_type_that_cannot_be_sent_becomes_octets(content_type: str | None) -> None:
    assert headers(content_type=content_type)["content-type"] == "application/octet-stream"


def test_a_providers_content_type_is_kept() -> None:
    assert headers(content_type="text/csv; charset=utf-8")["content-type"] == "text/csv; charset=utf-8"


def test_an_envelope_of_two_kilobytes_is_cheap() -> None:
    payload = json.dumps({"response": {"text": "x" * 2000}}).encode()
    timer = timeit.Timer(lambda: envelope(payload))
    assert min(timer.repeat(5, 500)) / 500 < 100e-6
