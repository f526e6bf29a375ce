"""The first message of each shape is kept, and looking for it costs next to nothing."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import pytest

from relay.errors import StoreUnavailable
from relay.model import Secret, Webhook
from relay.pipeline import shape
from relay.pipeline.capture import LOOKED_AT, THEN_EVERY_SECONDS, WAITING, Captures
from relay.store import captures, results
from relay.store.captures import Capture
from tests.support.doors import DONE, Page, answer_with
from tests.support.stage import URL, Stage

JSON = {"content-type": "application/json"}


async def kept(stage: Stage, webhook: Webhook) -> list[Capture]:
    await stage.floor.captures.run_once()
    return await stage.database.read(partial(captures.of, webhook_id=webhook.id))


async def test_the_first_notification_of_each_shape_is_kept(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    stage.fetching.scheduler.paused = True
    for number in range(3):
        await stage.accept(webhook, {"traceID": f"t-{number}", "response_url": f"{URL}{number}"}, headers=JSON)
        stage.clock.advance(1)
    thick = await stage.accept(webhook, {"traceID": "t-9", "response": {"text": "hello"}}, headers=JSON)
    stage.clock.advance(1)
    await stage.accept(webhook, b"<xml/>")
    found = await kept(stage, webhook)
    assert [one.kind for one in found] == ["notification"] * 3
    assert [orjson_or_text(one.excerpt) for one in found] == [
        {"traceID": "t-0", "response_url": f"{URL}0"},
        {"traceID": "t-9", "response": {"text": "hello"}},
        "<xml/>",
    ]
    assert [(one.http_status, one.content_type) for one in found][:2] == [(None, "application/json")] * 2
    assert found[1].job_id == thick.job_id


async def test_a_query_without_end_is_answered_like_any_other(stage: Stage) -> None:
    """It was stored, and then whoever sent it waited for ever."""
    webhook = await stage.add_webhook()
    async with asyncio.timeout(5):
        await stage.accept(webhook, b"", query="&".join(["a=1"] * 201))
    assert [one.excerpt for one in await kept(stage, webhook)] == ["201 parameters"]


def orjson_or_text(text: str) -> Any:
    return json.loads(text) if text.startswith("{") else text


async def test_answers_are_kept_by_kind_with_their_status(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    pages = [
        Page(202, b'{"status": "processing"}'),
        Page(202, b'{"status": "queued"}'),
        Page(404, b"not found", {"content-type": "text/plain"}),
        Page(200, b'{"status": "still at it", "eta": 3}'),
        Page(503, b"oops"),
        Page(200, DONE),
    ]
    stage.provider.answering = answer_with(*pages)
    answer = await stage.accept(webhook, {"response_url": URL})
    await stage.work_through(60)
    found = [one for one in await kept(stage, webhook) if one.kind != "notification"]
    assert [(one.kind, one.http_status) for one in found] == [
        ("completed", 200), ("pending", 202), ("pending", 404), ("pending", 200),
    ]  # fmt: skip
    assert json.loads(found[0].excerpt) == json.loads(DONE)
    assert {one.job_id for one in found} == {answer.job_id}


async def test_a_failure_is_kept(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook()
    sqlite_stage.provider.answering = answer_with(Page(200, b'{"status": "failed", "error": "no credit"}'))
    await sqlite_stage.accept(webhook, {"response_url": URL})
    await sqlite_stage.work_until_idle()
    assert "failed" in {one.kind for one in await kept(sqlite_stage, webhook)}


async def test_secrets_are_taken_out(stage: Stage) -> None:
    webhook = await stage.add_webhook(
        credentials={"username": Secret("the-user-name"), "password": Secret("the-pass-word")},
        verification={"secret": Secret("the-verification")},
    )
    token = stage.tokens.mint(webhook.id, webhook.generation)
    said = {
        "callback_url": f"https://relay.example/in/{token}",
        "said": f"the-user-name the-pass-word the-verification {token}",
        "token": "tkn",
        "response_url": URL,
    }
    stage.provider.answering = answer_with(Page(202, json.dumps({**said, "status": "running"}).encode()), Page())
    await stage.accept(webhook, said)
    await stage.work_through(5)
    found = await kept(stage, webhook)
    text = " ".join(one.excerpt for one in found)
    assert len(found) == 3 and URL in text
    for secret in ("the-user-name", "the-pass-word", "the-verification", token, "tkn"):
        assert secret not in text


async def test_what_nobody_proved_is_not_kept(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook(
        provider="openai", credentials={}, verification={"secret": Secret("whsec_" + "YWFh" * 8)}
    )
    await sqlite_stage.receive(webhook, {"type": "response.completed", "data": {"id": "resp_1"}})
    assert await kept(sqlite_stage, webhook) == []


async def test_only_so_many_shapes_of_a_kind_are_kept(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    stage.fetching.scheduler.paused = True
    for number in range(20):
        await stage.accept(webhook, {"response_url": f"{URL}{number}", f"name-{number}": 1})
    assert len(await kept(stage, webhook)) == captures.MOST["notification"]
    other = await stage.another()
    other.fetching.scheduler.paused = True
    await other.accept(webhook, {"response_url": URL, "another process": 1})
    assert len(await kept(other, webhook)) == captures.MOST["notification"]
    assert sum(captures.MOST.values()) <= 20


async def test_a_shape_that_another_process_has_kept_is_not_kept_twice(stage: Stage) -> None:
    webhook, other = await stage.add_webhook(), await stage.another()
    await other.configuration.refresh()
    stage.fetching.scheduler.paused = other.fetching.scheduler.paused = True
    for number, one in enumerate((stage, other, stage)):
        await one.accept(webhook, {"response_url": f"{URL}{number}"})
    assert await stage.floor.captures.run_once() == 1
    assert await other.floor.captures.run_once() == 0
    [found] = await kept(stage, webhook)
    assert json.loads(found.excerpt) == {"response_url": f"{URL}0"}


async def test_on_the_hot_path_hardly_any_message_is_looked_at(
    sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0

    def counting(body: bytes, query: str = "") -> Any:
        nonlocal looked
        looked += 1
        return shape.document_of(body, query)

    monkeypatch.setattr("relay.pipeline.capture.document_of", counting)
    stage = sqlite_stage
    stage.fetching.scheduler.paused = True
    webhook = await stage.add_webhook()
    for number in range(LOOKED_AT + 150):
        await stage.accept(webhook, {"response_url": f"{URL}{number}"})
    assert looked == LOOKED_AT
    stage.clock.advance(THEN_EVERY_SECONDS)
    for number in range(50):
        await stage.accept(webhook, {"response_url": f"{URL}/more/{number}", "new": 1})
    assert looked == LOOKED_AT + 1
    assert len(await kept(stage, webhook)) == 2


async def test_what_waits_to_be_written_is_bounded_and_outlasts_a_database_that_is_away(
    sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = sqlite_stage
    stage.fetching.scheduler.paused = True
    webhook = await stage.add_webhook()
    await stage.accept(webhook, {"response_url": URL})
    write = stage.database.write

    async def away(_: Any) -> Any:
        raise StoreUnavailable("away")

    monkeypatch.setattr(stage.database, "write", away)
    with pytest.raises(StoreUnavailable):
        await stage.floor.captures.run_once()
    monkeypatch.setattr(stage.database, "write", write)
    assert len(await kept(stage, webhook)) == 1
    assert WAITING <= 100 and await Captures(stage.database).run_once() == 0


async def test_what_is_erased_of_a_job_is_erased_here_too(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    job = await stage.accept(webhook, {"response_url": URL})
    await stage.work_until_idle()
    assert {one.kind for one in await kept(stage, webhook)} == {"completed", "notification"}
    result = await stage.result(job.job_id)
    await stage.database.write(partial(results.erase, id=result.id, now=stage.clock.now()))
    assert await kept(stage, webhook) == []
