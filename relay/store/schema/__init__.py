"""The tables. Instants are milliseconds (BIGINT), structures are JSON text, sealed columns are bytes.

The row that waits is the queue entry: `jobs` wait to be fetched, `deliveries` wait to be sent. Their queue columns are

    due_at       when the row next needs a worker; NULL = settled. Indexed, so it moves only on reschedule and settle.
    lease_until  who works on it keeps it until then. In no index, so that claims and heartbeats stay HOT on PostgreSQL.
    claims       counts claims and is the fence: every later write says `AND claims = :mine`.
    last_error   for people.
"""

from relay.store.schema.columns import metadata
from relay.store.schema.delivered import attempts, deliveries, payload_chunks, replays, results, spills
from relay.store.schema.operating import breakers, events, idempotency_keys, nodes, rollups, sealing_keys, usage
from relay.store.schema.received import captures, job_keys, jobs, notifications
from relay.store.schema.registered import api_keys, config, subscriptions, webhooks

__all__ = [
    "api_keys",
    "attempts",
    "breakers",
    "captures",
    "config",
    "deliveries",
    "events",
    "idempotency_keys",
    "job_keys",
    "jobs",
    "metadata",
    "nodes",
    "notifications",
    "payload_chunks",
    "replays",
    "results",
    "rollups",
    "sealing_keys",
    "spills",
    "subscriptions",
    "usage",
    "webhooks",
]
