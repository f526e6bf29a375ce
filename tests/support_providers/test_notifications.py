"""Every knob of the notifications at each of the stand-ins that call back."""

import asyncio
from typing import Any

import orjson
import pytest

from relay.demo.sink import Sink
from tests.support.clock import FakeClock
from tests.support.providers.customer import Customer
from tests.support.providers.ways import at

TEXT = b"earlier, smaller, colder"


@pytest.fixture
def called(customer: Customer) -> Customer:
    """Only those who call back."""
    if customer.way.notified is None:
        pytest.skip("this provider calls nobody back")
    return customer


async def notified(sink: Sink, count: int) -> list[Any]:
    return [orjson.loads(message.body) for message in await sink.wait_for(count)][:count]


async def test_a_notification_comes_twice_byte_for_byte(called: Customer, sink: Sink, callback_url: str) -> None:
    called.stand_in.knobs.notifications = 3
    job_id = await called.submit(callback_url)
    messages = await sink.wait_for(3)
    await called.stand_in.wait_for("notified", 3)
    assert [(one.status, one.job_id, one.body) for one in called.stand_in.callbacks] == [
        (200, job_id, message.body) for message in messages
    ]
    assert len({message.body for message in messages}) == 1
    assert len({message.message_id for message in messages}) == 1


async def test_a_notification_never_comes(called: Customer, sink: Sink, callback_url: str) -> None:
    called.stand_in.knobs.calls_back = False
    job_id = await called.submit(callback_url)
    await called.stand_in.finish(job_id)
    assert TEXT in (await called.result(job_id)).body
    assert (list(sink.messages), called.stand_in.counts["notified"]) == ([], 0)


async def test_a_notification_comes_while_the_work_goes_on(
    called: Customer, sink: Sink, callback_url: str, clock: FakeClock
) -> None:
    called.stand_in.knobs.turn({"calls_back_early": True, "work_seconds": 60})
    job_id = await called.submit(callback_url)
    await sink.wait_for(1)
    assert TEXT not in (await called.result(job_id)).body
    await clock.elapse(60)
    assert TEXT in (await called.result(job_id)).body
    assert len(sink.messages) == 1


async def test_a_callback_that_is_answered_late_does_not_hold_up_the_work(
    called: Customer, sink: Sink, callback_url: str, clock: FakeClock
) -> None:
    called.stand_in.knobs.turn({"calls_back_early": True, "work_seconds": 60})
    sink.knobs.answer_seconds = None
    job_id = await called.submit(callback_url)
    await sink.wait_for(1)
    await clock.elapse(60)
    await sink.__aexit__()
    await called.stand_in.wait_for("notified", 1)
    await clock.settle()
    assert TEXT in (await called.result(job_id)).body


async def test_a_notification_comes_before_the_answer_to_the_request(
    called: Customer, sink: Sink, callback_url: str
) -> None:
    called.stand_in.knobs.calls_back_first = True
    sink.knobs.answer_seconds = None
    asking = asyncio.create_task(called.ask(callback_url))
    await sink.wait_for(1)
    assert not asking.done()
    assert called.stand_in.counts["submitted"] == 1
    await sink.__aexit__()
    assert (await asking).status == called.way.taken


async def test_a_notification_comes_late(called: Customer, sink: Sink, callback_url: str, clock: FakeClock) -> None:
    called.stand_in.knobs.callback_seconds = 90
    job_id = await called.submit(callback_url)
    await clock.elapse(89)
    assert TEXT in (await called.result(job_id)).body
    assert not sink.messages
    await clock.elapse(1)
    await sink.wait_for(1)


async def test_a_notification_has_no_id(called: Customer, sink: Sink, callback_url: str) -> None:
    called.stand_in.knobs.sends_id = False
    job_id = await called.submit(callback_url)
    [body] = await notified(sink, 1)
    assert called.way.notified is not None
    assert at(body, called.way.notified) is None
    assert job_id  # the request still tells it


async def test_a_cancelled_job_does_not_end_once_more(
    called: Customer, sink: Sink, callback_url: str, clock: FakeClock
) -> None:
    if called.way.cancel is None:
        pytest.skip("this provider has no cancel")
    called.stand_in.knobs.work_seconds = 30
    job_id = await called.submit(callback_url)
    await called.cancel(job_id)
    ended = called.stand_in.jobs[job_id].completed_at
    if called.stand_in.NAME != "reducto":
        await sink.wait_for(1)
    await clock.elapse(30)
    assert called.stand_in.jobs[job_id].completed_at == ended
    await called.stand_in.wait_for("200", 1)
    assert len(sink.messages) <= 1


async def test_a_word_nobody_knows_is_not_the_end(customer: Customer, sink: Sink, callback_url: str) -> None:
    customer.stand_in.knobs.status_word = "contemplating"
    job_id = await customer.submit(callback_url)
    if customer.way.notified:
        [body] = await notified(sink, 1)
        assert b"contemplating" in orjson.dumps(body)
    assert await customer.word(job_id) == "contemplating"
    assert TEXT not in (await customer.result(job_id)).body
    customer.stand_in.knobs.status_word = None
    customer.stand_in.complete(job_id)
    assert TEXT in (await customer.result(job_id)).body
