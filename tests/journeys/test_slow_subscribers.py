"""Subscribers that hang or dawdle cost the others nothing. Virtual time, the real deliver stage, the real store."""

from __future__ import annotations

import pytest

from relay.ids import instant_of
from relay.outbound.deliveries import Reply
from tests.support.doors import Page, Sent, answer_with, reply
from tests.support.stage import ORIGIN, Stage

HEALTHY_SECONDS = 0.005
RESULTS = 14
EVERY_SECONDS = 0.5


async def _play(url: str, *, healthy: int, black_holes: int, slow: int) -> list[float]:
    """A result every half second for each subscriber; how long healthy ones waited for theirs, in seconds."""
    stage = await Stage.open(url)
    stage.provider.answering = answer_with(Page(body=b'{"response": {"x": 1}}'))

    async def answering(sent: Sent) -> Reply:
        if "black-hole" in sent.url:
            await stage.clock.sleep(30)
            return reply(None, error="timed_out")
        await stage.clock.sleep(29 if "slow" in sent.url else HEALTHY_SECONDS)
        return reply()

    stage.subscribers.answering = answering
    for kind, number in (("healthy", healthy), ("black-hole", black_holes), ("slow", slow)):
        for place in range(number):
            await stage.add_subscription(url=f"https://{kind}-{place}.example/hooks")
    webhook = await stage.add_webhook()
    stage.supervise()
    for number in range(RESULTS):
        await stage.accept(webhook, {"response_url": f"{ORIGIN}/{number}"})
        await stage.elapse(EVERY_SECONDS)
    await stage.elapse(5)
    sent = [item for item in stage.subscribers.sent if "healthy" in item.url]
    waited = [(item.at - instant_of(item.headers["webhook-id"])) / 1000 for item in sent]
    await stage.close()
    assert len(waited) == healthy * RESULTS
    return sorted(waited)


def _p99(waited: list[float]) -> float:
    return waited[len(waited) * 99 // 100]


@pytest.mark.usefixtures("silence")
async def test_a_black_hole_and_one_that_takes_29_seconds_among_20_slow_nobody_down(sqlite_stage_url: str) -> None:
    waited = await _play(sqlite_stage_url, healthy=18, black_holes=1, slow=1)
    assert _p99(waited) <= 0.010
    assert waited[-1] <= 0.250


@pytest.mark.slow
@pytest.mark.usefixtures("silence")
async def test_even_where_half_of_a_hundred_are_black_holes(sqlite_stage_url: str) -> None:
    waited = await _play(sqlite_stage_url, healthy=50, black_holes=50, slow=0)
    assert _p99(waited) <= 0.030
    assert waited[-1] <= 0.250


@pytest.mark.usefixtures("silence")
async def test_fifty_that_are_dead_among_a_hundred_are_not_noticed_by_those_who_share_their_results(
    sqlite_stage_url: str,
) -> None:
    """Each result goes to ten of a hundred, five of which hang or refuse. `make bench` has the same in real time."""
    stage = await Stage.open(sqlite_stage_url)
    stage.provider.answering = answer_with(Page(body=b'{"response": {"x": 1}}'))

    async def answering(sent: Sent) -> Reply:
        if "hangs" in sent.url:
            await stage.clock.sleep(30)
            return reply(None, error="timed_out")
        await stage.clock.sleep(HEALTHY_SECONDS)
        return reply(None, error="connect_failed") if "nobody" in sent.url else reply()

    stage.subscribers.answering = answering
    webhooks = [await stage.add_webhook() for _ in range(10)]
    for webhook in webhooks:
        for place in range(10):
            kind = "well" if place < 5 else "hangs" if place < 8 else "nobody"
            await stage.add_subscription(url=f"https://{kind}-{place}.example/", webhook_ids=(webhook.id,))
    stage.supervise()
    for number in range(40):
        await stage.accept(webhooks[number % 10], {"response_url": f"{ORIGIN}/{number}"})
        await stage.elapse(0.05)
    await stage.elapse(2)
    sent = [item for item in stage.subscribers.sent if "well" in item.url]
    waited = sorted((item.at - instant_of(item.headers["webhook-id"])) / 1000 for item in sent)
    await stage.close()
    assert len(waited) == 40 * 5
    assert _p99(waited) <= 0.010
