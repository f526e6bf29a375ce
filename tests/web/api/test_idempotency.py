from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from relay.clock import after
from relay.pipeline.outcomes import Refused
from relay.store import idempotency, retention, schema, subscriptions
from relay.web.management import build_management_app
from tests.support.clock import FakeClock
from tests.support.management import ADMIN_KEY, Management, client_of, webhook_body

ONCE = {"idempotency-key": "once"}
BODY = {"name": "billing", "url": "https://billing.example/hooks"}


async def test_the_same_request_takes_effect_once_and_is_answered_alike(on_both: Management) -> None:
    first = await on_both.client.post("/v1/subscriptions", json=BODY, headers=ONCE)
    second = await on_both.client.post("/v1/subscriptions", json=BODY, headers=ONCE)
    assert first.status_code == second.status_code == 201
    assert first.content == second.content
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["location"] == first.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert len((await on_both.client.get("/v1/subscriptions")).json()["data"]) == 1


async def test_the_kept_answer_is_sealed(on_both: Management) -> None:
    made = (await on_both.client.post("/v1/subscriptions", json=BODY, headers=ONCE)).json()

    def read(conn: Any) -> bytes:
        return bytes(conn.execute(select(schema.idempotency_keys.c.response_sealed)).scalar_one())

    sealed = await on_both.database.read(read)
    assert made["secret"].encode() not in sealed
    assert b"billing" not in sealed


async def test_the_same_key_with_another_request_is_refused(management: Management) -> None:
    await management.client.post("/v1/subscriptions", json=BODY, headers=ONCE)
    other = await management.client.post("/v1/subscriptions", json={**BODY, "name": "other"}, headers=ONCE)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_the_key_counts_per_address_and_per_caller(management: Management) -> None:
    await management.client.post("/v1/subscriptions", json=BODY, headers=ONCE)
    assert (await management.client.post("/v1/webhooks", json=webhook_body(), headers=ONCE)).status_code == 201
    key = (await management.make("/v1/keys", {"name": "w", "scope": "write"}))["key"]
    async with client_of(management.app, key) as client:
        answer = await client.post("/v1/subscriptions", json=BODY, headers=ONCE)
    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")


async def test_a_refused_request_leaves_the_key_free(management: Management) -> None:
    wrong = await management.client.post("/v1/subscriptions", json={**BODY, "url": "http://x"}, headers=ONCE)
    assert wrong.status_code == 422
    assert (await management.client.post("/v1/subscriptions", json=BODY, headers=ONCE)).status_code == 201


async def test_while_the_first_is_under_way_the_second_conflicts(management: Management, clock: FakeClock) -> None:
    answers: list[tuple[int, str]] = []

    class Nested:
        async def check(self, url: str) -> None:
            answer = await management.client.post("/v1/subscriptions", json=BODY, headers=ONCE)
            answers.append((answer.status_code, answer.json().get("code", "")))

    app = build_management_app(replace(management.services, door=Nested()))
    async with client_of(app, ADMIN_KEY) as client:
        assert (await client.post("/v1/subscriptions", json=BODY, headers=ONCE)).status_code == 201
    assert answers == [(409, "idempotency_key_running")]


async def test_a_request_that_died_half_way_can_be_sent_again_later(management: Management, clock: FakeClock) -> None:
    def first(conn: Any) -> object:
        return idempotency.begin(conn, "k", "f", clock.now())

    assert await management.database.write(first) == idempotency.Begun()
    assert await management.database.write(first) == idempotency.Running(clock.now())
    clock.advance(idempotency.ABANDONED_SECONDS)
    assert await management.database.write(first) == idempotency.Begun()


async def test_records_are_forgotten_after_a_day(on_both: Management, clock: FakeClock) -> None:
    await on_both.client.post("/v1/subscriptions", json=BODY, headers=ONCE)
    before = after(clock.now(), 1)
    assert await on_both.database.write(partial(retention.drop_idempotency_keys, before=clock.now())) == 0
    assert await on_both.database.write(partial(retention.drop_idempotency_keys, before=before)) == 1
    again = await on_both.client.post("/v1/subscriptions", json=BODY, headers=ONCE)
    assert again.json()["code"] == "name_taken"


@pytest.mark.parametrize("value", ["", "x" * 256, "a\tb"])
async def test_a_key_of_no_good_form_is_refused(management: Management, value: str) -> None:
    answer = await management.client.post("/v1/subscriptions", json=BODY, headers={"idempotency-key": value})
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid")


async def test_effect_and_answer_are_stored_together_or_not_at_all(
    management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the disk went away between effect and answer")

    monkeypatch.setattr(idempotency, "finish", broken)
    with capture_logs():
        answer = await management.client.post("/v1/subscriptions", json=BODY, headers=ONCE)
    assert answer.status_code == 500
    unseal = management.services.vault.unseal
    assert await management.database.read(lambda conn: subscriptions.load_all(conn, unseal)) == []


async def test_actions_of_the_pipeline_are_kept_too(management: Management) -> None:
    webhook = await management.webhook()
    body = {"webhook_id": webhook["id"], "response_url": "https://llm-scraper.netnut.io/r/1"}
    first = await management.client.post("/v1/jobs", json=body, headers=ONCE)
    second = await management.client.post("/v1/jobs", json=body, headers=ONCE)
    assert (first.status_code, second.status_code, second.content) == (201, 201, first.content)
    path = f"/v1/webhooks/{webhook['id']}/test"
    tested = [await management.client.post(path, headers=ONCE) for _ in range(2)]
    assert tested[0].content == tested[1].content
    management.outside.reprocess_refusal = Refused("body_gone", "the body was erased")
    notification = tested[0].json()["id"]
    refused = await management.client.post(f"/v1/notifications/{notification}/reprocess")
    assert (refused.status_code, refused.json()["code"]) == (409, "body_gone")
