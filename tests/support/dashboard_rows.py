"""One of everything, for a dashboard to show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from relay.clock import after
from relay.model import DeliveryStatus, JobStatus, NotificationStatus
from relay.store import rollups
from tests.support.clock import FakeClock
from tests.support.dashboard import Dashboard
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


class Filled:
    """A dashboard with one of everything."""

    def __init__(self, dashboard: Dashboard, clock: FakeClock) -> None:
        self.dashboard, self.clock = dashboard, clock

    async def fill(self, text: str = "req_8812", payload: bytes = b'{"id": 12345678901234567890}') -> list[str]:
        """Everything a stranger may write is `text`; the addresses of all pages."""
        management, now = self.dashboard.management, self.clock.now()
        webhook = await management.webhook()
        self.subscription = (await management.subscription())["id"]
        late = after(now, 600)
        done = job(
            webhook["id"], now, status=JobStatus.COMPLETED, due_at=None, provider_job_id=text, metadata={text: text},
            provider_status=text, last_error=text, response_url=text, notified_at=now, completed_at=now,
        )  # fmt: skip
        made = result(
            done.id, webhook["id"], after(now, 0.001), payload, error=text, content_type=text, provider_job_id=text
        )
        done = replace(done, result_id=made.id)
        waiting = job(webhook["id"], after(now, 0.005), last_error=text, attempts=2, due_at=late, provider_job_id=text)
        told = notification(webhook["id"], now, job_id=done.id, reason=text, content_type=text, method="POST")
        bad = notification(webhook["id"], after(now, 0.004), status=NotificationStatus.REJECTED, reason=text)
        sent = delivery(made.id, self.subscription, after(now, 0.002), attempts=2, last_error=text, due_at=late)
        spent = delivery(
            made.id, "sub_" + "1" * 32, after(now, 0.003), attempts=9, last_error=text, status=DeliveryStatus.EXHAUSTED,
            due_at=None, settled_at=now,
        )  # fmt: skip

        def store(conn: Any) -> None:
            put_job(conn, done, {"id": text})
            put_job(conn, waiting)
            put_result(conn, made, payload)
            put_notification(conn, told)
            put_notification(conn, bad)
            put_delivery(conn, sent)
            put_delivery(conn, spent)
            for owner, number in ((done.id, 1), (sent.id, 1), (sent.id, 2)):
                put_attempt(conn, attempt(owner, number, now, response_excerpt=text, error_code=text))
            counted = {
                (webhook["id"], "", "notification.accepted"): 3,
                (webhook["id"], self.subscription, "deliveries"): 2,
            }
            rollups.add(conn, counted, now)

        await management.database.write(store)
        self.job, self.waiting, self.result, self.delivery = done, waiting, made, sent
        replay = await management.make("/v1/replays", {"filter": {"result_ids": [made.id]}, "mode": "all"})
        return self.paths(webhook["id"], replay["id"])

    def paths(self, webhook_id: str, replay_id: str) -> list[str]:
        """Every page, once it is filled."""
        return [
            "/ui/", "/ui/playground", "/ui/jobs", f"/ui/jobs/{self.job.id}", f"/ui/jobs/{self.waiting.id}",
            f"/ui/jobs/{self.job.id}?payload=raw",
            "/ui/webhooks", f"/ui/webhooks/{webhook_id}", f"/ui/webhooks/{webhook_id}/rotate",
            "/ui/webhooks/new", "/ui/webhooks/new?provider=runpod", f"/ui/webhooks/{webhook_id}/edit",
            f"/ui/webhooks/{webhook_id}/delete", "/ui/subscriptions/new",
            f"/ui/subscriptions/{self.subscription}/edit", f"/ui/subscriptions/{self.subscription}/delete",
            "/ui/subscriptions", "/ui/deliveries", "/ui/deliveries?status=exhausted",
            f"/ui/subscriptions/{self.subscription}", f"/ui/subscriptions/{self.subscription}/rotate-secret",
            f"/ui/subscriptions/{self.subscription}/filter",
            "/ui/problems", "/ui/replays", "/ui/replays/new", f"/ui/replays/new?result_ids={self.result.id}&mode=all",
            f"/ui/replays/{replay_id}", "/ui/metrics", "/ui/metrics?range=24h", "/ui/settings",
        ]  # fmt: skip
