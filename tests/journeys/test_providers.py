"""Fourteen providers, each by its own way of being asynchronous: from the job to the stored bytes to the subscriber."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from tests.support.journey import World, travelling
from tests.support.providers import PROVIDERS, Fal
from tests.support.providers.customer import Customer, customer_of
from tests.support.providers.ways import KEY, WAYS, listen, start
from tests.support.trip import INLINE, named, profiles_with_keys_of, truth_of, webhook_body

PATIENCE: Final = 60  # seconds that a job may take; the clock runs ten times as fast
NOTIFYING: Final = sorted(name for name, way in WAYS.items() if way.notified)


class Trip:
    """One provider, one webhook of it and one subscription."""

    def __init__(self, world: World, customer: Customer, webhook: Mapping[str, Any]) -> None:
        self.world, self.customer, self.webhook = world, customer, webhook
        self.stand_in = customer.stand_in

    async def track(self, job_id: str) -> str:
        """Have Relay follow a job; its id there."""
        made = await self.world.post("/v1/jobs", {"webhook_id": self.webhook["id"], **named(self.customer, job_id)})
        return str(made["id"])

    async def payload(self, result_id: str) -> bytes:
        told = await self.world.call("GET", f"/v1/results/{result_id}/payload")
        assert told.status == 200
        return told.raw

    async def delivered(self, result_id: str) -> dict[str, Any]:
        """What the subscriber got."""
        (message,) = await self.world.sink.wait_for(1)
        assert message.verified and message.message_id == result_id
        data: dict[str, Any] = orjson.loads(message.body)["data"]
        return data

    async def truth(self, job_id: str) -> bytes:
        """What the provider serves for the job: the result as its customer gets it, from wherever it lies."""
        return await truth_of(self.customer, job_id)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def trip(
    name: str, sqlite_stage_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Trip]:
    stand_in = start(name)
    if isinstance(stand_in, Fal):  # a picture's address is new in every answer: here it stays, so that two are equal
        monkeypatch.setattr(stand_in.storage, "put", lambda *_, **__: "https://storage.example/a-picture")
    async with customer_of(stand_in) as customer:
        monkeypatch.setattr("relay.app.relay.load_profiles", lambda _: profiles_with_keys_of(stand_in))
        async with travelling(sqlite_stage_url, tmp_path, hurry=10) as world:
            webhook = await world.post("/v1/webhooks", webhook_body(stand_in))
            await world.subscribe()
            yield Trip(world, customer, webhook)


@pytest.mark.parametrize("name", sorted(PROVIDERS), indirect=True)
async def test_a_tracked_job_is_polled_stored_byte_for_byte_and_delivered(trip: Trip) -> None:
    trip.stand_in.knobs.turn({"calls_back": False, "work_seconds": 0.3})
    job_id = await trip.customer.submit()
    tracked = await trip.track(job_id)
    job = await trip.world.ended(tracked)
    result = await trip.world.get(f"/v1/results/{job['result_id']}")
    assert (result["status"], result["provider_job_id"]) == ("completed", job_id)
    assert await trip.payload(result["id"]) == await trip.truth(job_id)
    data = await trip.delivered(result["id"])
    assert (data["job_id"], data["provider"], data["partial"]) == (tracked, trip.stand_in.NAME, False)
    assert data["payload"] == result["payload"]
    assert trip.stand_in.counts["unauthorized"] == 0


@pytest.mark.parametrize("name", NOTIFYING, indirect=True)
async def test_a_notified_job_is_stored_byte_for_byte_and_delivered(trip: Trip) -> None:
    listen(trip.stand_in, trip.webhook["callback_url"])
    job_id = await trip.customer.submit(trip.webhook["callback_url"])
    data = await trip.delivered((await _result_of(trip))["id"])
    assert (data["provider_job_id"], data["status"]) == (job_id, "completed")
    called = trip.stand_in.callbacks[-1]
    expected = called.body if trip.stand_in.NAME in INLINE else await trip.truth(job_id)
    assert await trip.payload(data["result_id"]) == expected
    assert data["payload"] == orjson.loads(expected)
    assert [note["status"] for note in await trip.world.page("/v1/notifications")] == ["accepted"]
    job = await trip.world.get(f"/v1/jobs/{data['job_id']}")
    assert (job["provider_job_id"], job["last_error"]) == (job_id, None)


@pytest.mark.parametrize("name", ["pulse", "reducto"], indirect=True)
async def test_a_large_result_is_fetched_from_its_presigned_address_without_credentials(trip: Trip) -> None:
    trip.stand_in.knobs.large = True
    job_id = await trip.customer.submit()
    job = await trip.world.ended(await trip.track(job_id))
    assert [asked.credentials for asked in trip.stand_in.storage.requests] == [()]
    assert await trip.payload(job["result_id"]) == await trip.truth(job_id)
    everything = await trip.world.page(f"/v1/webhooks/{trip.webhook['id']}/captures")
    assert "X-Amz-Signature=" not in orjson.dumps([job, everything, await trip.world.attempts(job["id"])]).decode()


@pytest.mark.parametrize("name", ["netnut"], indirect=True)
async def test_what_a_provider_does_not_document_can_be_looked_up_afterwards(trip: Trip) -> None:
    trip.stand_in.knobs.turn({"pending_answers": 1, "response_url": None})
    job_id = await trip.customer.submit(trip.webhook["callback_url"])
    await _result_of(trip)
    path = f"/v1/webhooks/{trip.webhook['id']}/captures"
    found = (await trip.world.until(path, lambda page: len(page["data"]) == 3))["data"]
    assert [(one["kind"], one["http_status"]) for one in found] == [
        ("completed", 200),
        ("notification", None),
        ("pending", 202),
    ]
    assert orjson.loads(found[1]["excerpt"])["response_url"].endswith(f"/results/{job_id}")
    assert KEY not in orjson.dumps(found).decode()


@pytest.mark.parametrize("name", ["firecrawl"], indirect=True)
async def test_the_pages_of_a_result_become_one_payload(trip: Trip) -> None:
    trip.stand_in.knobs.pages = 3
    job_id = await trip.customer.submit()
    job = await trip.world.ended(await trip.track(job_id))
    found = await trip.payload(job["result_id"])
    assert found == await trip.truth(job_id)
    assert [page["data"][0]["markdown"][-6:] for page in orjson.loads(found)] == ["page 1", "page 2", "page 3"]


@pytest.mark.parametrize("name", ["openai"], indirect=True)
async def test_a_batchs_result_is_its_file(trip: Trip) -> None:
    wanted = {"input_file_id": "file-1", "endpoint": "/v1/responses", "completion_window": "24h"}
    batch_id = (await trip.customer.call("POST", "/v1/batches", json=wanted)).json["id"]
    job = await trip.world.ended(await trip.track(batch_id))
    file = await trip.customer.call("GET", f"/v1/files/file-{batch_id}/content")
    assert await trip.payload(job["result_id"]) == file.body
    result = await trip.world.get(f"/v1/results/{job['result_id']}")
    assert result["content_type"] == "application/jsonl"


@pytest.mark.parametrize("name", ["fal"], indirect=True)
async def test_a_signature_that_fits_no_published_key_is_refused(trip: Trip) -> None:
    trip.stand_in.knobs.turn({"proof": "wrong", "work_seconds": None})
    job_id = await trip.customer.submit(trip.webhook["callback_url"])
    assert await trip.stand_in.finish(job_id) == [401]
    trip.stand_in.knobs.turn({"proof": "good"})
    assert await trip.stand_in.tell(trip.stand_in.jobs[job_id]) == [200]
    asked = [one.path for one in trip.stand_in.requests if one.path.endswith("jwks.json")]
    assert len(asked) == 1


async def _result_of(trip: Trip) -> dict[str, Any]:
    found = await trip.world.until("/v1/results", lambda page: bool(page["data"]), seconds=PATIENCE)
    result: dict[str, Any] = found["data"][0]
    return result
