"""How many notifications a second are let in, where that is limited."""

from __future__ import annotations

from itertools import count

from relay.pipeline.admission import LONGEST_RETRY_AFTER_SECONDS, TurnedAway
from relay.pipeline.receive import Answer
from tests.support.stage import URL, Stage

OVER = TurnedAway(503, 1, reason="over_rate")


async def test_a_webhook_takes_a_seconds_worth_at_once_and_then_its_rate_and_no_more(sqlite_stage: Stage) -> None:
    stage, numbers = sqlite_stage, count()
    webhook = await stage.add_webhook(notification_rate_per_second=4.0)
    other = await stage.add_webhook()
    token = stage.tokens.mint(webhook.id, webhook.generation)

    async def taken(calls: int) -> int:
        told = [await stage.receive(webhook, {"response_url": f"{URL}{next(numbers)}"}) for _ in range(calls)]
        assert all(isinstance(each, Answer) or each == OVER for each in told)
        return sum(isinstance(each, Answer) for each in told)

    await stage.receive(webhook, {}, method="PUT")  # what is turned away takes nothing of it
    assert await taken(7) == 4
    assert stage.receiver.admit_now(token, "POST") is None
    assert isinstance(await stage.receive(other, {"response_url": URL}), Answer)
    stage.clock.advance(0.25)
    assert await taken(3) == 1
    stage.clock.advance(0.75)
    assert await taken(9) == 3
    stage.clock.advance(3600)
    assert await taken(9) == 4, "what was not used is not saved up"
    stage.clock.advance(1)
    assert stage.receiver.admit_now(token, "POST") is not None
    assert await taken(9) == 3


async def test_a_slow_rate_is_kept_and_nobody_is_sent_away_for_days(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook(notification_rate_per_second=0.00001)
    assert isinstance(await sqlite_stage.receive(webhook, {"response_url": URL}), Answer)
    for seconds in (0, 50_000):
        sqlite_stage.clock.advance(seconds)
        told = await sqlite_stage.receive(webhook, {"response_url": f"{URL}/2"})
        assert told == TurnedAway(503, LONGEST_RETRY_AFTER_SECONDS, reason="over_rate")
    sqlite_stage.clock.advance(50_001)
    assert isinstance(await sqlite_stage.receive(webhook, {"response_url": f"{URL}/2"}), Answer)
