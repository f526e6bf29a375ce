"""A subscriber that is down is left alone: its deliveries keep their attempts, one node probes, then it ramps up."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from relay.clock import after
from relay.model import Subscription, SubscriptionStatus
from relay.outbound.deliveries import Reply
from relay.pipeline.breaker import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, OPENS_AFTER, Health, health_of
from relay.store import breakers
from relay.store.breakers import Breaker
from relay.workers.shares import Share
from tests.support.doors import Page, Sent, answer_with, reply
from tests.support.stage import DEFAULT_PLAN, ORIGIN, Stage
from tests.support.stage_fixtures import SQLITE_FIRST, Opening

DOWN = reply(None, error="connect_failed")


class Subscribers:
    """Who is down, as the test says."""

    def __init__(self, *stages: Stage) -> None:
        self.down: dict[str, Reply] = {}
        for stage in stages:
            stage.subscribers.answering = self._answer

    async def _answer(self, sent: Sent) -> Reply:
        return self.down.get(sent.url, reply())


async def _results(stage: Stage, number: int, start: int = 0) -> None:
    """So many results for every subscription."""
    stage.provider.answering = answer_with(Page(body=b'{"response": {"x": 1}}'))
    webhook = next(iter(stage.configuration.current.webhooks.values()), None) or await stage.add_webhook()
    for place in range(start, start + number):
        await stage.accept(webhook, {"response_url": f"{ORIGIN}/{place}"})
        await stage.work_until_idle()


async def _known(stage: Stage, subscription: Subscription) -> Breaker | None:
    return (await stage.database.read(breakers.load)).get(subscription.id)


def _sent(stage: Stage, subscription: Subscription) -> list[Sent]:
    return [sent for sent in stage.subscribers.sent if sent.url == subscription.url]


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        (reply(200), Health.FINE),
        (reply(204), Health.FINE),
        (reply(301), Health.REFUSES),
        (reply(401), Health.REFUSES),
        (reply(410), Health.REFUSES),
        (reply(429), Health.REFUSES),
        (reply(500), Health.DOWN),
        (reply(503, retry_after="9"), Health.DOWN),
        (DOWN, Health.DOWN),
        (reply(200, error="timed_out"), Health.DOWN),
        (reply(None, error="internal_error"), Health.REFUSES),
    ],
)
def test_what_an_attempt_says_about_the_subscriber(answer: Reply, health: Health) -> None:
    assert health_of(answer) is health


@SQLITE_FIRST
async def test_what_is_down_is_left_alone_and_then_gets_everything(stage: Stage) -> None:
    world = Subscribers(stage)
    ill = await stage.add_subscription(url="https://ill.example/")
    well = await stage.add_subscription(url="https://well.example/")
    world.down[str(ill.url)] = DOWN
    await _results(stage, 40)
    row = await _known(stage, ill)
    assert row is not None and row.opened_at is not None and row.last_error == "connect_failed"
    assert len(_sent(stage, ill)) == OPENS_AFTER and len(_sent(stage, well)) == 40
    await stage.work_through(1800)
    probes = len(_sent(stage, ill)) - OPENS_AFTER
    assert 1800 / (LONGEST_PAUSE_SECONDS * 1.2) <= probes <= 16
    waiting = [item for item in await stage.deliveries() if item.subscription_id == ill.id]
    assert {item.status for item in waiting} == {"pending"}
    assert sum(item.attempts for item in waiting) == OPENS_AFTER + probes
    world.down.clear()
    await stage.work_through(LONGEST_PAUSE_SECONDS * 1.2 + 60)
    done = [item for item in await stage.deliveries() if item.subscription_id == ill.id]
    assert {item.status for item in done} == {"delivered"}
    assert await _known(stage, ill) is None and await stage.database.read(breakers.load) == {}


async def test_it_is_taken_up_gently(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    world, ill = Subscribers(stage), await stage.add_subscription(url="https://ill.example/", max_in_flight=100)
    world.down[str(ill.url)] = DOWN
    await _results(stage, 80)
    world.down.clear()
    stage.subscribers.sent.clear()
    stage.supervise()
    await stage.elapse(FIRST_PAUSE_SECONDS * 1.2 + 10)
    moments = [sent.at for sent in _sent(stage, ill)]
    began = moments[0]
    by_second = [sum(began + s * 1000 <= at < began + (s + 1) * 1000 for at in moments) for s in range(7)]
    assert by_second[0] <= 3 and by_second[1] <= 3 and by_second[2] <= 5 and by_second[3] <= 9
    assert len(moments) == 80


@SQLITE_FIRST
async def test_one_node_probes_and_all_know(stage: Stage) -> None:
    other = await stage.another()
    world = Subscribers(stage, other)
    ill = await stage.add_subscription(url="https://ill.example/")
    await other.configuration.refresh()
    world.down[str(ill.url)] = DOWN
    await _results(stage, 20)
    await other.breakers.refresh()
    assert other.breakers.is_open(ill.id)
    for node in (stage, other):
        node.subscribers.sent.clear()
        node.supervise()
    await stage.elapse(FIRST_PAUSE_SECONDS * 1.2 + 1)
    probes = [sent.at for node in (stage, other) for sent in node.subscribers.sent]
    assert len(probes) == 1, "two nodes, one probe"
    world.down.clear()
    await stage.elapse(60)
    await other.supervisor.stop()
    assert {item.status for item in await stage.deliveries()} == {"delivered"}
    assert not stage.breakers.is_open(ill.id) and not other.breakers.is_open(ill.id)


@SQLITE_FIRST
@pytest.mark.parametrize("limits", [{"max_in_flight": 1}, {"rate_per_second": 1.0}])
async def test_a_node_that_has_no_part_of_a_subscription_takes_no_probe_of_it(
    stage: Stage, limits: dict[str, Any]
) -> None:
    """It could not make it, and nobody else could for a minute."""
    other = await stage.another()
    world = Subscribers(stage, other)
    ill = await stage.add_subscription(url="https://ill.example/", **limits)
    await other.configuration.refresh()
    world.down[str(ill.url)] = DOWN
    await _results(stage, 3)
    await stage.work_through(60)
    stage.share, other.share = Share(2, 1), Share(2, 0)
    await other.breakers.refresh()
    assert other.breakers.is_open(ill.id)
    stage.clock.advance(LONGEST_PAUSE_SECONDS * 1.2)
    for node in (stage, other):  # the one that has no part looks first
        await node.breakers.run_once()
    assert stage.breakers.holds(ill.id) and not other.breakers.holds(ill.id)


async def test_a_probe_that_takes_its_time_is_not_made_twice(sqlite_stage: Stage) -> None:
    """One that may take minutes was made again each minute, and then what it came to was not believed."""
    stage = sqlite_stage
    world = Subscribers(stage)
    ill = await stage.add_subscription(url="https://ill.example/", timeout_seconds=100.0)
    world.down[str(ill.url)] = DOWN
    await _results(stage, 3)
    await stage.work_through(60)
    hung, probes = await _known(stage, ill), list[Sent]()
    assert hung is not None and hung.opened_at is not None

    async def hangs(sent: Sent) -> Reply:
        probes.append(sent)
        await stage.clock.sleep(sent.timeout_seconds)
        return reply(None, error="timed_out")

    stage.subscribers.answering = hangs
    stage.supervise()
    while not probes:
        await stage.elapse(5)
    await stage.elapse(95)
    assert len(probes) == 1
    await stage.elapse(12)
    known = await _known(stage, ill)
    assert known is not None and known.probes == hung.probes + 1


@SQLITE_FIRST
async def test_who_answers_is_not_down_but_known_to_fail(stage: Stage) -> None:
    world, ill = Subscribers(stage), await stage.add_subscription(url="https://ill.example/")
    began = stage.clock.now()
    world.down[str(ill.url)] = reply(404)
    await _results(stage, 10)
    row = await _known(stage, ill)
    assert row is not None and row.opened_at is None and row.failing_since >= began
    assert len(_sent(stage, ill)) == 10
    world.down.clear()
    await stage.work_through(10)
    assert await _known(stage, ill) is None


async def test_a_probe_that_is_answered_with_a_refusal_closes_it(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    world, ill = Subscribers(stage), await stage.add_subscription(url="https://ill.example/")
    world.down[str(ill.url)] = DOWN
    await _results(stage, OPENS_AFTER + 5)
    world.down[str(ill.url)] = reply(404)
    await stage.work_through(FIRST_PAUSE_SECONDS * 1.2 + 1)
    row = await _known(stage, ill)
    assert row is not None and row.opened_at is None
    assert not stage.breakers.is_open(ill.id)


@SQLITE_FIRST
async def test_healthy_traffic_and_a_lone_failure_write_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    wrote: list[object] = []
    monkeypatch.setattr(stage.breakers, "write", wrote.append)
    world, some = Subscribers(stage), await stage.add_subscription(url="https://some.example/")
    await _results(stage, 10)
    world.down[str(some.url)] = DOWN
    await _results(stage, 2, 100)
    world.down.clear()
    await stage.work_through(60)
    assert wrote == [] and {item.status for item in await stage.deliveries()} == {"delivered"}
    assert stage.breakers._lanes == {}


async def test_what_people_reset_is_tried_again_at_once(stage: Stage) -> None:
    world, ill = Subscribers(stage), await stage.add_subscription(url="https://ill.example/")
    world.down[str(ill.url)] = DOWN
    await _results(stage, OPENS_AFTER + 3)
    await stage.work_through(600)
    world.down.clear()
    await stage.database.write(partial(breakers.clear, subscription_id=ill.id))
    await stage.breakers.refresh()
    seen = len(stage.subscribers.sent)
    await stage.work_until_idle()
    assert len(stage.subscribers.sent) > seen


async def test_a_restart_remembers(stage: Stage) -> None:
    world, ill = Subscribers(stage), await stage.add_subscription(url="https://ill.example/")
    world.down[str(ill.url)] = DOWN
    await _results(stage, OPENS_AFTER + 3)
    again = await stage.another()
    await again.breakers.refresh()
    assert again.breakers.is_open(ill.id)
    assert again.breakers.failing_since(ill.id) == stage.breakers.failing_since(ill.id)


# --- days of it ---


@SQLITE_FIRST
async def test_after_days_of_nothing_but_failures_it_is_disabled(open_stage: Opening) -> None:
    stage = await open_stage(replace(DEFAULT_PLAN, disable_after_seconds=6 * 3600.0))
    world, ill = Subscribers(stage), await stage.add_subscription(url="https://ill.example/")
    world.down[str(ill.url)] = DOWN
    for hour in range(7):
        await _results(stage, 3, 10 * hour)
        await stage.work_through(LONGEST_PAUSE_SECONDS * 1.2 + 1)
        found = stage.configuration.current.subscriptions[ill.id]
        assert found.status == (SubscriptionStatus.DISABLED if hour == 6 else SubscriptionStatus.ACTIVE), hour
        await stage.work_through(0 if hour == 6 else 3600 - LONGEST_PAUSE_SECONDS * 1.2 - 1)
    found = stage.configuration.current.subscriptions[ill.id]
    assert (found.status_reason or "").startswith("nothing but failures since 20")
    fresh = {item.id for item in await stage.deliveries() if item.status == "pending" and item.attempts < 3}
    assert fresh, "what came is kept for when it is enabled"
    world.down.clear()
    await stage.change_subscription(found, status=SubscriptionStatus.ACTIVE, status_reason=None)
    await stage.database.write(partial(breakers.clear, subscription_id=ill.id))
    await stage.breakers.refresh()
    await stage.work_through(700)
    assert {item.status for item in await stage.deliveries() if item.id in fresh} == {"delivered"}


@SQLITE_FIRST
async def test_what_a_person_enabled_is_not_disabled_by_a_node_that_has_not_heard_of_it(open_stage: Opening) -> None:
    stage = await open_stage(replace(DEFAULT_PLAN, disable_after_seconds=3 * 3600.0))
    world, ill = Subscribers(stage), await stage.add_subscription(url="https://ill.example/")
    world.down[str(ill.url)] = reply(401)
    await _results(stage, 3)
    await stage.work_through(5 * 3600)
    found = stage.configuration.current.subscriptions[ill.id]
    assert found.status is SubscriptionStatus.DISABLED
    await stage.change_subscription(found, status=SubscriptionStatus.ACTIVE, status_reason=None)
    await stage.database.write(partial(breakers.clear, subscription_id=ill.id))
    assert stage.breakers.failing_since(ill.id) is not None, "not heard of it"
    seen = len(_sent(stage, ill))
    await _results(stage, 1, 100)
    assert len(_sent(stage, ill)) > seen
    assert stage.configuration.current.subscriptions[ill.id].status is SubscriptionStatus.ACTIVE
    row = await _known(stage, ill)
    assert row is None or row.failing_since > found.updated_at, "its failures count from when it was enabled"


@SQLITE_FIRST
async def test_one_success_is_enough_and_it_can_be_switched_off(open_stage: Opening) -> None:
    stage = await open_stage(replace(DEFAULT_PLAN, disable_after_seconds=None))
    world, ill = Subscribers(stage), await stage.add_subscription(url="https://ill.example/")
    world.down[str(ill.url)] = reply(401)
    await _results(stage, 2)
    await stage.work_through(6 * 86_400)
    assert stage.configuration.current.subscriptions[ill.id].status is SubscriptionStatus.ACTIVE
    await _results(stage, 1, 100)
    since = stage.breakers.failing_since(ill.id)
    assert since is not None and after(since, 6 * 86_400) <= stage.clock.now()
    world.down.clear()
    await _results(stage, 1, 1000)
    assert stage.breakers.failing_since(ill.id) is None


@pytest.mark.parametrize(("hours", "results"), [(2, 48), pytest.param(24, 96, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("silence")
async def test_hours_of_darkness_then_everything_at_its_rate_and_the_others_never_notice(
    sqlite_stage_url: str, hours: int, results: int
) -> None:
    stage = await Stage.open(sqlite_stage_url)
    world = Subscribers(stage)
    ill = await stage.add_subscription(url="https://ill.example/", rate_per_second=5)
    well = await stage.add_subscription(url="https://well.example/")
    world.down[str(ill.url)] = DOWN
    each = results // hours
    for hour in range(hours):
        await _results(stage, each, 100 * hour)
        await stage.work_through(3600)
    healthy = [item for item in await stage.deliveries() if item.subscription_id == well.id]
    assert [(item.status, item.attempts) for item in healthy] == [("delivered", 1)] * results
    world.down.clear()
    stage.subscribers.sent.clear()
    stage.supervise()
    await stage.elapse(LONGEST_PAUSE_SECONDS * 1.2 + 30)
    await stage.supervisor.stop()
    at_once = len(_sent(stage, ill))
    await stage.work_through(86_400)  # those that were tried meanwhile go by their schedule
    statuses = {item.status for item in await stage.deliveries()}
    moments = [sent.at for sent in _sent(stage, ill)]
    await stage.close()
    assert statuses == {"delivered"} and len(moments) == results and at_once >= results // 2
    assert max(sum(at <= other < at + 1000 for other in moments) for at in moments) <= 5


async def test_a_slot_from_before_the_ramp_that_was_not_used_after_all_upsets_nothing(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    world, ill = Subscribers(stage), await stage.add_subscription(url="https://ill.example/")
    world.down[str(ill.url)] = DOWN
    await _results(stage, OPENS_AFTER)
    await stage.database.write(partial(breakers.clear, subscription_id=ill.id))
    await stage.breakers.refresh()
    stage.breakers.leave(ill.id, used=False)
    assert stage.breakers.opens_in(ill.id) == 0 and stage.breakers.enter(ill.id)
