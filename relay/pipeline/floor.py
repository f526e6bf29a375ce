"""What every stage stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from relay.clock import Clock
from relay.frozen import frozen
from relay.metrics import Metrics
from relay.pipeline.bindings import Bindings
from relay.pipeline.capture import Captures
from relay.pipeline.counters import Counters
from relay.pipeline.payloads import Payloads
from relay.store.configuration import ConfigurationCache
from relay.store.database import Database
from relay.tracing import Tracer

Sealing = Callable[[str, str, str, bytes], bytes]  # table, column, row id, bytes


@frozen()
class Floor:
    """Made once by the composition root."""

    clock: Clock
    database: Database
    configuration: ConfigurationCache
    bindings: Bindings
    payloads: Payloads
    captures: Captures
    seal: Sealing
    unseal: Sealing
    lease_seconds: float
    give_up_seconds: float
    metrics: Metrics = field(default_factory=Metrics)
    tracer: Tracer | None = None
    counters: Counters = field(default_factory=Counters)
