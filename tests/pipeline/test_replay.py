"""Stored results become new deliveries."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from relay.clock import after, seconds_between
from relay.ids import new_id
from relay.model import DeliveryStatus, JobStatus, Replay, ReplayStatus, Result, Subscription, SubscriptionStatus
from relay.pipeline.replay import AHEAD, Replayer, ReplayRequest
from relay.store import replays, schema
from relay.store.bulk import insert_many
from relay.store.results import COLUMNS, to_row
from tests.support.stage import Stage
from tests.support.stage_fixtures import SQLITE_FIRST
from tests.support.store import a_delivery, a_job, a_result, put_deliveries, rows_of


def request(*, mode: str = "undelivered", **changes: Any) -> ReplayRequest:
    """Everything, unless said otherwise."""
    given: dict[str, Any] = {"subscription_ids": None, "new_message_id": False, "rate_per_second": None}
    options = {name: changes.pop(name) for name in list(changes) if name in given}
    return ReplayRequest(filter=changes, mode=mode, **given | options)


async def store(stage: Stage, count: int = 3, **changes: Any) -> list[Result]:
    """So many results, a second apart."""
    made = []
    for _ in range(count):
        stage.clock.advance(1)
        now = stage.clock.now()
        given = {"id": new_id("res", now), "fetched_at": now, **changes}
        made.append(a_result(a_job(), **given))
    await stage.database.write(lambda c: insert_many(c, schema.results, COLUMNS, [to_row(item) for item in made]))
    return made


async def has(stage: Stage, result: Result, subscription: Subscription, status: DeliveryStatus) -> None:
    """This subscription has a delivery of this result in this state."""
    due_at = stage.clock.now() if status is DeliveryStatus.PENDING else None
    await put_deliveries(
        stage.database,
        a_delivery(result_id=result.id, subscription_id=subscription.id, status=status, due_at=due_at),
    )


async def planned(stage: Stage, wanted: ReplayRequest, replayer: Replayer | None = None) -> Replay:
    """Start it and plan all of it."""
    replayer = replayer or stage.replayer
    replay = await replayer.start(wanted)
    while await replayer.run_once():
        pass
    return replay


async def pairs(stage: Stage, replay: Replay) -> list[tuple[str, str]]:
    """Result and subscription of every delivery of a replay."""
    rows = await rows_of(stage.database, schema.deliveries)
    return sorted((row["result_id"], row["subscription_id"]) for row in rows if row["replay_id"] == replay.id)


async def everything(stage: Stage) -> None:
    """Plan and send, in turn, until nothing is left to do."""
    idle = 0
    while idle < 2:  # once there may have been no room
        idle = 0 if await stage.replayer.run_once() else idle + 1
        await stage.work_until_idle()


async def pass_time(stage: Stage, seconds: float) -> None:
    """Plan and send as time passes."""
    for _ in range(round(seconds * 2)):
        await everything(stage)
        await stage.work_through(0.5)
    await everything(stage)


async def as_it_is(stage: Stage, replay: Replay) -> Replay:
    found = await stage.database.read(partial(replays.get, id=replay.id))
    assert found is not None
    return found


async def counted(stage: Stage, replay: Replay) -> tuple[int, int, int]:
    """Pending, delivered and other deliveries, as the table has them; and the replay says the same."""
    rows = [row for row in await rows_of(stage.database, schema.deliveries) if row["replay_id"] == replay.id]
    states = Counter(row["status"] for row in rows)
    found = await as_it_is(stage, replay)
    assert (found.total, found.delivered) == (len(rows), states["delivered"])
    assert found.failed == states["exhausted"] + states["cancelled"]
    return states["pending"], found.delivered, found.failed


async def test_what_is_not_delivered_goes_out_with_the_message_id_it_has(stage: Stage) -> None:
    subscription = await stage.add_subscription()
    results = await store(stage)
    await has(stage, results[0], subscription, DeliveryStatus.DELIVERED)
    await has(stage, results[1], subscription, DeliveryStatus.EXHAUSTED)
    replay = await planned(stage, request())
    assert await pairs(stage, replay) == [(item.id, subscription.id) for item in results[1:]]
    await stage.work_until_idle()
    assert sorted(sent.headers["webhook-id"] for sent in stage.subscribers.sent) == [item.id for item in results[1:]]
    assert {sent.headers["relay-trigger"] for sent in stage.subscribers.sent} == {"replay"}
    await stage.replayer.run_once()
    found = await stage.database.read(partial(replays.get, id=replay.id))
    assert found is not None and found.status is ReplayStatus.DONE


async def test_what_is_on_its_way_is_not_sent_twice(stage: Stage) -> None:
    subscription = await stage.add_subscription()
    [result] = await store(stage, 1)
    await has(stage, result, subscription, DeliveryStatus.PENDING)
    assert await pairs(stage, await planned(stage, request())) == []
    assert await pairs(stage, await planned(stage, request(mode="all"))) == [(result.id, subscription.id)]


async def test_a_dry_run_counts_results_and_changes_nothing(stage: Stage) -> None:
    subscription = await stage.add_subscription()
    await stage.add_subscription()
    results = await store(stage, 7)
    await has(stage, results[0], subscription, DeliveryStatus.DELIVERED)
    found = await stage.replayer.dry_run(request(subscription_ids=[subscription.id]))
    assert (found.count, list(found.samples)) == (6, [item.id for item in results[1:6]])
    assert (found.oldest, found.newest) == (results[1].fetched_at, results[-1].fetched_at)
    assert await stage.replayer.dry_run(request(types=["result.failed"])) == replace(
        found, count=0, oldest=None, newest=None, samples=[]
    )
    assert (await stage.replayer.dry_run(request())).count == 7, "a result counts once, whoever gets it"
    assert len(await stage.deliveries()) == 1


async def test_a_delivery_status_is_about_each_subscriptions_own_delivery(stage: Stage) -> None:
    failing, fine = await stage.add_subscription(), await stage.add_subscription()
    results = await store(stage)
    await has(stage, results[0], failing, DeliveryStatus.EXHAUSTED)
    await has(stage, results[0], fine, DeliveryStatus.DELIVERED)
    for mode in ("undelivered", "all"):
        replay = await planned(stage, request(mode=mode, delivery_status=["exhausted"]))
        assert await pairs(stage, replay) == [(results[0].id, failing.id)]


async def test_only_results_of_a_time_a_webhook_a_type_or_a_list(stage: Stage) -> None:
    await stage.add_subscription()
    early = await store(stage, 2)
    border = after(stage.clock.now(), 0.5)
    late = await store(stage, 2, status=JobStatus.FAILED, webhook_id="wh_other")
    for filter, expected in (
        ({"created_after": border}, late),
        ({"created_before": border}, early),
        ({"created_after": early[1].fetched_at, "created_before": border}, early[1:]),
        ({"webhook_id": "wh_other"}, late),
        ({"types": ["result.failed"]}, late),
        ({"types": ["result.completed", "result.failed"]}, early + late),
        ({"result_ids": [late[0].id, early[1].id]}, [early[1], late[0]]),
    ):
        replay = await planned(stage, request(mode="all", **filter))
        assert [result_id for result_id, _ in await pairs(stage, replay)] == [item.id for item in expected], filter


async def test_only_active_subscriptions_that_match_unless_named(stage: Stage) -> None:
    active = await stage.add_subscription()
    paused = await stage.add_subscription(status=SubscriptionStatus.PAUSED)
    await stage.add_subscription(event_types=("result.failed",))
    deleted = await stage.add_subscription(deleted_at=stage.clock.now())
    [result] = await store(stage, 1)
    assert await pairs(stage, await planned(stage, request(mode="all"))) == [(result.id, active.id)]
    named = await planned(stage, request(mode="all", subscription_ids=[paused.id, deleted.id]))
    assert await pairs(stage, named) == [(result.id, paused.id)]


async def test_a_new_message_id_is_each_deliverys_own(stage: Stage) -> None:
    await stage.add_subscription()
    results = await store(stage)
    replay = await planned(stage, request(new_message_id=True))
    rows = [row for row in await rows_of(stage.database, schema.deliveries) if row["replay_id"] == replay.id]
    assert all(row["message_id"] == row["id"] for row in rows) and len(rows) == len(results)


async def test_a_rate_spaces_the_deliveries(stage: Stage) -> None:
    await stage.add_subscription()
    await store(stage, 10)
    replay = await stage.replayer.start(request(rate_per_second=2.0))
    await pass_time(stage, 2.5)
    sent = [item.at for item in stage.subscribers.sent]
    assert [seconds_between(sent[0], at) for at in sent] == [number / 2 for number in range(6)]
    assert len(await pairs(stage, replay)) <= 12, "no more than is due soon is planned"


@SQLITE_FIRST
async def test_a_rate_that_is_changed_holds_for_what_is_not_planned_yet(stage: Stage) -> None:
    await stage.add_subscription()
    await store(stage, 30)
    replay = await stage.replayer.start(request(rate_per_second=0.5))
    await pass_time(stage, 3)
    assert len(stage.subscribers.sent) == 2
    changed = await stage.replayer.set_rate(replay.id, 10.0)
    assert changed is not None and changed.rate_per_second == 10.0
    await pass_time(stage, 6)
    assert len(stage.subscribers.sent) == 30


async def test_what_is_stored_after_it_began_is_none_of_its_business(stage: Stage) -> None:
    await stage.add_subscription()
    before = await store(stage)
    replay = await stage.replayer.start(request())
    await store(stage)
    while await stage.replayer.run_once():
        pass
    assert [result_id for result_id, _ in await pairs(stage, replay)] == [item.id for item in before]


async def test_a_restart_half_way_plans_every_pair_exactly_once(stage: Stage) -> None:
    first, second = await stage.add_subscription(), await stage.add_subscription()
    results = await store(stage, AHEAD * 2 + 50)
    replay = await stage.replayer.start(request())
    assert await stage.replayer.run_once() == 1
    half = await pairs(stage, replay)
    assert 0 < len(half) < 2 * len(results)
    again = await stage.another()  # what memory held is gone
    await everything(again)
    counted = Counter(await pairs(stage, replay))
    assert set(counted.values()) == {1}
    assert len(counted) == 2 * len(results)
    assert {subscription_id for _, subscription_id in counted} == {first.id, second.id}
    found = await stage.database.read(partial(replays.get, id=replay.id))
    assert found is not None and found.planned and found.total == 2 * len(results)


async def test_a_subscription_that_changed_meanwhile_is_read_first(stage: Stage) -> None:
    subscription = await stage.add_subscription()
    await store(stage)
    replay = await stage.replayer.start(request())
    other = await stage.another()
    await other.change_subscription(subscription, deleted_at=stage.clock.now())
    while await stage.replayer.run_once():
        pass
    assert await pairs(stage, replay) == []


@pytest.mark.parametrize("pages", [0, 1])
async def test_a_cancelled_replay_sends_nothing_more(stage: Stage, pages: int) -> None:
    await stage.add_subscription()
    await store(stage, AHEAD + 10)
    replay = await stage.replayer.start(request())
    for _ in range(pages):
        await stage.replayer.run_once()
    ended = await stage.replayer.cancel(replay.id)
    assert ended is not None and ended.status is ReplayStatus.CANCELLED
    assert await stage.replayer.run_once() == 0
    await stage.work_until_idle()
    assert stage.subscribers.sent == []
    assert {row["status"] for row in await rows_of(stage.database, schema.deliveries)} <= {"cancelled"}


async def test_one_that_is_done_stays_done(stage: Stage) -> None:
    replay = await planned(stage, request())
    await stage.replayer.run_once()
    ended = await stage.replayer.cancel(replay.id)
    assert ended is not None and ended.status is ReplayStatus.DONE
    assert await stage.replayer.cancel(new_id("rpl", stage.clock.now())) is None
