"""What other people build on: every promised field is there, and what they leave out is as it was promised."""

from __future__ import annotations

from typing import Any, Final

from relay.model import JobStatus
from tests.support.clock import FakeClock
from tests.support.management import Management, webhook_body
from tests.support.noun_rows import (
    attempt,
    delivery,
    job,
    notification,
    put_attempt,
    put_delivery,
    put_job,
    put_notification,
    put_result,
    result,
)

PROMISED: Final = {
    "webhooks": "id name provider callback_url origins status created_at base_url parameters retention_seconds "
    "poll_seconds fetch_max_in_flight fetch_rate_per_second untracked metadata",
    "jobs": "id webhook_id provider provider_job_id response_url status provider_status deadline created_at "
    "notified_at completed_at result_id attempts next_attempt_at last_error metadata",
    "notifications": "id webhook_id job_id status reason received_at",
    "results": "id type job_id webhook_id provider provider_job_id status content_type size_bytes sha256 fetched_at "
    "metadata payload",
    "subscriptions": "id name url webhook_ids event_types filter format max_in_flight rate_per_second status kind",
    "deliveries": "id subscription_id status result_id replay_id attempts",
    "replays": "id status total queued delivered failed",
}
ATTEMPT: Final = {
    "number", "trigger", "started_at", "duration_ms", "http_status", "error_code", "response_excerpt",
}  # fmt: skip


async def test_every_promised_field_is_in_its_answer(management: Management, clock: FakeClock) -> None:
    webhook, subscription = await management.webhook(), await management.subscription()
    one = job(webhook["id"], clock.now(), status=JobStatus.COMPLETED, due_at=None)
    stored, received = result(one.id, webhook["id"], clock.now(), b"{}"), notification(webhook["id"], clock.now())
    sent = delivery(stored.id, subscription["id"], clock.now())

    def put(conn: Any) -> None:
        put_job(conn, one)
        put_result(conn, stored, b"{}")
        put_notification(conn, received)
        put_delivery(conn, sent)
        put_attempt(conn, attempt(sent.id, 1, clock.now()))
        put_attempt(conn, attempt(one.id, 1, clock.now()))

    await management.database.write(put)
    replay = await management.make("/v1/replays", {"filter": {"webhook_id": webhook["id"]}, "mode": "all"})
    ids = {
        "webhooks": webhook["id"], "jobs": one.id, "notifications": received.id, "results": stored.id,
        "subscriptions": subscription["id"], "deliveries": sent.id, "replays": replay["id"],
    }  # fmt: skip
    for noun, id in ids.items():
        shown = (await management.client.get(f"/v1/{noun}/{id}")).json()
        assert shown["id"] == id
        assert set(PROMISED[noun].split()) - shown.keys() == set(), noun
    made = (await management.client.get(f"/v1/deliveries/{sent.id}")).json()["attempts"]
    made += (await management.client.get(f"/v1/jobs/{one.id}/attempts")).json()["data"]
    assert [ATTEMPT - item.keys() for item in made] == [set(), set()]
    tried = await management.make("/v1/replays", {"filter": {"webhook_id": webhook["id"]}, "dry_run": True})
    assert tried.keys() == {"count", "oldest", "newest", "samples"}


async def test_what_is_left_out_is_as_promised(management: Management) -> None:
    body = webhook_body()
    del body["origins"]
    webhook = await management.make("/v1/webhooks", body)
    assert webhook | {
        "status": "active", "base_url": None, "parameters": {}, "retention_seconds": None, "poll_seconds": None,
        "fetch_max_in_flight": 8, "fetch_rate_per_second": None, "untracked": "accept", "metadata": {},
        "notification_rate_per_second": None,
    } == webhook  # fmt: skip
    subscription = await management.subscription()
    assert subscription | {
        "status": "active", "kind": "push", "webhook_ids": None, "event_types": None, "filter": None,
        "format": "envelope", "header_names": [], "max_in_flight": 8, "rate_per_second": None,
    } == subscription  # fmt: skip
    replay = await management.make("/v1/replays", {"filter": {"webhook_id": webhook["id"]}})
    assert replay | {"mode": "undelivered", "new_message_id": False, "rate_per_second": None} == replay
    key = await management.make("/v1/keys", {"name": "dashboard"})
    assert key["scope"] == "read"
