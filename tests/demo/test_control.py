"""Another process turns the knobs of a stand-in, triggers events and reads what was asked, over HTTP."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
from standardwebhooks import Webhook

from relay.demo import seeds
from relay.demo.freddy import Freddy
from relay.demo.knobs import Outcome
from relay.demo.pulse import Pulse
from relay.demo.seeds import SEEDS
from relay.demo.sink import Sink
from relay.demo.stand_in import StandIn
from relay.model import Secret

PASSWORD = Secret("open sesame")


@pytest.fixture
async def pulse() -> AsyncIterator[Pulse]:
    async with Pulse(api_key=PASSWORD) as running:
        yield running


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink() as running:
        yield running


async def control(stand_in: StandIn, method: str, what: str, body: Any = None) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as http, http.request(method, f"{stand_in.url}/-/{what}", json=body) as answer:
        return answer.status, orjson.loads(await answer.read())


async def test_knobs_are_read_and_turned_and_wrong_ones_are_refused_by_name(pulse: Pulse) -> None:
    assert (await control(pulse, "GET", "knobs"))[1]["notifications"] == 1
    status, knobs = await control(pulse, "PATCH", "knobs", {"notifications": 3, "outcome": "failed"})
    assert (status, knobs["notifications"], pulse.knobs.notifications, pulse.knobs.outcome) == (200, 3, 3, "failed")
    status, refused = await control(pulse, "PATCH", "knobs", {"volume": 11})
    assert (status, "volume" in refused["error"]) == (422, True)
    assert (await control(pulse, "PATCH", "knobs", [1]))[0] == 422


async def test_an_event_is_triggered_as_often_as_wanted_and_its_results_can_be_fetched(
    pulse: Pulse, sink: Sink
) -> None:
    wanted = {"event": "failed", "count": 50, "callback_url": f"{sink.url}/in/x"}
    status, answer = await control(pulse, "POST", "trigger", wanted)
    ids = [job["id"] for job in answer["jobs"]]
    assert (status, len(set(ids)), len(sink.messages)) == (200, 50, 50)
    assert [job["callback_statuses"] for job in answer["jobs"]] == [[200]] * 50
    assert {orjson.loads(message.body)["type"] for message in sink.messages} == {"job.failed"}
    async with aiohttp.ClientSession(headers={"x-api-key": PASSWORD.reveal()}) as http:
        async with http.get(f"{pulse.url}/job/{ids[0]}") as read:
            assert (await read.json())["status"] == "failed"


@pytest.mark.parametrize("event", ["completed", "partial", "failed", "cancelled", "expired"])
async def test_the_four_trigger_every_event(sink: Sink, event: str) -> None:
    for name in SEEDS:
        async with seeds.stand_in(name, PASSWORD) as stand_in:
            before = len(sink.messages)
            status, answer = await control(
                stand_in, "POST", "trigger", {"event": event, "callback_url": sink.url, "knobs": {"notifications": 2}}
            )
            assert (status, len(answer["jobs"])) == (200, 1)
            assert len(sink.messages) - before == (0 if isinstance(stand_in, Freddy) else 2)
            assert stand_in.knobs.notifications == 1  # the knobs were those of these jobs alone


async def test_a_triggered_notification_is_signed_with_the_secret_given_and_shows_it_nowhere_else(sink: Sink) -> None:
    shared = {"event": "completed", "callback_url": sink.url, "secret": "AhALzdz8S"}
    async with seeds.stand_in("inference-net", PASSWORD) as inference:
        await control(inference, "POST", "trigger", shared)
        assert "AhALzdz8S" not in repr(inference.jobs)
    own = "whsec_" + base64.b64encode(b"k" * 32).decode()
    async with seeds.stand_in("pulse", PASSWORD) as pulse:
        await control(pulse, "POST", "trigger", {**shared, "secret": own})
    first, second = sink.messages
    assert first.headers["x-inference-webhook-id"] == "AhALzdz8S"
    Webhook(own).verify(second.body, dict(second.headers))


def test_an_event_is_read_or_refused_with_what_there_is() -> None:
    assert seeds.event("netnut.completed") == ("netnut", Outcome.COMPLETED)
    assert seeds.event("inference-net.failed") == ("inference-net", Outcome.FAILED)
    for wrong in ("netnut", "netnut.done", "openai.completed", ""):
        with pytest.raises(ValueError, match=r"netnut, pulse, inference-net, freddy .*expired"):
            seeds.event(wrong)


@pytest.mark.parametrize("wrong", [{"event": "glory"}, {"count": 0}, {"count": 10_001}, {"colour": 1}, {"knobs": 7}])
async def test_a_trigger_that_cannot_be_is_refused(pulse: Pulse, wrong: dict[str, Any]) -> None:
    status, answer = await control(pulse, "POST", "trigger", wrong)
    assert (status, list(answer)) == (422, ["error"])
    assert not pulse.jobs


async def test_a_page_of_another_origin_cannot_play_it(pulse: Pulse) -> None:
    async with aiohttp.ClientSession() as http:
        simple = {"content-type": "text/plain"}
        async with http.post(f"{pulse.url}/-/trigger", data=b"{}", headers=simple) as answer:
            assert answer.status == 422
    assert not pulse.jobs


async def test_a_job_is_ended_from_outside(pulse: Pulse, sink: Sink) -> None:
    pulse.callback_url = sink.url
    job = pulse.open(completed=False)
    assert await control(pulse, "POST", f"jobs/{job.id}/finish", {}) == (
        200,
        {"id": job.id, "callback_statuses": [200]},
    )
    assert (await control(pulse, "POST", "jobs/nobody/finish", {}))[0] == 404


async def test_what_was_asked_is_told_without_any_credential(pulse: Pulse) -> None:
    async with aiohttp.ClientSession() as http:
        headers = {"x-api-key": PASSWORD.reveal()}
        await (await http.get(f"{pulse.url}/job/1?a=b", headers=headers)).read()
    _, asked = await control(pulse, "GET", "requests")
    assert [(one["path"], one["status"], one["credentials"]) for one in asked] == [("/job/1", 404, ["x-api-key"])]
    assert PASSWORD.reveal() not in str(asked)
