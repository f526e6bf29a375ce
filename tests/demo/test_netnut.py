"""The stand-in NetNut keeps to what the real one documents, and to its knobs where the real one is silent."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from relay.demo.knobs import Outcome
from relay.demo.netnut import Knobs, NetNut, Pending
from relay.demo.sink import Sink
from relay.model import Secret
from tests.support.hand_clock import HandClock
from tests.support.stopwatch import Stopwatch

GOOD = {"authorization": aiohttp.encode_basic_auth("customer", "open sesame")}


@pytest.fixture
async def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def netnut(clock: HandClock) -> AsyncIterator[NetNut]:
    async with NetNut(password=Secret("open sesame"), clock=clock) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def ask(http: aiohttp.ClientSession, url: str, headers: dict[str, str] = GOOD) -> tuple[int, Any]:
    async with http.get(url, headers=headers) as answer:
        return answer.status, orjson.loads(await answer.read())


async def search(http: aiohttp.ClientSession, netnut: NetNut, **body: Any) -> tuple[int, Any]:
    async with http.post(f"{netnut.url}/search", json=body, headers=GOOD) as answer:
        return answer.status, orjson.loads(await answer.read())


async def test_without_async_the_final_result_is_the_answer(http: aiohttp.ClientSession, netnut: NetNut) -> None:
    status, answer = await search(http, netnut, prompt="tea", engine="copilot")
    assert status == 200
    assert (answer["response"]["prompt"], answer["model"]) == ("tea", "copilot")


async def test_async_answers_with_a_place_where_the_result_will_be(
    http: aiohttp.ClientSession, netnut: NetNut, clock: HandClock
) -> None:
    netnut.knobs.work_seconds = 30
    status, confirmation = await search(http, netnut, prompt="tea", **{"async": True})
    assert status == 202
    assert (await ask(http, confirmation["response_url"]))[0] == 202
    await clock.advance(30)
    status, result = await ask(http, confirmation["response_url"])
    assert (status, result["traceID"]) == (200, confirmation["traceId"])
    assert netnut.counts["notified"] == 0


async def test_async_with_a_callback_url_sends_a_thin_notification(http: aiohttp.ClientSession, netnut: NetNut) -> None:
    async with Sink() as sink:
        _, confirmation = await search(http, netnut, prompt="tea", callback_url=f"{sink.url}/in/x", **{"async": True})
        [message] = await sink.wait_for(1)
    notification = orjson.loads(message.body)
    assert notification["response_url"] == confirmation["response_url"]
    assert "response" not in notification


async def test_a_callback_url_alone_gets_the_full_result_and_the_confirmation_names_only_itself(
    http: aiohttp.ClientSession, netnut: NetNut
) -> None:
    async with Sink() as sink:
        _, confirmation = await search(http, netnut, prompt="tea", callback_url=f"{sink.url}/in/x")
        [message] = await sink.wait_for(1)
    assert orjson.loads(message.body)["response"]["prompt"] == "tea"
    assert confirmation["response_url"] == f"{sink.url}/in/x"


@pytest.mark.parametrize("auth", [None, ("customer", "guess"), ("x", "open sesame")])
async def test_wrong_credentials_are_refused_and_counted(
    http: aiohttp.ClientSession, netnut: NetNut, auth: tuple[str, str] | None
) -> None:
    headers = {"authorization": aiohttp.encode_basic_auth(*auth)} if auth else {}
    status, _ = await ask(http, netnut.response_url(netnut.open().id), headers)
    assert (status, netnut.counts["unauthorized"]) == (401, 1)
    assert [asked.authorized for asked in netnut.requests] == [False]
    async with http.post(f"{netnut.url}/search", json={"prompt": "x"}, headers=headers) as answer:
        assert answer.status == 401


async def test_a_search_without_a_prompt_is_refused(http: aiohttp.ClientSession, netnut: NetNut) -> None:
    assert (await search(http, netnut, engine="copilot"))[0] == 400
    async with http.post(f"{netnut.url}/search", data=b"[", headers=GOOD) as answer:
        assert answer.status == 400


@pytest.mark.parametrize(("shape", "status"), [(Pending.ACCEPTED, 202), (Pending.OK, 200), (Pending.NOT_FOUND, 404)])
async def test_a_result_is_pending_as_often_as_the_knob_says(
    http: aiohttp.ClientSession, netnut: NetNut, shape: Pending, status: int
) -> None:
    netnut.knobs.pending_answers, netnut.knobs.pending_shape = 2, shape
    url = netnut.response_url(netnut.open().id)
    answers = [await ask(http, url) for _ in range(3)]
    assert [code for code, _ in answers] == [status, status, 200]
    assert ["response" in body for _, body in answers] == [False, False, True]


async def test_a_result_expires_after_completion(http: aiohttp.ClientSession, netnut: NetNut, clock: HandClock) -> None:
    netnut.knobs.expires_after = 7200
    trace = netnut.open()
    await clock.advance(7199.999)
    assert (await ask(http, netnut.response_url(trace.id)))[0] == 200
    await clock.advance(0.001)
    assert (await ask(http, netnut.response_url(trace.id)))[0] == 410


async def test_above_its_rate_it_answers_429_until_time_has_passed(
    http: aiohttp.ClientSession, netnut: NetNut, clock: HandClock
) -> None:
    netnut.knobs.rate_per_second = 3
    url = netnut.response_url(netnut.open().id)
    assert [(await ask(http, url))[0] for _ in range(4)] == [200, 200, 200, 429]
    await clock.advance(0.34)
    assert [(await ask(http, url))[0] for _ in range(2)] == [200, 429]


async def test_a_failed_job_a_chosen_status_and_an_unknown_trace(http: aiohttp.ClientSession, netnut: NetNut) -> None:
    url = netnut.response_url(netnut.open().id)
    netnut.knobs.outcome = Outcome.FAILED
    assert (await ask(http, url))[1]["status"] == "failed"
    netnut.knobs.status, netnut.knobs.headers = 503, {"retry-after": "9"}
    async with http.get(url, headers=GOOD) as answer:
        assert (answer.status, answer.headers["retry-after"]) == (503, "9")
    netnut.knobs.status = None
    assert (await ask(http, netnut.response_url("nobody")))[0] == 404


async def test_a_notification_comes_twice_or_never(http: aiohttp.ClientSession, netnut: NetNut) -> None:
    async with Sink() as sink:
        wanted = {"prompt": "tea", "callback_url": f"{sink.url}/in/x", "async": True}
        netnut.knobs.notifications = 2
        await search(http, netnut, **wanted)
        first, second = await sink.wait_for(2)
        assert first.body == second.body
        netnut.knobs.calls_back = False
        _, confirmation = await search(http, netnut, **wanted)
        assert (await ask(http, confirmation["response_url"]))[0] == 200
        assert len(sink.messages) == 2


async def test_a_callback_that_nobody_answers_is_counted_and_harms_nothing(netnut: NetNut) -> None:
    assert await netnut.notify("http://127.0.0.1:1/in/x", netnut.open().id) == 0
    assert netnut.counts["notify_failed"] == 1


async def test_an_answer_that_hangs_does_not_keep_the_stand_in_from_ending(http: aiohttp.ClientSession) -> None:
    async with NetNut(password=Secret("open sesame"), knobs=Knobs(answer_seconds=None)) as netnut:
        url = netnut.response_url(netnut.open().id)
        reading = asyncio.create_task(ask(http, url))
        await netnut.held.wait()
        watch = Stopwatch()
    assert watch.own_seconds < 1
    await reading


async def test_the_password_is_not_in_its_repr(netnut: NetNut) -> None:
    assert "sesame" not in repr(netnut.knobs) + repr(vars(netnut)["password"])


async def test_answers_on_a_kept_connection_are_not_held_back_by_nagle(
    http: aiohttp.ClientSession, netnut: NetNut
) -> None:
    url, times = netnut.response_url(netnut.open().id), []
    for _ in range(15):
        watch = Stopwatch()
        await ask(http, url)
        times.append(watch.own_seconds)
    assert sorted(times)[7] < 0.03
