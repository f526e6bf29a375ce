"""The life of a job at each of the fourteen stand-ins, by plain HTTP, and every knob of their answers."""

import asyncio

import orjson
import pytest

from relay.demo.knobs import Outcome
from relay.demo.sink import Sink
from tests.support.clock import FakeClock
from tests.support.providers import PROVIDERS
from tests.support.providers.customer import Customer
from tests.support.providers.ways import KEY, WAYS, at, start

TEXT = b"earlier, smaller, colder"


async def test_who_waits_for_a_count_that_never_comes_is_told(customer: Customer) -> None:
    with pytest.raises(TimeoutError):
        await customer.stand_in.recorder.wait_for("notified", 1, seconds=0.01)


async def test_a_watcher_sees_every_request(customer: Customer) -> None:
    seen: list[str] = []
    customer.stand_in.recorder.watchers.append(lambda asked: seen.append(asked.path))
    await customer.result("nobody")
    assert seen == [customer.way.result.format(id="nobody")]


def test_every_provider_has_a_stand_in_and_a_way() -> None:
    assert len(PROVIDERS) == 14
    assert set(PROVIDERS) == set(WAYS)


@pytest.mark.parametrize("headers", [{}, {"authorization": f"Bearer {KEY}x"}, {"x-api-key": "guess"}])
async def test_wrong_credentials_get_the_providers_own_error_and_start_nothing(
    customer: Customer, headers: dict[str, str]
) -> None:
    said = await customer.ask(credentials=False, headers=headers)
    own = customer.stand_in.error(401, "Unauthorized")
    assert (said.status, said.body) == (401, own.body)
    assert (customer.stand_in.counts["unauthorized"], customer.stand_in.jobs) == (1, {})
    assert [asked.authorized for asked in customer.stand_in.requests] == [False]


async def test_a_request_that_cannot_be_read_is_refused(customer: Customer) -> None:
    wanted = customer.way.submit(None)
    said = await customer.call("POST", wanted.path, data=b"[", headers={"content-type": "application/json"})
    if customer.stand_in.NAME == "apify":
        assert said.status == 201  # an actor takes any input
    else:
        assert said.status == 400
        assert customer.stand_in.counts["submitted"] == 0


async def test_a_job_is_queued_then_running_then_done_and_tells_who_wants_to_know(
    customer: Customer, clock: FakeClock, sink: Sink, callback_url: str
) -> None:
    customer.stand_in.knobs.work_seconds = 30
    job_id = await customer.submit(callback_url)
    if customer.stand_in.NAME == "inference-net":
        assert (await customer.status(job_id)).status == 404  # that is how it says "not yet"
    else:
        assert [await customer.word(job_id), await customer.word(job_id)] == list(customer.way.words[:2])
    assert TEXT not in (await customer.result(job_id)).body
    assert not sink.messages
    await clock.elapse(30)
    if customer.way.notified:
        [message] = await sink.wait_for(1)
        assert at(orjson.loads(message.body), customer.way.notified) == job_id
        assert message.headers["content-type"] == "application/json"
    done = await customer.result(job_id)
    assert (done.status, TEXT in done.body) == (200, True)
    assert (await customer.word(job_id) or "") == customer.way.words[2]


async def test_it_remembers_who_asked_when_and_with_which_credentials(customer: Customer, clock: FakeClock) -> None:
    job_id = await customer.submit()
    began = clock.now()
    for seconds in (0, 5, 10):
        await clock.elapse(seconds)
        await customer.result(job_id)
    path = customer.way.result.format(id=job_id)
    asked = customer.stand_in.asked("GET", path)
    assert [one.at - began for one in asked] == [0, 5000, 15_000]
    assert all(one.authorized and len(one.credentials) == 1 for one in asked)
    assert KEY not in repr(asked)


async def test_a_finished_job_is_pending_as_often_as_the_knob_says(customer: Customer) -> None:
    job_id = await customer.submit()
    await customer.stand_in.finish(job_id)
    customer.stand_in.knobs.pending_answers = 2
    found = [TEXT in (await customer.result(job_id)).body for _ in range(4)]
    assert found == [False, False, True, True]


async def test_a_job_fails_in_the_providers_words(customer: Customer, sink: Sink, callback_url: str) -> None:
    customer.stand_in.knobs.outcome = Outcome.FAILED
    job_id = await customer.submit(callback_url)
    if customer.way.notified:
        await sink.wait_for(1)
    else:
        customer.stand_in.complete(job_id)
    assert await customer.word(job_id) == customer.way.failed
    assert TEXT not in (await customer.result(job_id)).body


async def test_a_job_is_cancelled_at_the_provider(customer: Customer, sink: Sink, callback_url: str) -> None:
    if customer.way.cancel is None:
        pytest.skip("this provider has no cancel")
    customer.stand_in.knobs.work_seconds = None
    job_id = await customer.submit(callback_url)
    said = await customer.cancel(job_id)
    assert 200 <= said.status < 300
    assert await customer.word(job_id) == customer.way.cancelled
    assert customer.stand_in.counts["cancelled"] == 1
    if customer.stand_in.NAME == "reducto":  # it tells of what is completed or failed
        assert not sink.messages
    elif customer.way.notified:
        await sink.wait_for(1)
    before = await customer.status(job_id)
    await customer.cancel(job_id)
    assert (await customer.status(job_id)).json == before.json
    assert customer.stand_in.counts["cancelled"] == 1


async def test_a_cancel_that_is_only_noted_changes_nothing(customer: Customer) -> None:
    if customer.way.cancel is None:
        pytest.skip("this provider has no cancel")
    customer.stand_in.knobs.turn({"cancels": False, "work_seconds": None})
    job_id = await customer.submit()
    await customer.cancel(job_id)
    await customer.stand_in.finish(job_id)
    assert TEXT in (await customer.result(job_id)).body


async def test_what_is_kept_too_long_is_gone_in_the_providers_own_way(customer: Customer, clock: FakeClock) -> None:
    customer.stand_in.knobs.expires_after = 100
    job_id = await customer.submit()
    await customer.stand_in.finish(job_id)
    await clock.elapse(99.999)
    assert TEXT in (await customer.result(job_id)).body
    await clock.elapse(0.001)
    gone = await customer.result(job_id)
    assert (gone.status, TEXT in gone.body) == (customer.way.gone, False)


async def test_the_documented_retention_holds_without_a_knob(customer: Customer, clock: FakeClock) -> None:
    job_id = await customer.submit()
    await customer.stand_in.finish(job_id)
    kept = customer.stand_in.RETENTION_SECONDS
    await clock.elapse(kept - 1)
    assert TEXT in (await customer.result(job_id)).body
    await clock.elapse(1)
    assert TEXT not in (await customer.result(job_id)).body


async def test_above_its_rate_it_says_when_to_come_again(customer: Customer, clock: FakeClock) -> None:
    job_id = await customer.submit()
    await customer.stand_in.finish(job_id)
    customer.stand_in.knobs.turn({"rate_per_second": 2, "retry_after_seconds": 7})
    answers = [await customer.result(job_id) for _ in range(3)]
    assert [one.status for one in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "7"
    await clock.elapse(0.5)
    assert (await customer.result(job_id)).status == 200


async def test_it_gives_hints_and_breaks_down_as_asked(customer: Customer) -> None:
    job_id = await customer.submit()
    await customer.stand_in.finish(job_id)
    customer.stand_in.knobs.turn({"headers": {"openai-poll-after-ms": "1500"}, "statuses": [500, 429]})
    answers = [await customer.result(job_id) for _ in range(3)]
    assert [one.status for one in answers] == [500, 429, 200]
    assert {one.headers["openai-poll-after-ms"] for one in answers} == {"1500"}
    customer.stand_in.knobs.submit_statuses = [503]
    assert [(await customer.ask()).status for _ in range(2)] == [503, customer.way.taken]


async def test_an_answer_comes_late_and_the_work_goes_on_meanwhile(
    customer: Customer, sink: Sink, callback_url: str
) -> None:
    customer.stand_in.knobs.submit_seconds = None
    asking = asyncio.create_task(customer.ask(callback_url))
    await customer.stand_in.held.wait()
    if customer.way.notified:
        await sink.wait_for(1)
    assert not asking.done()
    await customer.stand_in.server.stop()
    assert (await asking).status == customer.way.taken


async def test_a_result_is_as_large_as_wanted(customer: Customer) -> None:
    job_id = await customer.submit()
    await customer.stand_in.finish(job_id)
    small = len((await customer.result(job_id)).body)
    customer.stand_in.knobs.padding = 100_000
    assert len((await customer.result(job_id)).body) >= small + 100_000


async def test_an_unknown_job_and_an_unknown_path_are_not_found_and_noted(customer: Customer) -> None:
    assert (await customer.result("nobody")).status == 404
    assert (await customer.call("GET", "/not/a/path")).status == 404
    assert (await customer.call("PUT", "/not/a/path", credentials=False)).status == 401
    noted = [(asked.path, asked.status) for asked in customer.stand_in.requests]
    assert noted[1:] == [("/not/a/path", 404), ("/not/a/path", 401)]


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_a_seed_repeats_the_ids_and_without_one_they_are_unique(name: str) -> None:
    def ids(seed: str | None) -> list[str]:
        stand_in = start(name, seed=seed)
        return [stand_in.open().id for _ in range(3)]

    assert ids("a") == ids("a")
    assert len({*ids("a"), *ids("b"), *ids(None), *ids(None)}) == 12
