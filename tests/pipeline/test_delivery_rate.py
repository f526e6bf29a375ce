"""A subscription's rate is a cap: over all nodes together, in every second, after an outage too. Virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from relay.model import SubscriptionStatus
from relay.pipeline.pace import Pace
from relay.workers.shares import Share
from tests.support.doors import Page, answer_with
from tests.support.stage import ORIGIN, Stage


def fullest(moments: Sequence[int], seconds: float = 1.0) -> int:
    """The most of them in any span of this length."""
    return max(sum(at <= other < at + seconds * 1000 for other in moments) for at in moments)


async def _backlog(stage: Stage, results: int, rate: float) -> None:
    """So many deliveries that wait, and then may all go at once."""
    stage.provider.answering = answer_with(Page(body=b'{"response": {"x": 1}}'))
    subscription = await stage.add_subscription(rate_per_second=rate, status=SubscriptionStatus.PAUSED)
    webhook = await stage.add_webhook()
    for number in range(results):
        await stage.accept(webhook, {"response_url": f"{ORIGIN}/{number}"})
    await stage.work_until_idle()
    await stage.change_subscription(subscription, status=SubscriptionStatus.ACTIVE)


@pytest.mark.usefixtures("silence")
async def test_a_backlog_goes_out_at_the_rate_and_not_faster(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    await _backlog(stage, 40, rate=10)
    stage.supervise()
    await stage.elapse(5)
    moments = [sent.at for sent in stage.subscribers.sent]
    assert len(moments) == 40
    assert fullest(moments) <= 10 and fullest(moments, 2) <= 20


@pytest.mark.usefixtures("silence")
async def test_two_nodes_together_keep_to_the_rate(stage: Stage) -> None:
    await _backlog(stage, 30, rate=5)
    other = await stage.another()
    stage.share, other.share = Share(2, 0), Share(2, 1)
    for node in (stage, other):
        node.supervise()
    await stage.elapse(8)
    moments = sorted(sent.at for node in (stage, other) for sent in node.subscribers.sent)
    await other.supervisor.stop()
    assert len(moments) == 30
    assert fullest(moments) <= 5
    assert stage.subscribers.sent and other.subscribers.sent


async def test_what_was_let_in_unevenly_leaves_evenly(sqlite_stage: Stage) -> None:
    """Three that come out of their transactions together, one that comes late, one that comes at once."""
    stage, started = sqlite_stage, list[float]()
    pace = Pace(stage.clock, lambda rate: rate / 2)
    subscription = await stage.add_subscription(rate_per_second=8)
    others = await stage.add_subscription(rate_per_second=None)

    async def start() -> None:
        await pace.keep(subscription)
        await pace.keep(others)
        started.append(round(stage.clock.monotonic() - began, 3))

    began = stage.clock.monotonic()
    tasks = [asyncio.create_task(start()) for _ in range(3)]
    await stage.elapse(0.9)
    tasks += [asyncio.create_task(start()) for _ in range(2)]
    await stage.elapse(1)
    await asyncio.gather(*tasks)
    assert started == [0.0, 0.25, 0.5, 0.9, 1.15]
