"""One round trip as a collector sees it, over OTLP."""

from __future__ import annotations

from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.fake_api import fake_api
from tests.support.journey import PASSWORD, travelling


async def test_a_round_trip_is_one_trace_that_ends_where_the_subscriber_goes_on(
    sqlite_stage_url: str, tmp_path: Path
) -> None:
    with fake_api() as collector:
        endpoint = f"{collector.url}/v1/traces"
        async with travelling(sqlite_stage_url, tmp_path, hurry=10, trace_endpoint=endpoint) as world:
            world.netnut.knobs.pending_answers = 2
            webhook = await world.webhook()
            await world.subscribe()
            await world.ask(webhook, "tea")
            (message,) = await world.sink.wait_for(1)
            await world.until("/v1/deliveries", lambda page: page["data"][0]["status"] == "delivered")
            (notification,) = await world.page("/v1/notifications")
        bodies = [request.body for request in collector.requests]  # what was left was sent when Relay stopped
    spans = [span for body in bodies for span in _spans(body)]
    job_id = notification["job_id"]
    assert {span.trace_id.hex() for span in spans} == {job_id.removeprefix("job_")}
    names = [span.name for span in spans]
    assert names.count("POST /in/{token}") == names.count("deliver billing") == 1
    fetches = sorted((span for span in spans if span.name == "fetch netnut"), key=_began)
    assert len(fetches) == 3
    assert list(fetches[0].links) == []
    for before, after in zip(fetches, fetches[1:], strict=False):
        assert [link.span_id for link in after.links] == [before.span_id]
    (delivered,) = [span for span in spans if span.name == "deliver billing"]
    assert message.headers["traceparent"] == f"00-{delivered.trace_id.hex()}-{delivered.span_id.hex()}-01"
    assert not any(span.parent_span_id for span in spans)
    token = webhook["callback_url"].rpartition("/")[2].encode()
    for body in bodies:
        for secret in (token, PASSWORD.encode(), b"http://"):
            assert secret not in body


def _began(span: Span) -> int:
    return span.start_time_unix_nano


def _spans(body: bytes) -> list[Span]:
    request = ExportTraceServiceRequest.FromString(body)
    return [span for of in request.resource_spans for scope in of.scope_spans for span in scope.spans]
