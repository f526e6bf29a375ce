"""The providers' official Python packages submit through the relay: nothing is changed but their base URL."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson
import pytest

from tests.support.later import later
from tests.support.providers.ways import SHARED, authorization
from tests.support.through import Through, through
from tests.support.tls_front import tls_front

if TYPE_CHECKING:
    import apify_client
    import assemblyai
    import openai
    import replicate
else:
    apify_client, assemblyai, openai, replicate = map(later, ("apify_client", "assemblyai", "openai", "replicate"))

T = TypeVar("T")

HURRY: Final = 10
APP: Final = "fal-ai/stand-in"
BY_FAL: Final = """
import json, fal_client

client = fal_client.SyncClient()
handle = client.submit("fal-ai/stand-in/sub", {"prompt": "coffee"})
states = [type(state).__name__ for state in client.get_handle("fal-ai/stand-in", handle.request_id).iter_events()]
result = client.result("fal-ai/stand-in", handle.request_id)
assert handle.get() == result
print(json.dumps({"id": handle.request_id, "points_to": handle.response_url, "states": states, "result": result}))
"""


@dataclass(frozen=True)
class Customer:
    """Somebody who has a relay, a key of it that may write, and a webhook there."""

    relay: Through
    key: str

    @property
    def base(self) -> str:
        return self.relay.base

    async def calls(self, work: Callable[[], T]) -> T:
        """What a client that blocks does, beside everything else."""
        return await asyncio.to_thread(work)

    async def job_of(self, provider_job_id: str) -> dict[str, Any]:
        """The one job that has the provider's id."""
        (job,) = await self.relay.caller.page(f"/v1/jobs?provider_job_id={provider_job_id}")
        return job

    async def completed(self, provider_job_id: str) -> bytes:
        """The job's payload: it has ended well, the subscriber has it, and the provider has never seen Relay's key."""
        job = await self.job_of(provider_job_id)
        job = await self.relay.caller.ended(job["id"])
        (message,) = await self.relay.sink.wait_for(1)
        data = orjson.loads(message.body)["data"]
        assert message.verified and len(self.relay.sink.messages) == 1
        assert (data["job_id"], data["status"]) == (job["id"], "completed")
        payload = await self.relay.caller.call("GET", f"/v1/results/{job['result_id']}/payload")
        assert data["payload"] == orjson.loads(payload.raw)
        self.keeps_its_key()
        return payload.raw

    def keeps_its_key(self) -> None:
        """Everything that the provider was sent came with the webhook's credentials, and with nothing of Relay's."""
        asked = self.relay.stand_in.requests
        assert asked and all(one.authorized for one in asked)
        sent = [f"{one.path}?{one.query}" + repr(dict(one.headers)) for one in asked]
        assert self.key not in "\n".join([*sent, *(repr(job.wanted) for job in self.relay.stand_in.jobs.values())])

    async def served(self, provider_job_id: str) -> bytes:
        """What the provider itself serves as the result."""
        stand_in = self.relay.stand_in
        url = stand_in.url + self.relay.way.result.format(id=provider_job_id)
        async with self.relay.caller.session.get(url, headers=authorization(stand_in)) as answer:
            return await answer.read()


@pytest.fixture
async def customer(request: pytest.FixtureRequest, sqlite_stage_url: str, tmp_path: Path) -> AsyncIterator[Customer]:
    async with through(sqlite_stage_url, tmp_path, request.param, hurry=HURRY) as relay:
        made = await relay.caller.post("/v1/keys", {"name": "client", "scope": "write"})
        yield Customer(relay, made["key"])


def of(provider: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("customer", [provider], indirect=True)


def openai_at(customer: Customer, path: str, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=customer.base + path, api_key=customer.key, **more)


@of("inference-net")
async def test_openais_client_asks_for_a_chat_as_inference_net_documents_it(customer: Customer) -> None:
    with openai_at(customer, "/v1/slow") as client:
        job = await customer.calls(
            lambda: client.chat.completions.create(
                model="meta-llama/llama-3.2-1b-instruct/fp-8",
                messages=[{"role": "user", "content": "Summarize War and Peace in 10 bullets"}],
                metadata={"webhook_id": "AhALzdz8S", "team": "a"},
            )
        )
    payload = await customer.completed(job.id)
    (called,) = customer.relay.stand_in.callbacks
    assert payload == called.body
    wanted = customer.relay.stand_in.jobs[job.id].wanted
    assert wanted["metadata"] == {"webhook_id": SHARED, "team": "a"}
    assert wanted["messages"][0]["content"].startswith("Summarize")


@of("inference-net")
async def test_openais_client_asks_for_embeddings(customer: Customer) -> None:
    with openai_at(customer, "/v1/slow") as client:
        raw = await customer.calls(
            lambda: client.embeddings.with_raw_response.create(
                model="bge", input=["tea", "coffee"], encoding_format="float"
            )
        )
    job_id = json.loads(raw.content)["id"]
    payload = await customer.completed(job_id)
    assert json.loads(payload)["event"] == "async-embedding.completed"
    assert customer.relay.stand_in.jobs[job_id].wanted["metadata"] == {"webhook_id": SHARED}


@of("openai")
async def test_openais_client_asks_in_the_background_and_reads_the_response_through_the_relay(
    customer: Customer,
) -> None:
    customer.relay.stand_in.knobs.work_seconds = None
    with openai_at(customer, "/v1") as client:
        asked = await customer.calls(lambda: client.responses.create(model="gpt-5", input="coffee", background=True))
        before = await customer.calls(lambda: client.responses.retrieve(asked.id))
        assert asked.status == "queued"
        assert before.status in ("queued", "in_progress")  # whoever looks second is told that it runs: it may be Relay
        assert await customer.relay.stand_in.finish(asked.id) == [200]
        after = await customer.calls(lambda: client.responses.with_raw_response.retrieve(asked.id))
    assert "earlier, smaller, colder" in after.parse().output_text
    assert await customer.completed(asked.id) == after.content


@of("openai")
async def test_openais_client_cancels_through_the_relay(customer: Customer) -> None:
    customer.relay.stand_in.knobs.turn({"work_seconds": None, "calls_back": False})
    with openai_at(customer, "/v1") as client:
        asked = await customer.calls(lambda: client.responses.create(model="gpt-5", input="coffee", background=True))
        cancelled = await customer.calls(lambda: client.responses.cancel(asked.id))
    assert cancelled.status == "cancelled"
    await customer.relay.caller.ended((await customer.job_of(asked.id))["id"], "cancelled")
    customer.keeps_its_key()


@of("openai")
async def test_openais_client_tries_again_after_an_error_and_has_one_job_at_the_provider(customer: Customer) -> None:
    customer.relay.stand_in.knobs.submit_statuses = [500]
    asked = await asks_once(customer)
    assert [one.status for one in customer.relay.stand_in.asked("POST")] == [500, 200]
    assert list(customer.relay.stand_in.jobs) == [asked.id]
    await customer.completed(asked.id)


@of("openai")
async def test_a_retry_of_openais_client_after_a_timeout_does_not_pay_twice(customer: Customer) -> None:
    customer.relay.stand_in.knobs.submit_seconds = 1.0
    asked = await asks_once(customer, timeout=0.5)
    assert len(customer.relay.stand_in.asked("POST")) == 1
    assert list(customer.relay.stand_in.jobs) == [asked.id]
    await customer.completed(asked.id)


async def asks_once(customer: Customer, **more: Any) -> Any:
    """By a client that tries again. It sends the key of the customer's own, since it makes none by itself."""
    with openai_at(customer, "/v1", max_retries=4, **more) as client:
        return await customer.calls(
            lambda: client.responses.create(
                model="gpt-5", input="coffee", background=True, extra_headers={"Idempotency-Key": "order-4711"}
            )
        )


BY_FAL_SUBSCRIBING: Final = """
import json, fal_client

ids = []
result = fal_client.subscribe("fal-ai/stand-in/sub", {"prompt": "coffee"}, on_enqueue=ids.append, with_logs=True)
print(json.dumps({"id": ids[0], "result": result}))
"""


@of("fal")
@pytest.mark.parametrize("script", [BY_FAL, BY_FAL_SUBSCRIBING], ids=["submit", "subscribe"])
async def test_fals_client_submits_and_waits_through_the_relay(
    customer: Customer, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = customer.relay.stand_in
    monkeypatch.setattr(stand_in.storage, "put", lambda *_, **__: "https://storage.example/a-picture")
    stand_in.knobs.turn({"calls_back": False, "work_seconds": 0.3})  # its published keys are elsewhere
    async with tls_front(customer.relay.caller.url, tmp_path / "ca.pem") as host:
        environment = {
            **os.environ,
            "FAL_QUEUE_RUN_HOST": host + customer.base.removeprefix(customer.relay.caller.url),
            "FAL_KEY": customer.key,
            "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdout=subprocess.PIPE, env=environment
        )
        printed, _ = await process.communicate()
    assert process.returncode == 0
    said = json.loads(printed)
    if script is BY_FAL:
        assert said["states"][-1] == "Completed"
        assert said["points_to"].startswith("https://127.0.0.1:"), "a client that follows it comes by the relay"
        assert said["points_to"].endswith(f"/submit/{customer.base.rpartition('/')[2]}/{APP}/requests/{said['id']}")
    assert {one.path.partition("/requests/")[0] for one in stand_in.asked("GET")} == {f"/{APP}"}
    payload = await customer.completed(said["id"])
    assert payload == await customer.served(said["id"])
    assert said["result"] == json.loads(payload)


@of("replicate")
async def test_replicates_client_submits_and_waits_through_the_relay(customer: Customer) -> None:
    customer.relay.stand_in.knobs.work_seconds = 0.2
    client = replicate.Client(api_token=customer.key, base_url=customer.base)
    client.poll_interval = 0.1
    made = await customer.calls(lambda: client.predictions.create(version="5c7d", input={"prompt": "coffee"}))
    await customer.calls(made.wait)
    assert made.status == "succeeded"
    client._client.close()  # it has no way of its own
    payload = await customer.completed(made.id)
    (called,) = customer.relay.stand_in.callbacks
    assert payload == called.body
    assert json.loads(payload)["output"] == made.output


@of("assemblyai")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")  # how the package copies settings
async def test_assemblyais_client_submits_and_waits_through_the_relay(customer: Customer) -> None:
    customer.relay.stand_in.knobs.turn({"calls_back": False, "work_seconds": 0.2})  # a call would change the transcript
    settings = assemblyai.Settings(api_key=customer.key, base_url=customer.base, polling_interval=0.1)
    client = assemblyai.Client(settings=settings)
    transcriber = assemblyai.Transcriber(client=client)
    transcript = await customer.calls(lambda: transcriber.transcribe("https://example.com/talk.mp3"))
    client.http_client.close()
    assert transcript.status == assemblyai.TranscriptStatus.completed and transcript.id
    payload = await customer.completed(transcript.id)
    assert payload == await customer.served(transcript.id)
    assert json.loads(payload)["text"] == transcript.text


@of("apify")
async def test_apifys_client_submits_waits_and_reads_through_the_relay(customer: Customer) -> None:
    customer.relay.stand_in.knobs.work_seconds = 0.2
    client = apify_client.ApifyClient(customer.key, api_url=customer.base)
    run = await customer.calls(
        lambda: client.actor("me/actor").call(run_input={"n": 1}, wait_duration=timedelta(seconds=10), logger=None)
    )
    assert run is not None and run.status == "SUCCEEDED"
    page = await customer.calls(lambda: client.dataset(run.default_dataset_id).list_items())
    payload = await customer.completed(run.id)
    assert payload == await customer.served(run.id)
    assert page.items == json.loads(payload)


# --- what the clients show of Relay's own refusals ---


@of("openai")
async def test_openais_client_shows_relays_own_words(customer: Customer) -> None:
    with openai_at(customer, "/v1", max_retries=0) as client:
        with pytest.raises(openai.UnprocessableEntityError) as streamed:
            await customer.calls(
                lambda: client.responses.create(model="gpt-5", input="tea", background=True, stream=True)
            )
        with pytest.raises(openai.NotFoundError) as elsewhere:
            await customer.calls(lambda: client.moderations.create(input="tea"))
    with pytest.raises(openai.AuthenticationError) as unknown:
        with openai.OpenAI(base_url=f"{customer.base}/v1", api_key="rk_unknown", max_retries=0) as client:
            await customer.calls(lambda: client.responses.retrieve("resp_1"))
    assert "this cannot be sent through Relay" in str(streamed.value)
    assert "This call is not sent on. What may be sent on: " in str(elsewhere.value)
    assert "This API key is unknown, expired or revoked." in str(unknown.value)
    shown = [(error.value.code, error.value.type) for error in (streamed, elsewhere, unknown)]
    assert shown == [(code, "relay_error") for code in ("streaming_not_supported", "call_not_listed", "key_invalid")]
    body = streamed.value.response.json()
    assert (body["status"], body["code"], body["detail"]) == (422, "streaming_not_supported", body["error"]["message"])
    assert streamed.value.response.headers["content-type"] == "application/problem+json"


@of("apify")
async def test_apifys_client_shows_relays_own_words(customer: Customer) -> None:
    client = apify_client.ApifyClient("rk_unknown", api_url=customer.base)
    with pytest.raises(apify_client.errors.ApifyApiError, match="unknown, expired or revoked"):
        await customer.calls(lambda: client.actor("me/actor").start(run_input={"n": 1}))
    problem = await customer.relay.caller.call("GET", "/v1/jobs/job_none")
    assert "error" not in problem.body, "the management API's clients need no second form"
