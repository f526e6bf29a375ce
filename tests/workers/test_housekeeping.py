"""What is done now and then."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from relay.model import Secret, SubscriptionStatus, WebhookStatus
from relay.store import retention, schema
from relay.store.payloads import CHUNK_BYTES
from relay.workers import housekeeping
from relay.workers.housekeeping import DAY_SECONDS
from tests.support.doors import Page, Sent, answer_with, reply
from tests.support.stage import URL, Stage
from tests.support.stage_fixtures import SQLITE_FIRST
from tests.support.store import count, rows_of

TABLES = (
    schema.notifications,
    schema.jobs,
    schema.job_keys,
    schema.results,
    schema.payload_chunks,
    schema.deliveries,
    schema.attempts,
)


async def keep_house(stage: Stage) -> None:
    """Every duty, until none finds anything."""
    for duty in housekeeping.duties(stage.database, stage.configuration, stage.clock, retention_days=30):
        while await duty.run_once():
            pass


async def filled(stage: Stage) -> None:
    await stage.add_subscription()
    webhook = await stage.add_webhook()
    stage.provider.answering = answer_with(Page(body=b'{"response": {"x": 1}}'))
    for number in range(110):
        await stage.accept(webhook, {"response_url": f"{URL}/{number}"})
    await stage.work_until_idle()


async def test_what_is_older_than_the_retention_goes_and_leaves_nothing(stage: Stage) -> None:
    await filled(stage)
    stage.clock.advance(29 * DAY_SECONDS)
    await keep_house(stage)
    assert await count(stage.database, schema.results) == 110
    stage.clock.advance(2 * DAY_SECONDS)
    await keep_house(stage)
    assert [await count(stage.database, table) for table in TABLES] == [0] * len(TABLES)


async def test_a_result_with_a_pending_delivery_is_kept_with_all_that_belongs_to_it(stage: Stage) -> None:
    async def refusing(sent: Sent) -> object:
        return reply(500)

    stage.subscribers.answering = refusing  # type: ignore[assignment] # it answers with a Reply
    await filled(stage)
    stage.clock.advance(31 * DAY_SECONDS)
    await keep_house(stage)
    assert await count(stage.database, schema.results) == 110
    assert await count(stage.database, schema.payload_chunks) == 110


async def test_what_has_to_be_kept_is_walked_past_by_readers_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million results that wait for a paused subscription held the only writer for seconds, every minute."""
    await stage.add_subscription(status=SubscriptionStatus.PAUSED)
    stage.provider.answering = answer_with(Page(body=b'{"response": {"x": 1}}'))
    await stage.accept(await stage.add_webhook(retention_bytes=1), {"response_url": URL})
    await stage.work_until_idle()
    stage.clock.advance(31 * DAY_SECONDS)
    await keep_house(stage)
    keeper = housekeeping.Housekeeper(stage.database, stage.configuration, stage.clock, retention_days=30)
    really, written = stage.database.write, list[str]()

    async def write(work: Callable[[Connection], int]) -> int:
        written.append(getattr(work, "func", work).__name__)
        return await really(work)

    monkeypatch.setattr(stage.database, "write", write)
    assert await keeper.drop_old() == 0 and await keeper.drop_excess() == 0
    assert written == ["count_some"]
    assert await count(stage.database, schema.results) == 1


async def test_a_job_that_has_not_ended_is_kept(stage: Stage) -> None:
    stage.provider.answering = answer_with(Page(202, b""))
    await stage.accept(await stage.add_webhook(), {"response_url": URL})
    await stage.work_until_idle()
    stage.clock.advance(31 * DAY_SECONDS)
    await keep_house(stage)
    assert await count(stage.database, schema.jobs) == 1
    assert await count(stage.database, schema.notifications) == 1


async def test_bodies_that_nobody_owns_go_after_an_hour(stage: Stage) -> None:
    spool = stage.floor.payloads.spool()
    await spool.add(b"x" * 3 * CHUNK_BYTES)
    await keep_house(stage)
    assert await count(stage.database, schema.payload_chunks) == 2, "somebody may be writing it"
    stage.clock.advance(3601)
    await keep_house(stage)
    assert await count(stage.database, schema.payload_chunks) == 0


async def test_each_webhook_may_have_a_retention_of_its_own(stage: Stage) -> None:
    stage.provider.answering = answer_with(Page(body=b'{"response": {"x": 1}}'))
    short, usual, long = [await stage.add_webhook(retention_days=days) for days in (1.0, None, 365.0)]
    for webhook in (short, usual, long):
        await stage.accept(webhook, {"response_url": f"{URL}/{webhook.id}"})
    await stage.work_until_idle()
    for days, left in ((2, {usual.id, long.id}), (29, {long.id}), (300, {long.id}), (100, set())):
        stage.clock.advance(days * DAY_SECONDS)
        await keep_house(stage)
        for table in (schema.results, schema.jobs, schema.notifications):
            assert {row["webhook_id"] for row in await rows_of(stage.database, table)} == left, (days, table.name)


async def test_the_oldest_go_where_there_is_more_than_a_webhook_may_have(stage: Stage) -> None:
    webhook, free = await stage.add_webhook(retention_bytes=1024 * 1024), await stage.add_webhook()
    await stage.add_subscription()
    stage.provider.answering = answer_with(Page(body=b'{"response": {"x": "%b"}}' % (b"x" * 200_000)))
    for number in range(8):
        for each in (webhook, free):
            await stage.accept(each, {"response_url": f"{URL}/{each.id}/{number}"})
        await stage.work_until_idle()
        stage.clock.advance(1)
    newest = [row["id"] for row in await rows_of(stage.database, schema.results) if row["webhook_id"] == webhook.id]
    await keep_house(stage)
    assert await count(stage.database, schema.results) == 16, "they may still be joined by earlier ones"
    stage.clock.advance(61)
    await keep_house(stage)
    left = await rows_of(stage.database, schema.results)
    assert [row["id"] for row in left if row["webhook_id"] == webhook.id] == newest[-5:]
    assert len(left) == 5 + 8
    for table in (schema.jobs, schema.notifications, schema.payload_chunks, schema.deliveries):
        assert await count(stage.database, table) == 5 + 8, table.name
    [used] = await rows_of(stage.database, schema.usage)
    assert used["bytes"] == sum(row["size_bytes"] for row in left if row["webhook_id"] == webhook.id)


@SQLITE_FIRST
async def test_a_switch_keeps_everything(stage: Stage) -> None:
    await filled(stage)
    stage.clock.advance(1000 * DAY_SECONDS)
    for duty in housekeeping.duties(stage.database, stage.configuration, stage.clock, retention_days=30, deletes=False):
        await duty.run_once()
    assert await count(stage.database, schema.results) == 110


async def test_a_deleted_webhooks_jobs_finish_with_its_credentials_and_then_those_are_erased(stage: Stage) -> None:
    webhook = await stage.add_webhook(verification={"secret": Secret("planted")})
    living = await stage.add_webhook()
    stage.provider.answering = answer_with(Page(status=202))
    answer = await stage.accept(webhook, {"response_url": URL})
    await stage.change_webhook(webhook, deleted_at=stage.clock.now(), status=WebhookStatus.DISABLED)
    await stage.work_through(5)
    await keep_house(stage)
    assert (await stage.configuration.refresh()).webhooks[webhook.id].credentials == webhook.credentials
    stage.provider.answering = answer_with(Page(body=b'{"response": {"x": 1}}'))
    await stage.work_through(60)
    assert (await stage.job(answer.job_id)).status == "completed"
    assert all(request.authorization is not None for request in stage.provider.requests)
    await keep_house(stage)
    known = (await stage.configuration.refresh()).webhooks
    assert (known[webhook.id].credentials, known[webhook.id].verification) == ({}, {})
    assert known[living.id].credentials == living.credentials
    sealed = {row["id"]: row["credentials_sealed"] for row in await rows_of(stage.database, schema.webhooks)}
    assert sealed[webhook.id] is None and sealed[living.id] is not None


async def test_the_disk_gets_back_what_was_deleted(sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "KEPT_FREE_PAGES", 16)
    stage = sqlite_stage
    await filled(stage)
    pages = await stage.database.read(_pages)
    stage.clock.advance(31 * DAY_SECONDS)
    await keep_house(stage)
    free, total = await stage.database.read(_pages)
    assert free <= 16 and total < pages[1] * 0.7


def _pages(connection: Connection) -> tuple[int, int]:
    return tuple(connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("freelist_count", "page_count"))  # type: ignore[return-value] # two numbers
