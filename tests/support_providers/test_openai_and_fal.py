"""What only OpenAI and fal do: batches, three addresses, errors that look completed."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from relay.demo.knobs import Outcome, Pending
from relay.demo.sink import Sink
from tests.support.clock import FakeClock
from tests.support.providers.customer import Customer, customer_of
from tests.support.providers.ways import listen, start


@pytest.fixture
async def openai(clock: FakeClock) -> AsyncIterator[Customer]:
    async with customer_of(start("openai", clock=clock)) as made:
        yield made


@pytest.fixture
async def fal(clock: FakeClock) -> AsyncIterator[Customer]:
    async with customer_of(start("fal", clock=clock)) as made:
        yield made


def sent(sink: Sink) -> list[Any]:
    return [orjson.loads(message.body) for message in sink.messages]


async def test_openai_answers_at_once_without_background_and_ends_incomplete_with_a_reason(openai: Customer) -> None:
    said = await openai.call("POST", "/v1/responses", json={"model": "gpt-5", "input": "x"})
    assert (said.json["status"], said.json["output"][0]["role"]) == ("completed", "assistant")
    openai.stand_in.knobs.outcome = Outcome.PARTIAL
    found = (await openai.status(openai.stand_in.open().id)).json
    assert (found["status"], found["incomplete_details"]["reason"]) == ("incomplete", "max_output_tokens")


async def test_openai_tells_of_an_incomplete_response_by_that_name(openai: Customer, sink: Sink) -> None:
    listen(openai.stand_in, sink.url)
    openai.stand_in.knobs.turn({"outcome": "partial", "chatter": True})
    await openai.submit(sink.url)
    await sink.wait_for(2)
    assert [one["type"] for one in sent(sink)] == ["eval.run.succeeded", "response.incomplete"]


async def test_a_batch_of_openai_is_two_hops_from_its_lines(openai: Customer, sink: Sink) -> None:
    listen(openai.stand_in, sink.url)
    wanted = {"input_file_id": "file-1", "endpoint": "/v1/responses", "completion_window": "24h"}
    openai.stand_in.knobs.work_seconds = None
    batch = (await openai.call("POST", "/v1/batches", json=wanted)).json
    assert (batch["object"], batch["status"], batch["id"][:6]) == ("batch", "validating", "batch_")
    await openai.stand_in.finish(batch["id"])
    assert sent(sink)[0]["type"] == "batch.completed"
    done = (await openai.call("GET", f"/v1/batches/{batch['id']}")).json
    lines = await openai.call("GET", f"/v1/files/{done['output_file_id']}/content")
    assert orjson.loads(lines.body.splitlines()[0])["custom_id"] == "1"


async def test_a_failed_request_of_fal_is_completed_with_an_error_and_its_result_is_an_http_error(
    fal: Customer,
) -> None:
    fal.stand_in.knobs.outcome = Outcome.FAILED
    job_id = await fal.submit()
    fal.stand_in.complete(job_id)
    found = (await fal.status(job_id)).json
    assert (found["status"], "error" in found) == ("COMPLETED", True)
    assert (await fal.result(job_id)).status == 500


async def test_fal_gives_three_addresses_that_are_the_models_own(fal: Customer) -> None:
    said = (await fal.ask()).json
    assert said["status_url"] == f"{said['response_url']}/status"
    assert "/fal-ai/stand-in/requests/" in said["cancel_url"]
    assert (await fal.call("GET", f"/requests/{said['request_id']}/status")).status == 404
    assert (await fal.call("GET", f"/other/model/requests/{said['request_id']}")).status == 404


@pytest.mark.parametrize(("shape", "status"), [(None, 400), (Pending.ACCEPTED, 202)])
async def test_an_unready_result_of_fal_while_the_status_says_done(
    fal: Customer, shape: Pending | None, status: int
) -> None:
    job_id = await fal.submit()
    fal.stand_in.complete(job_id)
    fal.stand_in.knobs.unready_answers, fal.stand_in.knobs.pending_shape = 1, shape
    assert await fal.word(job_id) == "COMPLETED"
    assert [(await fal.result(job_id)).status for _ in range(2)] == [status, 200]


async def test_a_result_of_fal_that_did_not_fit_into_its_notification(fal: Customer, sink: Sink) -> None:
    fal.stand_in.knobs.second_dialect = True
    job_id = await fal.submit(sink.url)
    [message] = await sink.wait_for(1)
    body = orjson.loads(message.body)
    assert (body["status"], body["payload"], "payload_error" in body) == ("OK", None, True)
    assert (await fal.result(job_id)).status == 200
