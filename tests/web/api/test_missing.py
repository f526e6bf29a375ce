from __future__ import annotations

from typing import Any

from relay.clock import after, rfc3339
from relay.model import DeliveryStatus, JobStatus
from relay.store import lacking
from tests.support.clock import FakeClock
from tests.support.management import Management
from tests.support.noun_rows import delivery, job, put_delivery, put_job, put_result, result


async def _store(management: Management, clock: FakeClock, webhook_id: str, *sent: tuple[str, DeliveryStatus]) -> str:
    """A result with these deliveries."""
    clock.advance(1)
    now = clock.now()
    one = job(webhook_id, now, status=JobStatus.COMPLETED, due_at=None)
    stored = result(one.id, webhook_id, now, b"{}")

    def put(conn: Any) -> None:
        put_job(conn, one)
        put_result(conn, stored, b"{}")
        for number, (subscription_id, status) in enumerate(sent):
            replay_id = f"rpl_{number:032x}" if number else None
            due = now if status is DeliveryStatus.PENDING else None
            put_delivery(
                conn, delivery(stored.id, subscription_id, now, status=status, due_at=due, replay_id=replay_id)
            )

    await management.database.write(put)
    return stored.id


async def test_what_a_subscription_lacks_is_listed_and_can_be_replayed(on_both: Management, clock: FakeClock) -> None:
    webhook = await on_both.webhook()
    other = await on_both.webhook("other", credentials={"username": "o", "password": "p"})
    subscription = await on_both.subscription(webhook_ids=[webhook["id"]])
    elsewhere = await on_both.subscription("elsewhere")
    mine, theirs = subscription["id"], elsewhere["id"]
    before = await _store(on_both, clock, webhook["id"])
    since = after(clock.now(), 1)
    never = await _store(on_both, clock, webhook["id"], (theirs, DeliveryStatus.DELIVERED))
    await _store(on_both, clock, webhook["id"], (mine, DeliveryStatus.DELIVERED))
    exhausted = await _store(on_both, clock, webhook["id"], (mine, DeliveryStatus.EXHAUSTED))
    await _store(on_both, clock, webhook["id"], (mine, DeliveryStatus.EXHAUSTED), (mine, DeliveryStatus.DELIVERED))
    pending = await _store(
        on_both, clock, webhook["id"], (mine, DeliveryStatus.EXHAUSTED), (mine, DeliveryStatus.PENDING)
    )
    await _store(on_both, clock, other["id"])
    path = f"/v1/subscriptions/{mine}/missing"

    async def listed(query: str) -> list[tuple[str, str]]:
        found, cursor = [], ""
        while True:
            answer = (await on_both.client.get(f"{path}?{query}{cursor}")).json()
            found += [(item["result_id"], item["delivery_status"]) for item in answer["data"]]
            if answer["next_cursor"] is None:
                return found
            cursor = f"&cursor={answer['next_cursor']}"

    lacking_now = [(pending, "pending"), (exhausted, "exhausted"), (never, "none")]
    assert await listed(f"since={rfc3339(since)}") == lacking_now
    assert await listed("limit=1") == [*lacking_now, (before, "none")]
    wanted = {"filter": {"created_after": rfc3339(since)}, "subscription_ids": [mine]}
    dry = await on_both.make("/v1/replays", {**wanted, "dry_run": True})
    assert sorted(dry["samples"]) == sorted([exhausted, never])
    assert (await on_both.client.get(f"/v1/subscriptions/sub_{'0' * 32}/missing")).status_code == 404


async def test_a_page_may_be_empty_while_more_follow(
    management: Management, clock: FakeClock, monkeypatch: Any
) -> None:
    monkeypatch.setattr(lacking, "SCANNED", 2)
    webhook, subscription = await management.webhook(), await management.subscription()
    lacks = await _store(management, clock, webhook["id"])
    for _ in range(4):
        await _store(management, clock, webhook["id"], (subscription["id"], DeliveryStatus.DELIVERED))
    found, query = [], ""
    for _ in range(3):
        page = (await management.client.get(f"/v1/subscriptions/{subscription['id']}/missing{query}")).json()
        found.append([item["result_id"] for item in page["data"]])
        query = f"?cursor={page['next_cursor']}"
    assert found == [[], [], [lacks]] and page["next_cursor"] is None
