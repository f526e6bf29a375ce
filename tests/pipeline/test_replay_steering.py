"""A replay that is under way: paused, counted, beside live traffic."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay.clock import after
from relay.errors import StoreUnavailable
from relay.ids import is_replayed, new_id
from relay.model import DeliveryStatus, Replay, ReplayStatus, SubscriptionStatus
from relay.outbound.deliveries import Reply
from relay.pipeline.replay import AHEAD, Replayer
from relay.store import deliveries, replaying, replays, results, schema
from tests.pipeline.test_replay import as_it_is, counted, everything, has, pairs, pass_time, planned, request, store
from tests.support.doors import Sent, reply
from tests.support.stage import URL, Stage
from tests.support.stage_fixtures import SQLITE_FIRST
from tests.support.store import a_delivery, put_deliveries, rows_of


@SQLITE_FIRST
async def test_no_more_is_planned_than_its_subscribers_can_take_soon(stage: Stage) -> None:
    await stage.add_subscription()
    await store(stage, AHEAD * 3)
    replay = await planned(stage, request())
    assert len(await pairs(stage, replay)) == AHEAD
    await everything(stage)
    assert len(stage.subscribers.sent) == AHEAD * 3
    assert await counted(stage, replay) == (0, AHEAD * 3, 0)
    found = await as_it_is(stage, replay)
    assert (found.status, found.planned) == (ReplayStatus.DONE, True)
    assert found.finished_at is not None


@SQLITE_FIRST
async def test_a_subscription_that_takes_nothing_keeps_nobody_waiting(stage: Stage) -> None:
    await stage.add_subscription()
    idle = await stage.add_subscription(status=SubscriptionStatus.PAUSED)
    await store(stage, AHEAD * 2)
    replay = await stage.replayer.start(
        request(subscription_ids=[item.id for item in stage.configuration.current.subscriptions.values()])
    )
    await pass_time(stage, 2)
    assert len(stage.subscribers.sent) == AHEAD * 2
    assert (await as_it_is(stage, replay)).planned
    assert {row["subscription_id"] for row in await rows_of(stage.database, schema.deliveries)} > {idle.id}


async def test_all_there_is_to_do_is_counted_before_it_is_done(stage: Stage) -> None:
    await stage.add_subscription()
    await store(stage, AHEAD * 2)
    replay = await planned(stage, request())
    for _ in range(3):
        await stage.replayer.run_once()
    found = await as_it_is(stage, replay)
    assert (found.total, found.expected) == (AHEAD, AHEAD * 2), "its own deliveries do not count as had"


async def test_a_paused_replay_sends_nothing_and_a_resumed_one_everything(stage: Stage) -> None:
    await stage.add_subscription()
    made = await store(stage, AHEAD + 20)
    stage.subscribers.answer(reply(400))
    replay = await planned(stage, request())
    await stage.work_until_idle()  # all that is planned is to be tried again in five seconds
    tried = len(stage.subscribers.sent)
    assert tried == AHEAD
    paused = await stage.replayer.pause(replay.id)
    assert paused is not None and paused.status is ReplayStatus.PAUSED
    await stage.work_through(3600)
    await everything(stage)
    assert len(stage.subscribers.sent) == tried
    stage.subscribers.answer(reply())
    await stage.replayer.resume(replay.id)
    await everything(stage)
    assert await counted(stage, replay) == (0, len(made), 0)
    assert len(stage.subscribers.sent) == tried + len(made)


async def test_what_is_under_way_when_it_is_paused_is_tried_again_when_it_is_resumed(stage: Stage) -> None:
    await stage.add_subscription()
    await store(stage, 1)
    replay = await planned(stage, request())
    change = partial(replays.set_status, id=replay.id, before=ReplayStatus.RUNNING, after=ReplayStatus.PAUSED)
    await stage.database.write(change)
    stage.subscribers.answer(reply(503))
    await stage.work_until_idle()  # as if it had been claimed before its turn to be held came
    assert len(stage.subscribers.sent) == 1
    assert replays.is_held((await stage.deliveries())[0])
    await stage.work_through(600)
    assert len(stage.subscribers.sent) == 1
    await stage.replayer.resume(replay.id)
    stage.subscribers.answer(reply())
    await stage.work_until_idle()
    assert await counted(stage, replay) == (0, 1, 0)


@pytest.mark.parametrize("then", [ReplayStatus.PAUSED, ReplayStatus.CANCELLED])
async def test_who_dies_while_turning_it_is_finished_by_another(stage: Stage, then: ReplayStatus) -> None:
    await stage.add_subscription()
    await store(stage, 5)
    replay = await planned(stage, request())
    if then is ReplayStatus.PAUSED:
        change = partial(replays.set_status, id=replay.id, before=ReplayStatus.RUNNING, after=then)
        await stage.database.write(change)
    else:
        await stage.database.write(partial(replays.cancel, id=replay.id, now=stage.clock.now()))
    other = await stage.another()
    await other.replayer.run_once()
    await other.work_until_idle()
    assert other.subscribers.sent == []


async def test_a_delivery_of_a_cancelled_replay_can_be_retried(stage: Stage) -> None:
    await stage.add_subscription()
    await store(stage, 2)
    stage.subscribers.answer(reply(400))
    replay = await planned(stage, request(rate_per_second=100.0))
    await stage.work_until_idle()
    await stage.replayer.cancel(replay.id)
    await stage.replayer.run_once()
    retried, other = await stage.deliveries()
    assert retried.status == other.status == "cancelled"
    await stage.database.write(partial(deliveries.retry, id=retried.id, now=stage.clock.now()))
    await stage.work_until_idle()
    await stage.replayer.cancel(replay.id)
    await stage.replayer.run_once()
    assert [item.status for item in await stage.deliveries()] == ["pending", "cancelled"]
    stage.subscribers.answer(reply())
    await stage.work_through(60)
    assert await counted(stage, replay) == (0, 1, 1)


async def test_who_is_slow_to_pause_holds_nothing_of_a_replay_that_was_resumed(stage: Stage) -> None:
    """What it held, once the other had let everything go, nobody would have let go again."""
    await stage.add_subscription()
    await store(stage, 3)
    replay = await planned(stage, request())
    assert await stage.database.write(partial(replays.hold_some, id=replay.id, after_id="")) is None
    await stage.replayer.pause(replay.id)
    assert await stage.database.write(partial(replays.let_go_some, id=replay.id, after_id="")) is None
    assert all(replays.is_held(item) for item in await stage.deliveries())
    await stage.replayer.resume(replay.id)
    assert not any(replays.is_held(item) for item in await stage.deliveries())


async def test_a_replay_is_for_those_that_were_active_when_it_began_and_for_all_of_it(sqlite_stage: Stage) -> None:
    """Whoever was paused while a page was planned never got that page."""
    stage = sqlite_stage
    steady, interrupted = await stage.add_subscription(), await stage.add_subscription()
    await store(stage, AHEAD * 2)
    replay = await planned(stage, request())
    await stage.change_subscription(interrupted, status=SubscriptionStatus.PAUSED)
    late = await stage.add_subscription()
    await everything(stage)
    await stage.change_subscription(interrupted, status=SubscriptionStatus.ACTIVE)
    await everything(stage)
    had = Counter(item.subscription_id for item in await stage.deliveries())
    assert had == {steady.id: AHEAD * 2, interrupted.id: AHEAD * 2} and late.id not in had
    assert (await as_it_is(stage, replay)).status is ReplayStatus.DONE


async def test_a_replay_that_cannot_go_on_stops_no_other(sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = sqlite_stage
    await stage.add_subscription()
    await store(stage, 3)
    bad, good = await stage.replayer.start(request()), await stage.replayer.start(request(mode="all"))
    plan_page = Replayer._plan_page

    async def planning(self: Replayer, replay: Replay) -> int:
        if replay.id == bad.id:
            raise KeyError("a bug")
        return await plan_page(self, replay)

    monkeypatch.setattr(Replayer, "_plan_page", planning)
    with capture_logs() as logs:
        await stage.replayer.run_once()
    assert (await as_it_is(stage, good)).total == 3
    assert [entry["replay_id"] for entry in logs if entry["event"] == "replay.failed"] == [bad.id]


async def test_a_count_that_the_database_broke_off_is_begun_anew(
    sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was never known, and for as long as it was not the planner looked twenty times a second."""
    stage = sqlite_stage
    await stage.add_subscription()
    await store(stage, 3)
    replay = await stage.replayer.start(request())
    await stage.replayer.pause(replay.id)

    async def away(*_: object, **__: object) -> Any:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as broken:
        broken.setattr(stage.replayer, "_page", away)
        with pytest.raises(StoreUnavailable):
            await stage.replayer.run_once()
    for _ in range(3):
        await stage.replayer.run_once()
    assert (await as_it_is(stage, replay)).expected == 3


async def test_the_counts_follow_whatever_happens_to_its_deliveries(stage: Stage) -> None:
    subscription = await stage.add_subscription()
    await store(stage, 6)
    stage.subscribers.answer(reply(500))
    replay = await planned(stage, request())
    first, second, third, fourth, *_ = await stage.deliveries()
    now, write = stage.clock.now(), stage.database.write
    await write(partial(deliveries.cancel, id=first.id, now=now))
    assert await counted(stage, replay) == (5, 0, 1)
    await write(partial(deliveries.cancel, id=first.id, now=now))
    await write(partial(deliveries.retry, id=first.id, now=now))
    assert await counted(stage, replay) == (6, 0, 0)
    await write(partial(results.erase, id=second.result_id, now=now))
    assert await counted(stage, replay) == (5, 0, 1)
    await stage.work_through(4 * 86_400)
    assert await counted(stage, replay) == (0, 0, 6)
    stage.subscribers.answer(reply())
    await write(partial(deliveries.retry, id=third.id, now=stage.clock.now()))
    await stage.work_until_idle()
    assert await counted(stage, replay) == (0, 1, 5)
    await write(partial(deliveries.retry, id=fourth.id, now=stage.clock.now()))
    await write(partial(deliveries.cancel_some, now=stage.clock.now(), subscription_id=subscription.id))
    assert await counted(stage, replay) == (0, 1, 5)


async def test_live_deliveries_go_before_those_of_a_replay(stage: Stage) -> None:
    """Half of a subscription's slots are left to them, and in its lane they stand in front."""
    webhook = await stage.add_webhook()
    await stage.add_subscription(max_in_flight=4)
    await store(stage, 30)

    async def hang(sent: Sent) -> Reply:
        await stage.clock.sleep(3600)
        return reply()

    stage.subscribers.answering = hang
    await planned(stage, request())
    await stage.work_until_idle()
    assert len(stage.delivering.crew) == 2, "of four"
    for number in range(3):
        await stage.accept(webhook, {"response_url": f"{URL}{number}"})
        await stage.work_until_idle()
    assert sorted(is_replayed(row_id) for row_id in stage.delivering.crew.row_ids()) == [False, False, True, True]
    stage.subscribers.answering = None
    stage.clock.advance(1)


async def test_by_the_answer_that_the_latest_attempt_got(stage: Stage) -> None:
    subscription = await stage.add_subscription()
    made = await store(stage, 4)
    standings = (("exhausted", 503), ("exhausted", 404), ("delivered", 204), ("cancelled", None))
    for result, (status, answer) in zip(made, standings, strict=True):
        row = a_delivery(
            result_id=result.id,
            subscription_id=subscription.id,
            status=DeliveryStatus(status),
            http_status=answer,
            due_at=None,
        )
        await put_deliveries(stage.database, row)
    stage.subscribers.answer(reply(418))
    for filter, expected in (
        ({"http_status": [503, 500]}, made[:1]),
        ({"http_status": [204, 404]}, made[1:3]),
        ({"http_status": [204, 404], "delivery_status": ["exhausted"]}, made[1:2]),
    ):
        replay = await planned(stage, request(mode="all", **filter))
        assert [result_id for result_id, _ in await pairs(stage, replay)] == [item.id for item in expected], filter
        await stage.work_until_idle()


async def test_by_the_time_at_which_each_subscriptions_own_delivery_was_made(stage: Stage) -> None:
    """One result, two subscriptions: whose delivery was made outside of the time gets nothing."""
    early, late = await stage.add_subscription(), await stage.add_subscription()
    [result] = await store(stage, 1)
    began = stage.clock.now()
    for subscription, seconds in ((early, 0.0), (late, 60.0)):
        id = new_id("dlv", after(began, seconds))
        failed = {"status": DeliveryStatus.EXHAUSTED, "due_at": None, "subscription_id": subscription.id}
        await put_deliveries(stage.database, a_delivery(id=id, result_id=result.id, **failed))
    minute = after(began, 60)
    for name, bound, expected in (
        ("delivery_created_after", minute, [late]),
        ("delivery_created_before", minute, [early]),
        ("delivery_created_after", began, [early, late]),
        ("delivery_created_after", after(minute, 0.001), []),
    ):
        stage.clock.advance(1)
        wanted: dict[str, Any] = {"delivery_status": ["exhausted"], name: bound}
        replay = await planned(stage, request(**wanted))
        assert {to for _, to in await pairs(stage, replay)} == {one.id for one in expected}, (name, bound)
        await stage.replayer.cancel(replay.id)


async def test_the_few_among_the_many_are_found_in_looks_that_are_short(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "LOOK_AT", 7)
    subscription = await stage.add_subscription()
    made = await store(stage, 40)
    for result in (made[3], made[17], made[39]):
        await has(stage, result, subscription, DeliveryStatus.EXHAUSTED)
    pages = 0
    replay = await stage.replayer.start(request(delivery_status=["exhausted"]))
    while await stage.replayer.run_once():
        pages += 1
    assert [result_id for result_id, _ in await pairs(stage, replay)] == [made[3].id, made[17].id, made[39].id]
    assert pages == 6
    assert (await stage.replayer.dry_run(request(delivery_status=["exhausted"]))).count == 0, "they are on their way"


@pytest.mark.parametrize(("late", "share"), [(0.050, 0.1), (0.0, 0.7)])
async def test_a_replay_asks_for_less_while_the_event_loop_is_late_or_busy(
    stage: Stage, late: float, share: float
) -> None:
    await stage.add_subscription()
    await store(stage, AHEAD)
    for _ in range(20):
        stage.replayer.adapt(late, share)
    replay = await planned(stage, request())
    assert len(await pairs(stage, replay)) == 4
    for _ in range(10):
        stage.replayer.adapt(0.0, 0.5)
    while await stage.replayer.run_once():
        pass
    assert 12 <= len(await pairs(stage, replay)) <= 14


async def test_how_deliveries_stand_is_read_only_where_somebody_asks(
    sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each page that is counted or planned it is as much as the page itself."""
    stage, looks = sqlite_stage, list[int]()
    subscription = await stage.add_subscription()
    [result] = await store(stage, 1)
    await has(stage, result, subscription, DeliveryStatus.DELIVERED)
    look = replaying._standings

    def counted(connection: Any, found: Any, *others: Any) -> Any:
        looks.append(len(found))
        return look(connection, found, *others)

    monkeypatch.setattr(replaying, "_standings", counted)
    assert (await stage.replayer.dry_run(request(mode="all"))).count == 1
    assert looks == []
    assert (await stage.replayer.dry_run(request(mode="undelivered"))).count == 0
    assert (await stage.replayer.dry_run(request(mode="all", delivery_status=["exhausted"]))).count == 0
    assert looks == [1, 0]
