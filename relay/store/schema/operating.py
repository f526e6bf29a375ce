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

from relay.store.schema.columns import instant_column, metadata, only

nodes = Table(  # who is alive; caps and rates are divided over them
    "nodes",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("role", Text, nullable=False),
    instant_column("started_at", nullable=False),
    instant_column("seen_at", nullable=False),
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
