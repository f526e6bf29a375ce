"""What only one of the seeds' other three providers does; NetNut has a file of its own."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from relay.demo.freddy import Freddy
from relay.demo.inference_net import MOST_IN_A_GROUP, InferenceNet
from relay.demo.knobs import Pending
from relay.demo.pulse import ENDPOINTS, Pulse
from relay.demo.sink import Sink
from relay.demo.stand_in import StandIn
from relay.model import Secret
from tests.support.clock import FakeClock

KEY = Secret("open sesame")
WEBHOOK_ID = "AhALzdz8S"


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink() as running:
        yield running


async def ask(stand_in: StandIn, method: str, path: str, **more: Any) -> tuple[int, Any]:
    header, values = stand_in.credentials()
    async with aiohttp.ClientSession(headers={header: values[0]}) as http:
        async with http.request(method, stand_in.url + path, **more) as answer:
            return answer.status, orjson.loads(await answer.read())


@pytest.fixture
async def pulse(clock: FakeClock, sink: Sink) -> AsyncIterator[Pulse]:
    async with Pulse(api_key=KEY, clock=clock, callback_url=f"{sink.url}/in/x") as running:
        yield running


@pytest.fixture
async def inference(clock: FakeClock, sink: Sink) -> AsyncIterator[InferenceNet]:
    async with InferenceNet(api_key=KEY, clock=clock) as running:
        running.register(WEBHOOK_ID, f"{sink.url}/in/x")
        yield running


@pytest.fixture
async def freddy(clock: FakeClock) -> AsyncIterator[Freddy]:
    async with Freddy(api_key=KEY, clock=clock) as running:
        yield running


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_pulse_answers_at_once_or_with_a_job(pulse: Pulse, path: str) -> None:
    status, body = await ask(pulse, "POST", path, json={"file_url": "x"})
    assert (status, "markdown" in body) == (200, True)
    status, body = await ask(pulse, "POST", path, json={"file_url": "x", "async": True})
    assert (status, body["status"]) == (202, "pending")


async def test_pulse_takes_a_form_with_a_file(pulse: Pulse) -> None:
    form = aiohttp.FormData()
    form.add_field("file", b"%PDF\x00\xff", filename="a.pdf", content_type="application/pdf")
    form.add_field("async", "true")
    status, body = await ask(pulse, "POST", "/extract", data=form)
    assert (status, body["status"]) == (202, "pending")


async def test_pulse_says_cancelled_with_two_l_in_the_event_and_one_in_the_status(pulse: Pulse, sink: Sink) -> None:
    pulse.knobs.turn({"work_seconds": None, "chatter": True})
    _, taken = await ask(pulse, "POST", "/extract", json={"async": True})
    status, said = await ask(pulse, "DELETE", f"/job/{taken['job_id']}")
    assert (status, said["job_id"]) == (200, taken["job_id"])
    messages = await sink.wait_for(3)
    kinds = [orjson.loads(message.body)["type"] for message in messages]
    assert kinds == ["job.created", "job.processing", "job.cancelled"]
    assert len({message.message_id for message in messages}) == 3
    assert (await ask(pulse, "GET", f"/job/{taken['job_id']}"))[1]["status"] == "canceled"


async def test_an_expired_job_of_pulse_says_so_with_a_stub(pulse: Pulse, clock: FakeClock) -> None:
    job = pulse.open()
    await clock.elapse(pulse.RETENTION_SECONDS)
    status, body = await ask(pulse, "GET", f"/job/{job.id}")
    assert (status, body["status"], body["result"]) == (200, "expired", {"expired": True})


async def test_the_other_dialect_of_pulse_has_the_id_at_the_top(pulse: Pulse, sink: Sink) -> None:
    pulse.knobs.second_dialect = True
    job = pulse.open()
    await pulse.finish(job.id)
    body = orjson.loads(sink.messages[0].body)
    assert (body["job_id"], "data" in body) == (job.id, False)


async def test_pulse_leads_to_its_portal(pulse: Pulse) -> None:
    assert "app-portal" in (await ask(pulse, "POST", "/webhook", json={}))[1]["link"]


async def test_inference_net_calls_back_thick_under_the_id_that_is_registered(
    inference: InferenceNet, sink: Sink
) -> None:
    wanted = {"model": "m", "messages": [], "metadata": {"webhook_id": WEBHOOK_ID, "team": 7}}
    _, taken = await ask(inference, "POST", "/v1/async/chat/completions", json=wanted)
    [message] = await sink.wait_for(1)
    body, headers = orjson.loads(message.body), message.headers
    assert (body["event"], body["webhook_id"], body["data"]["state"]) == (
        "generation.completed",
        WEBHOOK_ID,
        "Success",
    )
    assert headers["x-inference-webhook-id"] == WEBHOOK_ID
    assert headers["x-inference-generation-id"] == taken["id"] == body["generation_id"]
    assert headers["x-inference-event"] == "generation.completed"
    _, generation = await ask(inference, "GET", f"/v1/generation/{taken['id']}")
    assert generation == body["data"]
    assert generation["request"]["metadata"]["team"] == 7


async def test_inference_net_calls_nobody_for_an_id_it_does_not_know(inference: InferenceNet, sink: Sink) -> None:
    wanted = {"input": "x", "metadata": {"webhook_id": "somebody"}}
    _, taken = await ask(inference, "POST", "/v1/slow/embeddings", json=wanted)
    await inference.finish(taken["id"])
    assert not sink.messages


@pytest.mark.parametrize(("shape", "status"), [(None, 404), (Pending.OK, 200)])
async def test_inference_net_is_pending_by_404_or_by_its_words(
    inference: InferenceNet, shape: Pending | None, status: int
) -> None:
    inference.knobs.pending_shape = shape
    job = inference.open(completed=False)
    answers = [await ask(inference, "GET", f"/v1/generation/{job.id}") for _ in range(2)]
    assert [code for code, _ in answers] == [status, status]
    if shape is not None:
        assert [body["state"] for _, body in answers] == ["Queued", "In Progress"]


async def test_a_group_of_inference_net_is_told_as_one(inference: InferenceNet, sink: Sink) -> None:
    one = {"model": "m", "messages": [], "metadata": {"webhook_id": WEBHOOK_ID}}
    path = "/v1/async/group/chat/completions"
    inference.knobs.work_seconds = None
    _, taken = await ask(inference, "POST", path, json={"requests": [one, one]})
    assert taken["groupSize"] == 2
    where = f"/v1/async/group/{taken['groupId']}/generations"
    assert (await ask(inference, "GET", where))[0] == 404
    await inference.finish(taken["groupId"])
    [message] = sink.messages
    body = orjson.loads(message.body)
    assert (body["event"], body["group_id"], "webhook_id" in body) == ("slow-group.completed", taken["groupId"], False)
    assert message.headers["x-inference-group-id"] == taken["groupId"]
    _, found = await ask(inference, "GET", where)
    assert [each["state"] for each in found["generations"]] == ["Success", "Success"]
    _, single = await ask(inference, "GET", f"/v1/generation/{found['generations'][1]['id']}")
    assert single == found["generations"][1]
    too_many = {"requests": [one] * (MOST_IN_A_GROUP + 1)}
    assert (await ask(inference, "POST", path, json=too_many))[0] == 400


async def test_freddy_speaks_both_dialects(freddy: Freddy) -> None:
    job = freddy.open(completed=False)
    path = f"/v1/model/response/{job.id}"
    await ask(freddy, "GET", path)
    guide = (await ask(freddy, "GET", path))[1]
    freddy.knobs.second_dialect = True
    reference = (await ask(freddy, "GET", path))[1]
    assert (guide["status"], reference["status"]) == ("in_progress", "processing")
    assert ("created_at" in guide, "createdAt" in reference, "progress" in reference) == (True, True, True)
    freddy.complete(job.id)
    assert "completedAt" in (await ask(freddy, "GET", path))[1]


async def test_freddy_demands_the_organization_where_one_is_set(freddy: Freddy) -> None:
    freddy.organization_id = "org_1"
    wanted = {"model": "gpt-4.1", "background": True, "inputs": []}
    assert (await ask(freddy, "POST", "/v1/model/response", json=wanted))[0] == 422
    status, taken = await ask(freddy, "POST", "/v1/model/response", json={**wanted, "organization_id": "org_1"})
    path = f"/v1/model/response/{taken['id']}"
    assert (status, (await ask(freddy, "GET", path))[0]) == (200, 422)
    assert (await ask(freddy, "GET", path, params={"organizationId": "org_1"}))[0] == 200
    assert (await ask(freddy, "DELETE", path))[0] == 422


async def test_freddy_cancels_only_what_has_not_ended(freddy: Freddy) -> None:
    job = freddy.open()
    assert (await ask(freddy, "DELETE", f"/v1/model/response/{job.id}"))[0] == 409
    other = freddy.open(completed=False)
    assert (await ask(freddy, "DELETE", f"/v1/model/response/{other.id}"))[1]["status"] == "cancelled"


async def test_freddy_answers_at_once_without_background(freddy: Freddy) -> None:
    wanted = {"model": "gpt-4.1", "inputs": []}
    _, body = await ask(freddy, "POST", "/v1/model/response", json=wanted)
    assert (body["status"], body["output"][0]["role"]) == ("completed", "assistant")
