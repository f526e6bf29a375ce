"""Spans as the SDK exports them: one trace for a job, links instead of parents, names of the conventions."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from relay.clock import Instant
from relay.errors import SettingError
from relay.pipeline.envelope import traceparent
from relay.tracing import Attempted, Received, Tracer, open_tracer, span_id, trace_id

NOW = Instant(1_764_000_000_000)
JOB, DELIVERY = "job_" + "0" * 8 + "1" * 24, "dlv_" + "2" * 32
RECEIVED = Received(
    request_id="req_" + "3" * 32, job_id=JOB, notification_id="ntf_" + "4" * 32, webhook="netnut-prod", method="POST",
    http_status=200, outcome="accepted", size=450, started_at=NOW, seconds=0.0035,
)  # fmt: skip
DELIVERED = Attempted(
    name="deliver billing", kind="PRODUCER", operation="send", job_id=JOB, owner_id=DELIVERY, number=3,
    destination="billing", outcome="pending", http_status=503, error=None, size=900, started_at=NOW, duration_ms=12,
    more={},
)  # fmt: skip


def exported(*events: Received | Attempted) -> list[ReadableSpan]:
    """What comes out of the SDK."""
    exporter = InMemorySpanExporter()
    tracer = Tracer(SimpleSpanProcessor(exporter), "1.2.3")
    for event in events:
        tracer.write(event)
    tracer.close()
    return list(exporter.get_finished_spans())


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Trace and span."""
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def test_a_job_is_one_trace_whatever_happens_to_it() -> None:
    received, delivered = exported(RECEIVED, DELIVERED)
    assert ids(received)[0] == ids(delivered)[0] == trace_id(JOB)
    assert received.parent is None
    assert delivered.parent is None
    assert received.resource.attributes["service.name"] == "relay"


def test_a_subscribers_parent_is_the_span_of_the_attempt() -> None:
    (delivered,) = exported(DELIVERED)
    trace, span = ids(delivered)
    assert traceparent(JOB, DELIVERY, 3) == f"00-{trace}-{span}-01"


def test_an_attempt_is_linked_to_the_one_before_it() -> None:
    first, third = exported(replace(DELIVERED, number=1), DELIVERED)
    assert list(first.links) == []
    (link,) = third.links
    assert f"{link.context.span_id:016x}" == span_id(DELIVERY, 2)
    assert f"{link.context.trace_id:032x}" == trace_id(JOB)
    assert third.attributes is not None
    assert third.attributes["http.request.resend_count"] == 2


def test_a_span_has_the_times_and_the_names_of_the_conventions() -> None:
    (received,) = exported(RECEIVED)
    assert (received.start_time, received.end_time) == (NOW * 1_000_000, NOW * 1_000_000 + 3_500_000)
    assert received.name == "POST /in/{token}"
    assert dict(received.attributes or {}) == {
        "messaging.system": "relay", "messaging.operation.type": "receive", "messaging.destination.name": "netnut-prod",
        "messaging.message.id": RECEIVED.notification_id, "messaging.message.conversation_id": JOB,
        "messaging.message.body.size": 450, "http.request.method": "POST", "http.route": "/in/{token}",
        "http.response.status_code": 200, "relay.outcome": "accepted",
    }  # fmt: skip


def test_what_failed_says_so() -> None:
    fine, failed, away = exported(
        DELIVERED, replace(DELIVERED, error="timed_out", http_status=None), replace(RECEIVED, http_status=503)
    )
    assert fine.status.is_ok
    assert not failed.status.is_ok
    assert dict(failed.attributes or {})["error.type"] == "timed_out"
    assert "http.response.status_code" not in dict(failed.attributes or {})
    assert not away.status.is_ok


@pytest.mark.parametrize(
    ("given", "linked"),
    [
        (f"00-{'a' * 32}-{'b' * 16}-01", 1), (f" 00-{'a' * 32}-{'b' * 16}-00 ", 1), (f"00-{'0' * 32}-{'b' * 16}-01", 0),
        (f"00-{'a' * 32}-{'0' * 16}-01", 0), ("", 0), ("00-x-y-01", 0), (f"ff-{'a' * 32}-{'b' * 16}-01", 0), (None, 0),
    ],
)  # fmt: skip
def test_the_providers_own_trace_is_linked_to_if_it_is_one(given: str | None, linked: int) -> None:
    (received,) = exported(replace(RECEIVED, traceparent=given))
    assert len(received.links) == linked
    assert ids(received)[0] == trace_id(JOB)


def test_a_call_that_is_about_no_job_has_a_trace_of_its_own() -> None:
    (received,) = exported(replace(RECEIVED, job_id=None, notification_id=None, webhook=""))
    assert ids(received)[0] == trace_id(RECEIVED.request_id)


def test_without_an_endpoint_nothing_of_it_is_imported() -> None:
    code = (
        "import sys; from relay.app import Relay; from relay.tracing import open_tracer;"
        "assert open_tracer(None, '1') is None;"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'requests', 'google.protobuf'))])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", nothing)
    with pytest.raises(SettingError, match=r"relay-webhooks\[otel\]"):
        open_tracer("http://127.0.0.1:4318/v1/traces", "1")
