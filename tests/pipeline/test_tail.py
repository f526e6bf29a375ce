"""What a watcher sees of what happens, on both databases."""

from __future__ import annotations

from functools import partial
from typing import Any

from relay.clock import Instant, after
from relay.ids import new_id
from relay.model import DELIVERY, DeliveryStatus, JobStatus
from relay.pipeline.tail import OVERLAP_SECONDS, WATCHED, Tail
from relay.store import deliveries, tailing
from tests.support.stage import URL, Stage
from tests.support.store import a_delivery, a_job, put_deliveries, put_jobs


def _tail(stage: Stage, **more: Any) -> Tail:
    return Tail(stage.database, stage.clock, **more)


async def _seen(tail: Tail) -> list[str]:
    return [happened.type for happened in await tail.look()]


async def test_a_round_trip_is_told_as_it_happens(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    await stage.add_subscription()
    other = await stage.another()
    tail = _tail(stage)
    assert await _seen(tail) == []
    stage.clock.advance(1)
    await other.accept(webhook, {"response_url": URL})
    assert sorted(await _seen(tail)) == ["job.fetching", "notification.accepted"]
    stage.clock.advance(1)
    await other.work_until_idle()
    assert sorted(await _seen(tail)) == ["delivery.delivered", "job.completed", "result.completed"]
    assert await _seen(tail) == []


async def test_what_changes_is_told_each_time(stage: Stage) -> None:
    tail = _tail(stage)
    row = a_delivery()
    await put_deliveries(stage.database, row)
    job = a_job(status=JobStatus.WAITING)
    await put_jobs(stage.database, job)
    stage.clock.advance(1)
    assert sorted(await _seen(tail)) == ["delivery.pending", "job.waiting"]
    await stage.database.write(partial(deliveries.cancel, id=row.id, now=stage.clock.now()))
    [happened] = await tail.look()
    assert (happened.key, happened.type) == (f"{row.id}.cancelled", "delivery.cancelled")


async def test_what_was_open_before_is_told_when_it_ends(stage: Stage) -> None:
    row = a_delivery()
    await put_deliveries(stage.database, row)
    stage.clock.advance(3600)
    tail = _tail(stage)
    assert await _seen(tail) == []
    await stage.database.write(partial(deliveries.cancel, id=row.id, now=stage.clock.now()))
    assert await _seen(tail) == ["delivery.cancelled"]


async def test_a_row_that_is_committed_after_a_younger_one_is_told_too(stage: Stage) -> None:
    """Ids are made before their rows are committed; another node's clock may be two seconds behind."""
    tail = _tail(stage)
    stage.clock.advance(1)
    late = a_delivery(id=new_id(DELIVERY, after(stage.clock.now(), -0.5)))
    await put_deliveries(stage.database, a_delivery(id=new_id(DELIVERY, stage.clock.now())))
    assert await _seen(tail) == ["delivery.pending"]
    await put_deliveries(stage.database, late)
    stage.clock.advance(OVERLAP_SECONDS + 1)
    assert [happened.key for happened in await tail.look()] == [f"{late.id}.pending"]
    assert await _seen(tail) == []


async def test_resuming_repeats_a_little_and_misses_nothing(stage: Stage) -> None:
    waiting, done = a_delivery(), a_delivery()
    await put_deliveries(stage.database, waiting, done)
    stage.clock.advance(60)
    tail = _tail(stage)
    seen: dict[str, None] = {}
    position = tail.position
    for number in range(6):
        if number == 3:  # away meanwhile
            tail = _tail(stage, since=position)
            await stage.database.write(partial(deliveries.cancel, id=done.id, now=stage.clock.now()))
        await put_deliveries(stage.database, a_delivery(id=new_id(DELIVERY, stage.clock.now())))
        stage.clock.advance(2)
        if number not in (2, 3):
            seen.update(dict.fromkeys(happened.key for happened in await tail.look()))
            position = tail.position
    rows = {f"{row.id}.{row.status}" for row in await stage.deliveries()}
    assert set(seen) == rows - {f"{waiting.id}.pending"}


async def test_a_backlog_is_read_page_by_page(stage: Stage) -> None:
    tail = _tail(stage)
    stage.clock.advance(1)
    many = tailing.PAGE + 10
    rows = [a_delivery(id=new_id(DELIVERY, Instant(stage.clock.now() + number % 50))) for number in range(many)]
    await put_deliveries(stage.database, *rows)
    stage.clock.advance(1)
    first = await tail.look()
    assert (len(first), tail.behind) == (tailing.PAGE, True)
    assert (len(await tail.look()), tail.behind) == (10, False)


async def test_only_so_much_is_watched_and_only_what_is_asked_for(stage: Stage) -> None:
    webhook, other = await stage.add_webhook(), await stage.add_webhook(origins=("https://other.example",))
    await stage.add_subscription()
    tail = _tail(stage, webhook_id=webhook.id, nouns=["result", "delivery"])
    stage.clock.advance(1)
    for each, url in ((webhook, URL), (other, "https://other.example/1")):
        await stage.accept(each, {"response_url": url})
    await stage.work_until_idle()
    assert sorted(await _seen(tail)) == ["delivery.delivered", "result.completed"]
    rows = [a_delivery() for _ in range(WATCHED + 5)]
    all_of_them = _tail(stage, nouns=["delivery"])
    await put_deliveries(stage.database, *rows)
    stage.clock.advance(1)
    while await all_of_them.look():
        pass
    assert len(all_of_them._watched["delivery"]) == WATCHED


async def test_a_missing_row_is_forgotten(stage: Stage) -> None:
    row = a_delivery(status=DeliveryStatus.PENDING)
    await put_deliveries(stage.database, row)
    tail = _tail(stage)
    await tail.look()
    from sqlalchemy import delete

    from relay.store.schema import deliveries as table

    await stage.database.write(lambda connection: connection.execute(delete(table)) and None)
    assert await _seen(tail) == []
    assert tail._watched["delivery"] == {}
