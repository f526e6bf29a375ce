"""What only one of the ten other providers does; OpenAI and fal have a file of their own."""

import base64
import gzip
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
import pytest

from relay.demo.knobs import Knobs, Outcome
from relay.demo.sink import Sink
from tests.support.clock import FakeClock
from tests.support.providers.customer import Customer, customer_of
from tests.support.providers.ways import KEY, SHARED, at, listen, start

FOREIGN = "https://evil.example/results/1"
Open = Callable[[str], AbstractAsyncContextManager[Customer]]


@pytest.fixture
def meet(clock: FakeClock) -> Open:
    """A customer of the one named."""
    return lambda name: customer_of(start(name, clock=clock))


def sent(sink: Sink) -> list[Any]:
    return [orjson.loads(message.body) for message in sink.messages]


async def test_replicate_removes_the_data_and_keeps_the_status(meet: Open, clock: FakeClock) -> None:
    async with meet("replicate") as replicate:
        job_id = await replicate.submit()
        await replicate.stand_in.finish(job_id)
        await clock.elapse(3600)
        found = (await replicate.status(job_id)).json
        assert (found["status"], found["data_removed"], found["output"]) == ("succeeded", True, None)


@pytest.mark.parametrize(("name", "where"), [("replicate", ("output", 0)), ("fal", ("images", 0, "url"))])
async def test_files_lie_at_another_origin(meet: Open, name: str, where: tuple[Any, ...]) -> None:
    async with meet(name) as customer:
        customer.stand_in.knobs.large = True
        job_id = await customer.submit()
        customer.stand_in.complete(job_id)
        url = (await customer.result(job_id)).json
        for part in where:
            url = url[part]
        assert not url.startswith(customer.stand_in.url)
        assert (await customer.call("GET", url, credentials=False)).status == 200


async def test_replicate_gives_its_signing_secret_and_says_that_it_started(meet: Open, sink: Sink) -> None:
    async with meet("replicate") as replicate:
        said = await replicate.call("GET", "/v1/webhooks/default/secret")
        assert said.json == {"key": replicate.stand_in.signing_secret.reveal()}
        replicate.stand_in.knobs.chatter = True
        await replicate.submit(sink.url)
        await sink.wait_for(2)
        assert [one["status"] for one in sent(sink)] == ["processing", "succeeded"]
        assert len({message.message_id for message in sink.messages}) == 2


@pytest.mark.parametrize(
    ("name", "where"), [("netnut", "response_url"), ("replicate", "urls.get"), ("oxylabs", "_links")]
)
async def test_a_notification_names_a_foreign_place(meet: Open, sink: Sink, name: str, where: str) -> None:
    async with meet(name) as customer:
        customer.stand_in.knobs.response_url = FOREIGN
        await customer.submit(sink.url)
        [message] = await sink.wait_for(1)
        assert FOREIGN in orjson.dumps(at(orjson.loads(message.body), where)).decode()


async def test_runpod_takes_the_bare_key_and_the_bearer_form_and_times_out(meet: Open) -> None:
    async with meet("runpod") as runpod:
        for value in (KEY, f"Bearer {KEY}"):
            said = await runpod.ask(credentials=False, headers={"authorization": value})
            assert said.status == 200
        runpod.stand_in.knobs.turn({"outcome": "failed", "second_dialect": True})
        assert await runpod.word(runpod.stand_in.open().id) == "TIMED_OUT"


async def test_assemblyai_redacts_what_is_deleted_and_shows_what_we_answered(meet: Open, sink: Sink) -> None:
    async with meet("assemblyai") as assemblyai:
        assemblyai.stand_in.knobs.chatter = True
        job_id = await assemblyai.submit(sink.url)
        await sink.wait_for(2)
        assert [one["status"] for one in sent(sink)] == ["redacted_audio_ready", "completed"]
        assert {message.headers["x-team"] for message in sink.messages} == {SHARED}
        await assemblyai.call("DELETE", f"/v2/transcript/{job_id}")
        found = (await assemblyai.status(job_id)).json
        assert (found["status"], found["text"]) == ("completed", "Deleted by user.")
        assert found["audio_url"] == "http://deleted_by_user"


async def test_assemblyai_shows_the_status_that_the_callback_answered(meet: Open, sink: Sink) -> None:
    sink.knobs.status = 404
    async with meet("assemblyai") as assemblyai:
        assemblyai.stand_in.knobs.work_seconds = None
        job_id = await assemblyai.submit(sink.url)
        assert await assemblyai.stand_in.finish(job_id) == [404]
        assert (await assemblyai.status(job_id)).json["webhook_status_code"] == 404


async def test_oxylabs_links_to_its_results_and_has_none_of_a_faulted_job(meet: Open, sink: Sink) -> None:
    async with meet("oxylabs") as oxylabs:
        job_id = await oxylabs.submit(sink.url)
        assert (await oxylabs.result(job_id)).status in (200, 204)
        [message] = await sink.wait_for(1)
        links = {link["rel"]: link["href"] for link in orjson.loads(message.body)["_links"]}
        assert (await oxylabs.call("GET", links["results"])).status == 200
        oxylabs.stand_in.knobs.unready_answers = 1
        assert [(await oxylabs.result(job_id)).status for _ in range(2)] == [204, 200]
        oxylabs.stand_in.knobs.outcome = Outcome.FAILED
        assert (await oxylabs.result(job_id)).status == 404
        said = await oxylabs.call("GET", "/v1/info/callbacker_ips")
        assert said.json == {"callbacker_ips": ["127.0.0.1"]}


async def test_a_crawl_comes_in_pages_and_may_be_done_before_its_documents(meet: Open, sink: Sink) -> None:
    async with meet("firecrawl") as firecrawl:
        firecrawl.stand_in.knobs.turn({"pages": 3, "unready_answers": 1, "chatter": True})
        job_id = await firecrawl.submit(sink.url)
        await sink.wait_for(3)
        assert [one["type"] for one in sent(sink)] == ["crawl.started", "crawl.page", "crawl.completed"]
        assert (sent(sink)[2]["data"], sink.messages[2].headers["x-team"]) == ([], "a")
        first = (await firecrawl.result(job_id)).json
        assert (first["status"], first["data"], first["next"]) == ("completed", [], None)
        url, texts = f"{firecrawl.stand_in.url}/v2/crawl/{job_id}", []
        while url:
            page = (await firecrawl.call("GET", url)).json
            texts += [one["markdown"][-1] for one in page["data"]]
            url = page["next"]
        assert texts == ["1", "2", "3"]


async def test_apify_calls_back_for_the_events_asked_for_with_the_headers_asked_for(meet: Open, sink: Sink) -> None:
    async with meet("apify") as apify:
        hook = {"eventTypes": ["ACTOR.RUN.FAILED"], "requestUrl": sink.url, "headersTemplate": '{"x-team": "a"}'}
        query = {"webhooks": base64.b64encode(orjson.dumps([hook])).decode()}
        apify.stand_in.knobs.work_seconds = None
        for outcome in (Outcome.COMPLETED, Outcome.FAILED):
            apify.stand_in.knobs.outcome = outcome
            said = await apify.call("POST", "/v2/actors/me~actor/runs", params=query, data=b"any input")
            await apify.stand_in.finish(said.json["data"]["id"])
        [message] = sink.messages
        assert message.headers["x-team"] == "a"
        assert message.headers["x-apify-webhook-dispatch-id"].startswith("wd")
        assert orjson.loads(message.body)["eventType"] == "ACTOR.RUN.FAILED"
        refused = await apify.call("POST", "/v2/acts/a/runs", params={"webhooks": "%%"}, json={})
        assert refused.status == 400


async def test_a_dataset_of_apify_is_paged_takes_a_token_and_outlives_no_week(meet: Open, clock: FakeClock) -> None:
    async with meet("apify") as apify:
        run = apify.stand_in.open()
        path = f"/v2/datasets/ds{run.id}/items"
        said = await apify.call("GET", path, credentials=False, params={"token": KEY, "offset": "1", "limit": "1"})
        assert ([item["n"] for item in said.json], said.headers["x-apify-pagination-total"]) == ([1], "3")
        await clock.elapse(7 * 86_400)
        assert (await apify.call("GET", path)).json["error"]["type"] == "record-not-found"
        assert await apify.word(run.id) == "SUCCEEDED"


async def test_reducto_notifies_directly_without_a_signature_or_through_svix(meet: Open, sink: Sink) -> None:
    async with meet("reducto") as reducto:
        listen(reducto.stand_in, f"{sink.url}/dashboard")
        direct = {"mode": "direct", "url": f"{sink.url}/direct"}
        for webhook in (direct, {"mode": "svix", "channels": []}):
            body = {"input": "x", "async": {"webhook": webhook, "metadata": {"team": 7}}}
            await reducto.call("POST", "/extract_async", json=body)
        await sink.wait_for(2)
        signed = {message.path: "svix-signature" in message.headers for message in sink.messages}
        assert signed == {"/direct": False, "/dashboard": True}
        assert sent(sink)[0]["metadata"] == {"team": 7}


@pytest.mark.parametrize(("name", "where"), [("reducto", "result.result"), ("pulse", "result")])
async def test_a_large_result_is_a_second_hop_that_refuses_credentials(
    meet: Open, clock: FakeClock, name: str, where: str
) -> None:
    async with meet(name) as customer:
        customer.stand_in.knobs.large = True
        job = customer.stand_in.open()
        first, second = [at((await customer.result(job.id)).json, where)["url"] for _ in range(2)]
        assert first != second
        assert (await customer.call("GET", first, credentials=False)).status == 200
        for headers in ({"authorization": "Bearer x"}, {"x-api-key": "x"}):
            refused = await customer.call("GET", first, credentials=False, headers=headers)
            assert (refused.status, b"Only one auth mechanism" in refused.body) == (400, True)
        assert [one.credentials for one in customer.stand_in.storage.requests] == [
            (),
            ("authorization",),
            ("x-api-key",),
        ]
        await clock.elapse(3600)
        assert (await customer.call("GET", first, credentials=False)).status == 403


async def test_a_snapshot_of_bright_data_may_lag_behind_its_progress(meet: Open) -> None:
    async with meet("brightdata") as brightdata:
        job_id = await brightdata.submit()
        brightdata.stand_in.complete(job_id)
        brightdata.stand_in.knobs.unready_answers = 2
        assert await brightdata.word(job_id) == "ready"
        assert [(await brightdata.result(job_id)).status for _ in range(3)] == [202, 202, 200]


@pytest.mark.parametrize("compressed", [True, False])
async def test_bright_data_pushes_the_data_itself(meet: Open, sink: Sink, compressed: bool) -> None:
    async with meet("brightdata") as brightdata:
        query = {"dataset_id": "gd_1", "endpoint": sink.url, "auth_header": SHARED}
        plain = {} if compressed else {"uncompressed_webhook": "true"}
        await brightdata.call("POST", "/datasets/v3/trigger", params={**query, **plain}, json=[{"url": "x"}])
        [message] = await sink.wait_for(1)
        body = gzip.decompress(message.body) if compressed else message.body
        assert (len(orjson.loads(body)), message.headers["authorization"]) == (3, SHARED)
        assert message.headers.get("content-encoding") == ("gzip" if compressed else None)


def test_knobs_that_do_not_exist_or_do_not_fit_are_refused_and_nothing_is_turned() -> None:
    knobs = Knobs()
    for wrong in ({"pages": 3, "speed": 9}, {"pages": 3, "outcome": "glorious"}):
        with pytest.raises(ValueError, match="speed|glorious"):
            knobs.turn(wrong)
    assert knobs == Knobs()
