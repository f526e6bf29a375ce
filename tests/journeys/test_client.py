"""The Python client against a real relay, in both its kinds: what is written once is tried twice where it waits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from relay.client import AsyncRelay, JobFailed, ProviderRefused, Relay, unwrap
from relay.demo.knobs import Knobs, Outcome
from tests.support.journey import ADMIN_KEY, PASSWORD, World, running, settings_of, stand_ins, travelling


async def test_a_round_trip_of_a_program_without_an_event_loop(sqlite_stage_url: str, tmp_path: Path) -> None:
    async with travelling(sqlite_stage_url, tmp_path) as world:
        with Relay(world.url, ADMIN_KEY) as relay:
            await asyncio.to_thread(_round_trip, relay, world, tmp_path)


def _round_trip(relay: Relay, world: World, directory: Path) -> None:
    url = world.netnut.url
    webhook = relay.webhooks.create(
        "netnut-prod", "netnut", credentials={"username": world.netnut.username, "password": PASSWORD},
        origins=[url], base_url=url,
    )  # fmt: skip
    assert webhook.callback_url is not None
    assert webhook.callback_url.startswith(f"{world.url}/in/")
    assert [each.id for each in relay.webhooks.list()] == [webhook.id]
    assert relay.webhooks.update(webhook, metadata={"team": "a"}).metadata == {"team": "a"}
    assert relay.webhooks.rotate(webhook).callback_url != webhook.callback_url

    pushed = relay.subscriptions.create("billing", f"{world.sink.url}/billing")
    pulled = relay.subscriptions.create("batch", kind="pull", webhooks=[webhook], signing="ed25519")
    submitted = relay.submit(webhook, "POST", "/search", json={"prompt": "tea"}, metadata={"tenant": "acme"})
    changes: list[str] = []
    job = submitted.wait(60, on_update=lambda each: changes.append(each.status))
    assert changes[-1] == "completed"
    assert job.provider_job_id == submitted.json()["traceId"]
    assert relay.jobs.wait(job.provider_job_id or "", 60) == job
    assert [each.http_status for each in relay.jobs.attempts(job)] == [200]

    result = job.result()
    payload = world.netnut.result_bytes(world.netnut.traces[job.provider_job_id or ""])
    assert result.bytes() == payload
    assert result.json() == orjson.loads(payload)
    assert result.save(directory / "result.json").read_bytes() == payload
    assert [each.id for each in relay.results.list(webhook=webhook, types=["result.completed"])] == [result.id]

    for message in relay.pull(pulled):
        with message:
            event = message.unwrap(pulled.public_keys)
            assert (event.result_id, event.metadata, event.payload_bytes) == (result.id, {"tenant": "acme"}, payload)
            assert message.event == event
        break
    while (delivery := next(relay.deliveries.list(subscription=pulled))).status != "delivered":
        relay.deliveries.get(delivery)

    seen: list[str] = []
    replay = relay.replays.create(results=[result], subscriptions=[pushed], mode="all")
    done = replay.wait(60, progress=lambda each: seen.append(each.status))
    assert (done.status, done.delivered, seen[-1]) == ("done", 1, "done")
    assert relay.replays.dry_run({"result_ids": [result]}, mode="all").count == 1
    with pytest.raises(ProviderRefused):
        relay.submit(webhook, "POST", "/search", json={})


async def test_what_a_subscriber_got_is_unwrapped(sqlite_stage_url: str, tmp_path: Path) -> None:
    async with travelling(sqlite_stage_url, tmp_path) as world, AsyncRelay(world.url, ADMIN_KEY) as relay:
        webhook = await world.webhook()
        hmac = await relay.subscriptions.create("hmac", f"{world.sink.url}/hmac")
        pair = await relay.subscriptions.create("pair", f"{world.sink.url}/pair", signing="ed25519")
        assert hmac.secret is not None
        await world.ask(webhook, "tea")
        for message in await world.sink.wait_for(2):
            event = unwrap(message.body, message.headers, [hmac.secret, *pair.public_keys])
            assert event.payload["response"]["text"]
            assert event.result_id == message.headers["webhook-id"]


async def test_what_raises_is_given_back_and_comes_again(sqlite_stage_url: str, tmp_path: Path) -> None:
    async with travelling(sqlite_stage_url, tmp_path, hurry=20) as world, AsyncRelay(world.url, ADMIN_KEY) as relay:
        subscription = await relay.subscriptions.create("batch", kind="pull")
        await world.ask(await world.webhook(), "tea")
        handled = 0
        async for message in relay.pull(subscription):
            handled += 1
            try:
                async with message:
                    if handled == 1:
                        raise RuntimeError("the database is down")
            except RuntimeError:
                continue
            break
        assert (handled, message.attempt) == (2, 2)


async def test_waiting_and_streaming_outlive_the_relay(
    sqlite_stage_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(sqlite_stage_url, tmp_path)
    async with (
        asyncio.timeout(60),
        stand_ins() as (netnut, sink, session),
        AsyncRelay(settings.public_url, ADMIN_KEY) as relay,
    ):
        world = World(session, settings.public_url, netnut, sink)
        async with running(settings):
            webhook = await world.webhook()
            trace = netnut.open(completed=False)
            job = await relay.jobs.track(
                webhook["id"], provider_job_id=trace.id, response_url=netnut.response_url(trace.id)
            )
            waiting = asyncio.create_task(relay.jobs.wait(trace.id, 60))
            happened: asyncio.Task[str] = asyncio.create_task(_first(relay))
            await world.until(f"/v1/jobs/{job.id}", lambda seen: seen["attempts"] >= 1)
        async with running(settings):
            netnut.complete(trace.id)
            await netnut.notify(webhook["callback_url"], trace.id)
            assert (await waiting).id == job.id
            assert "Exception in ASGI" not in caplog.text  # who waited was answered when the relay stopped
            assert await happened == (await job.wait(60)).result_id


async def _first(relay: AsyncRelay) -> str:
    async for event in relay.stream(types=["result"]):
        return str(event.data["id"])
    raise AssertionError("the stream ended")


async def test_a_job_that_failed_is_raised(sqlite_stage_url: str, tmp_path: Path) -> None:
    async with travelling(sqlite_stage_url, tmp_path) as world, AsyncRelay(world.url, ADMIN_KEY) as relay:
        world.netnut.knobs = Knobs(outcome=Outcome.FAILED)
        webhook = await world.webhook(base_url=world.netnut.url)
        submitted = await relay.submit(webhook["id"], "POST", "/search", json={"prompt": "tea"})
        with pytest.raises(JobFailed) as caught:
            await submitted.wait(60)
        assert caught.value.job.id == submitted.job_id
