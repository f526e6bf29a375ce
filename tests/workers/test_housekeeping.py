"""What is done now and then."""

from __future__ import annotations

from relay.store import schema
from relay.store.payloads import CHUNK_BYTES
from relay.workers import housekeeping
from relay.workers.housekeeping import DAY_SECONDS
from tests.support.doors import Page, Sent, answer_with, reply
from tests.support.stage import URL, Stage
from tests.support.store import count

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
    for duty in housekeeping.duties(stage.database, stage.clock, retention_days=30):
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
