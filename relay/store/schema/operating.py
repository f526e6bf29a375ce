"""What processes tell each other and remember for themselves."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from relay.store.schema.columns import id_column, instant_column, metadata, only

nodes = Table(  # who is alive; caps and rates are divided over them
    "nodes",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("role", Text, nullable=False),
    instant_column("started_at", nullable=False),
    instant_column("seen_at", nullable=False),
)

breakers = Table(  # subscriptions that take nothing at present; a healthy one has no row here
    "breakers",
    metadata,
    id_column("subscription_id"),
    instant_column("failing_since", nullable=False),  # nothing but failures since then
    instant_column("opened_at"),  # NULL: it fails, and is tried all the same
    instant_column("next_probe_at"),
    instant_column("probe_until"),  # one node is probing, until then
    Column("probes", Integer, nullable=False, server_default="0"),  # that failed since it opened
    Column("last_error", Text),
)

events = Table(  # what Relay has to say about itself to those who asked for it
    "events",
    metadata,
    id_column(),
    Column("type", Text, nullable=False),
    Column("subject_id", String(40), nullable=False),  # the job or the subscription
    Column("data", Text, nullable=False),
    instant_column("created_at", nullable=False),
    Column("once", Text),  # what is said once only has a key here
    Index("uq_events_once", "once", unique=True),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", Text, primary_key=True),  # SHA-256 of API key id, route and the caller's key
    Column("fingerprint", Text, nullable=False),
    Column("status", Integer),
    Column("response_sealed", LargeBinary),
    instant_column("created_at", nullable=False),
    Column("job_id", String(40)),  # of a submit: what is erased of the job is erased here too
    Index("ix_idempotency_keys_job", "job_id", **only("job_id IS NOT NULL")),
)

usage = Table(  # payload bytes of the webhooks that have a limit, counted behind the hot path's back
    "usage",
    metadata,
    Column("webhook_id", String(40), primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("counted_to", String(40), nullable=False),  # results up to this id are in it
)

sealing_keys = Table(  # which encryption keys rows were sealed with; a missing one stops the start
    "sealing_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    instant_column("first_used_at", nullable=False),
)

rollups = Table(  # what happened in each minute and hour: numbers are shown from here, never counted anew
    "rollups",
    metadata,
    Column("span", Integer, primary_key=True, autoincrement=False),  # minutes: 1 or 60
    Column("minute", BigInteger, primary_key=True, autoincrement=False),  # since 1970, the first of the span
    Column("webhook_id", String(40), primary_key=True),  # '' = of no one webhook
    Column("subscription_id", String(40), primary_key=True),  # '' = of no one subscription
    Column("counter", Text, primary_key=True),
    Column("amount", BigInteger, nullable=False),
)
