"""OpenTelemetry spans of what Relay did, for who asks for them: nothing of it is imported otherwise.

A job is one trace, whose id is the job's own and goes to subscribers in `traceparent`. What happens to it hours apart
is no call stack, so every attempt is a span without a parent, linked to the attempt before it. Spans are made when they
are over.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from relay.clock import Instant
from relay.errors import SettingError
from relay.frozen import frozen

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Link

# The semantic conventions for messaging are not stable yet: their names are here and nowhere else.
SYSTEM: Final = "messaging.system"
OPERATION: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
MESSAGE_ID: Final = "messaging.message.id"
CONVERSATION: Final = "messaging.message.conversation_id"
BODY_SIZE: Final = "messaging.message.body.size"
METHOD: Final = "http.request.method"
ROUTE: Final = "http.route"
STATUS: Final = "http.response.status_code"
RESENT: Final = "http.request.resend_count"
SERVER: Final = "server.address"
ERROR: Final = "error.type"
OUTCOME: Final = "relay.outcome"
TRIGGER: Final = "relay.trigger"

NO_PACKAGES: Final = "RELAY_TRACE_ENDPOINT needs more packages: pip install 'relay-webhooks[otel]'"
CALLBACK_ROUTE: Final = "/in/{token}"

_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

Attributes = Mapping[str, str | int | None]


def span_id(owner_id: str, number: int) -> str:
    """The span of one attempt of a job or a delivery: always the same, so that a later one can be linked to it."""
    return hashlib.blake2b(f"{owner_id}.{number}".encode(), digest_size=8).hexdigest()


def trace_id(row_id: str) -> str:
    """The trace of what has this id."""
    return row_id.rpartition("_")[2]


@frozen(kw_only=True)
class Span:
    """What a span says. `links` are W3C `traceparent`s; what is none is left out."""

    name: str
    kind: str  # SERVER | CLIENT | PRODUCER
    trace: str
    id: str
    started_at: Instant
    seconds: float
    attributes: Attributes
    links: tuple[str, ...] = ()
    failed: bool = False


@frozen(kw_only=True)
class Received:
    """A callback URL was called. `traceparent` is the provider's, which is linked to."""

    request_id: str
    job_id: str | None
    notification_id: str | None
    webhook: str
    method: str
    http_status: int
    outcome: str
    size: int
    started_at: Instant
    seconds: float
    traceparent: str | None = None

    def span(self) -> Span:
        """As a span: in the trace of the job, where it is about one."""
        return Span(
            name=f"{self.method} {CALLBACK_ROUTE}",
            kind="SERVER",
            trace=trace_id(self.job_id or self.notification_id or self.request_id),
            id=span_id(self.request_id, 0),
            started_at=self.started_at,
            seconds=self.seconds,
            attributes={
                METHOD: self.method, ROUTE: CALLBACK_ROUTE, STATUS: self.http_status or None, OPERATION: "receive",
                DESTINATION: self.webhook, MESSAGE_ID: self.notification_id, CONVERSATION: self.job_id,
                BODY_SIZE: self.size, OUTCOME: self.outcome,
            },
            links=() if self.traceparent is None else (self.traceparent,),
            failed=self.http_status >= 500,
        )  # fmt: skip


@frozen(kw_only=True)
class Attempted:
    """A provider was asked for a result, or a subscriber was sent one. `owner_id` is the job's or the delivery's.

    The span's id of a delivery is the one that its subscriber got in `traceparent`.
    """

    name: str
    kind: str
    operation: str
    job_id: str
    owner_id: str
    number: int
    destination: str
    outcome: str
    http_status: int | None
    error: str | None
    size: int
    started_at: Instant
    duration_ms: int
    more: Attributes

    def span(self) -> Span:
        """As a span, linked to the attempt before it."""
        trace = trace_id(self.job_id)
        before = f"00-{trace}-{span_id(self.owner_id, self.number - 1)}-01"
        return Span(
            name=self.name,
            kind=self.kind,
            trace=trace,
            id=span_id(self.owner_id, self.number),
            started_at=self.started_at,
            seconds=self.duration_ms / 1000,
            attributes={
                STATUS: self.http_status, ERROR: self.error, RESENT: self.number - 1, OPERATION: self.operation,
                DESTINATION: self.destination, CONVERSATION: self.job_id, BODY_SIZE: self.size, OUTCOME: self.outcome,
                **self.more,
            },
            links=(before,) if self.number > 1 else (),
            failed=self.error is not None,
        )  # fmt: skip


class Tracer:
    """Makes spans and hands them to a processor of the SDK. Raises ImportError without the SDK."""

    def __init__(self, processor: SpanProcessor, version: str) -> None:
        from opentelemetry.context import Context
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        self._nobody = Context()
        self._ids = _ids()
        # `Resource.create` and the provider read OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and the like by themselves.
        resource = Resource.create({"service.name": "relay", "service.version": version})
        self._provider = TracerProvider(resource=resource, id_generator=self._ids)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("relay", version)

    def write(self, what: Received | Attempted) -> None:
        """Make a span of something that is over."""
        from opentelemetry.trace import SpanKind, StatusCode

        span = what.span()
        self._ids.trace, self._ids.span = int(span.trace, 16), int(span.id, 16)
        started = self._tracer.start_span(
            span.name,
            context=self._nobody,
            kind=SpanKind[span.kind],
            attributes={SYSTEM: "relay", **{key: value for key, value in span.attributes.items() if value is not None}},
            links=[link for each in span.links for link in _links_to(each)],
            start_time=span.started_at * 1_000_000,
        )
        if span.failed:
            started.set_status(StatusCode.ERROR)
        started.end(span.started_at * 1_000_000 + round(span.seconds * 1e9))

    def close(self) -> None:
        """Send what is left. Blocks for some seconds at most."""
        self._provider.shutdown()


def _links_to(traceparent: str) -> Iterator[Link]:
    from opentelemetry.trace import Link, SpanContext, TraceFlags

    found = _TRACEPARENT.fullmatch(traceparent.strip())
    if found is not None:
        trace, span, flags = (int(part, 16) for part in found.groups())
        context = SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(flags))
        if context.is_valid:
            yield Link(context)


def open_tracer(endpoint: str | None, version: str) -> Tracer | None:
    """What sends spans to an OTLP/HTTP address; None where there is none. Raises SettingError without the packages."""
    if endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SettingError(NO_PACKAGES) from None
    return Tracer(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)), version)


def _ids() -> Any:
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    class NextIds(IdGenerator):
        """Gives the ids that were set: ours are known before a span is made."""

        trace = span = 0

        def generate_trace_id(self) -> int:
            return self.trace

        def generate_span_id(self) -> int:
            return self.span

    return NextIds()
