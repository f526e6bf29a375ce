from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from pytest import MonkeyPatch

from relay.clock import Instant
from relay.model import Delivery, DeliveryStatus, JobStatus
from relay.store import rollups, stats
from tests.support.clock import FakeClock
from tests.support.management import Management
from tests.support.noun_rows import attempt, delivery, job, put_attempt, put_delivery, put_job, put_result, result


@dataclass
class World:
    """One result and its deliveries to one subscription."""

    job_id: str
    result_id: str
    subscription_id: str
    made: dict[str, Delivery]


async def world(management: Management, clock: FakeClock) -> World:
    webhook, subscription = await management.webhook(), await management.subscription()
    one = job(webhook["id"], clock.now(), status=JobStatus.COMPLETED, due_at=None)
    stored = result(one.id, webhook["id"], clock.now(), b"{}")
    made: dict[str, Delivery] = {}
    for number, status in enumerate(DeliveryStatus):
        clock.advance(1)
        due = clock.now() if status is DeliveryStatus.PENDING else None
        replay_id = f"rpl_{number:032x}" if number else None
        made[status] = delivery(
            stored.id, subscription["id"], clock.now(), status=status, due_at=due, replay_id=replay_id, attempts=2
        )

    def put(conn: Any) -> None:
        put_job(conn, one)
        put_result(conn, stored, b"{}")
        for item in made.values():
            put_delivery(conn, item)
            put_attempt(conn, attempt(item.id, 1, clock.now()))
            put_attempt(conn, attempt(item.id, 2, clock.now()))

    await management.database.write(put)
    return World(one.id, stored.id, subscription["id"], made)


async def test_deliveries_are_listed_by_what_they_are(on_both: Management, clock: FakeClock) -> None:
    there = await world(on_both, clock)
    ids = {status: item.id for status, item in there.made.items()}

    async def listed(query: str) -> list[str]:
        answer = await on_both.client.get(f"/v1/deliveries?{query}")
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["data"]]

    newest_first = list(reversed(ids.values()))
    assert await listed("") == newest_first
    assert await listed(f"subscription_id={there.subscription_id}") == newest_first
    assert await listed(f"result_id={there.result_id}") == newest_first
    assert await listed(f"result_id={there.result_id}&event_id=evt_{'0' * 32}") == []
    assert await listed(f"job_id={there.job_id}") == newest_first
    assert await listed("job_id=job_" + "0" * 32) == []
    assert await listed("status=exhausted") == [ids["exhausted"]]
    assert await listed("status=delivered,pending") == [ids["delivered"], ids["pending"]]
    assert await listed(f"replay_id=rpl_{1:032x}") == [ids["delivered"]]
    assert (await on_both.client.get("/v1/deliveries?status=sent")).status_code == 400


async def test_a_delivery_comes_with_its_attempts(management: Management, clock: FakeClock) -> None:
    there = await world(management, clock)
    shown = (await management.client.get(f"/v1/deliveries/{there.made['exhausted'].id}")).json()
    assert shown["attempt_count"] == 2
    assert [(item["number"], item["trigger"], item["error_code"]) for item in shown["attempts"]] == [
        (1, "new", "http_status"),
        (2, "retry", "http_status"),
    ]


async def test_a_retried_delivery_is_due_now_with_a_fresh_budget(on_both: Management, clock: FakeClock) -> None:
    there = await world(on_both, clock)
    clock.advance(100)
    for status in ("exhausted", "cancelled", "delivered"):
        answer = await on_both.client.post(f"/v1/deliveries/{there.made[status].id}/retry")
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        row = await stored(on_both, there.made[status].id)
        assert (row.due_at, row.budget_from, row.attempts, row.claims) == (clock.now(), 2, 2, 1)
    assert "deliveries" in on_both.outside.hints


async def test_a_delivery_that_is_being_sent_keeps_its_claim_when_retried(
    on_both: Management, clock: FakeClock
) -> None:
    there = await world(on_both, clock)
    busy = delivery(
        there.result_id, there.subscription_id, clock.now(), replay_id="rpl_" + "f" * 32, attempts=3, claims=7,
        lease_until=clock.now() + 30_000,
    )  # fmt: skip
    await on_both.database.write(lambda conn: put_delivery(conn, busy))
    assert (await on_both.client.post(f"/v1/deliveries/{busy.id}/retry")).status_code == 202
    row = await stored(on_both, busy.id)
    assert (row.claims, row.lease_until, row.budget_from) == (7, busy.lease_until, 3)


async def test_a_cancelled_delivery_is_settled_and_its_sender_fenced_off(on_both: Management, clock: FakeClock) -> None:
    there = await world(on_both, clock)
    for _ in range(2):
        answer = await on_both.client.post(f"/v1/deliveries/{there.made['pending'].id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        row = await stored(on_both, there.made["pending"].id)
        assert (row.due_at, row.claims, row.settled_at) == (None, 1, clock.now())
    refused = await on_both.client.post(f"/v1/deliveries/{there.made['delivered'].id}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "delivery_settled")


async def test_a_delivery_to_a_deleted_subscription_is_not_retried(management: Management, clock: FakeClock) -> None:
    there = await world(management, clock)
    await management.client.delete(f"/v1/subscriptions/{there.subscription_id}")
    answer = await management.client.post(f"/v1/deliveries/{there.made['exhausted'].id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "subscription_deleted")


async def test_a_dry_run_counts_and_a_replay_counts_up(on_both: Management, clock: FakeClock) -> None:
    there = await world(on_both, clock)
    clock.advance(1)
    body = {"filter": {"result_ids": [there.result_id]}, "mode": "all"}
    tried = await on_both.make("/v1/replays", {**body, "dry_run": True})
    assert (tried["count"], tried["samples"]) == (1, [there.result_id])
    answer = await on_both.client.post("/v1/replays", json=body)
    made = answer.json()
    assert (answer.status_code, made["status"], answer.headers["location"]) == (
        202,
        "running",
        f"/v1/replays/{made['id']}",
    )
    await on_both.replayer.run_once()
    slower = await on_both.client.patch(f"/v1/replays/{made['id']}", json={"rate_per_second": 2})
    assert (slower.status_code, slower.json()["rate_per_second"]) == (200, 2)
    for verb, status in (("pause", "paused"), ("pause", "paused"), ("resume", "running")):
        turned = await on_both.client.post(f"/v1/replays/{made['id']}/{verb}")
        assert (turned.status_code, turned.json()["status"]) == (200, status)
        [waiting] = (await on_both.client.get(f"/v1/deliveries?replay_id={made['id']}")).json()["data"]
        assert (waiting["next_attempt_at"] is None) == (status == "paused")
    shown = (await on_both.client.get(f"/v1/replays/{made['id']}")).json()
    assert (shown["queued"], shown["delivered"], shown["failed"]) == (1, 0, 0)
    cancelled = (await on_both.client.delete(f"/v1/replays/{made['id']}")).json()
    assert (cancelled["status"], cancelled["queued"], cancelled["failed"]) == ("cancelled", 0, 1)
    assert [item["id"] for item in (await on_both.client.get("/v1/replays")).json()["data"]] == [made["id"]]
    for call in (
        on_both.client.post(f"/v1/replays/{made['id']}/pause"),
        on_both.client.post(f"/v1/replays/{made['id']}/resume"),
        on_both.client.patch(f"/v1/replays/{made['id']}", json={"rate_per_second": None}),
    ):
        over = await call
        assert (over.status_code, over.json()["code"]) == (409, "replay_over")


async def test_a_replay_of_everything_by_mistake_is_refused(management: Management) -> None:
    for wrong, pointer in (({}, "#/filter"), ({"webhook_id": None}, "#/filter"), ({"ids": []}, "#/filter/ids")):
        answer = await management.client.post("/v1/replays", json={"filter": wrong})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    unknown = {"filter": {"types": ["result.failed"]}, "subscription_ids": ["sub_" + "0" * 32]}
    answer = await management.client.post("/v1/replays", json=unknown)
    assert answer.json()["errors"][0]["pointer"] == "#/subscription_ids/0"


async def test_stats_count_what_waits(on_both: Management, clock: FakeClock) -> None:
    await world(on_both, clock)
    clock.advance(5)
    counts = (await on_both.client.get("/v1/stats")).json()
    assert (counts["deliveries_pending"], counts["deliveries_exhausted"], counts["jobs_open"]) == (1, 1, 0)
    assert counts["oldest_due_delivery_seconds"] == 8.0


async def test_stats_tell_the_last_day_by_the_hour(on_both: Management, clock: FakeClock) -> None:
    yesterday, now = Instant(clock.now() - 24 * 3_600_000), clock.now()
    happened = {("wh_1", "", "notification.duplicate"): 3, ("wh_2", "", "notification.duplicate"): 4}
    happened |= {("wh_1", "", "result.expired"): 2, ("wh_1", "sub_1", "deliveries"): 9}
    for counted, at in ((happened, now), ({("wh_1", "", "result.expired"): 5}, yesterday)):
        await on_both.database.write(partial(rollups.add, counted=counted, now=at))
    counts = (await on_both.client.get("/v1/stats")).json()
    assert counts["notifications_last_day"] == {"duplicate": 7}
    assert counts["results_last_day"] == {"expired": 2}


async def test_stats_stop_counting_somewhere(on_both: Management, clock: FakeClock, monkeypatch: MonkeyPatch) -> None:
    await world(on_both, clock)
    monkeypatch.setattr(stats, "COUNTED_TO", 0)
    counts = (await on_both.client.get("/v1/stats")).json()
    assert (counts["deliveries_pending"], counts["deliveries_exhausted"]) == (0, 0)


async def stored(management: Management, id: str) -> Delivery:
    from relay.store import deliveries

    found = await management.database.read(lambda conn: deliveries.get(conn, id))
    assert found is not None
    return found
