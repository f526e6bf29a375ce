from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from sqlalchemy import Connection, select

from relay.clock import Instant, after
from relay.model import JobStatus, Result
from relay.store import deliveries, idempotency, notifications
from relay.store.schema import idempotency_keys
from tests.support.clock import FakeClock
from tests.support.management import Management, client_of
from tests.support.noun_rows import (
    delivery,
    job,
    notification,
    put_delivery,
    put_job,
    put_notification,
    put_result,
    result,
)

PAYLOAD = bytes(range(256)) * 40


async def stored(management: Management, clock: FakeClock, payload: bytes | None, **more: Any) -> Result:
    webhook = await management.webhook()
    one = job(webhook["id"], clock.now(), status=JobStatus.COMPLETED, due_at=None)
    made = result(one.id, webhook["id"], clock.now(), payload, **more)

    def store(conn: Any) -> None:
        put_job(conn, one)
        put_result(conn, made, payload, chunk=1000)

    await management.database.write(store)
    return made


@pytest.mark.parametrize("payload", [b'{"a": 1.10, "b" : [ ]}', b" 12345678901234567890 ", b"null", b'"x"'])
async def test_a_json_payload_stands_in_the_answer_byte_for_byte(
    management: Management, clock: FakeClock, payload: bytes
) -> None:
    made = await stored(management, clock, payload)
    answer = await management.client.get(f"/v1/results/{made.id}")
    assert answer.content.endswith(b',"payload":' + payload + b"}")
    assert answer.json()["type"] == "result.completed"
    assert answer.json()["sha256"] == hashlib.sha256(payload).hexdigest()
    assert answer.json()["provider"] == "netnut"


@pytest.mark.parametrize("payload", [b"\xff\x00", b"<html>", b"", b'{"a": 1e400}', b"NaN", b'"\\ud800"'])
async def test_what_is_not_strict_json_goes_out_as_base64(
    management: Management, clock: FakeClock, payload: bytes
) -> None:
    made = await stored(management, clock, payload)
    answer = (await management.client.get(f"/v1/results/{made.id}")).json()
    assert base64.b64decode(answer["payload_base64"]) == payload
    assert "payload" not in answer


async def test_a_large_payload_and_an_absent_one_do_not_stand_in_the_answer(
    management: Management, clock: FakeClock
) -> None:
    made = await stored(management, clock, b'"' + b"x" * 1024 * 1024 + b'"')
    answer = (await management.client.get(f"/v1/results/{made.id}")).json()
    assert "payload" not in answer and "payload_base64" not in answer
    assert answer["size_bytes"] == 1024 * 1024 + 2


async def test_the_payload_is_served_exactly_and_never_as_a_page_of_ours(on_both: Management, clock: FakeClock) -> None:
    made = await stored(on_both, clock, PAYLOAD, content_type="text/html; charset=utf-8")
    answer = await on_both.client.get(f"/v1/results/{made.id}/payload")
    assert (answer.status_code, answer.content) == (200, PAYLOAD)
    assert answer.headers["etag"] == f'"{hashlib.sha256(PAYLOAD).hexdigest()}"'
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["content-length"] == str(len(PAYLOAD))
    assert len(answer.headers.get_list("content-type")) == 1
    same = await on_both.client.get(f"/v1/results/{made.id}/payload", headers={"if-none-match": answer.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    head = await on_both.client.head(f"/v1/results/{made.id}/payload")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(PAYLOAD)), b"")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=999-1000", 999, 1000),
        ("bytes=1500-3500", 1500, 3500),
        ("bytes=10000-", 10_000, 10_239),
        ("bytes=10000-99999", 10_000, 10_239),
        ("bytes=-5", 10_235, 10_239),
        ("bytes=-99999", 0, 10_239),
    ],
)
async def test_a_range_is_that_part(
    management: Management, clock: FakeClock, asked: str, first: int, last: int
) -> None:
    made = await stored(management, clock, PAYLOAD)
    answer = await management.client.get(f"/v1/results/{made.id}/payload", headers={"range": asked})
    assert (answer.status_code, answer.content) == (206, PAYLOAD[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/10240"


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=-0", "bytes=99999-100000"])
async def test_a_range_beyond_the_end_cannot_be_satisfied(management: Management, clock: FakeClock, asked: str) -> None:
    made = await stored(management, clock, PAYLOAD)
    answer = await management.client.get(f"/v1/results/{made.id}/payload", headers={"range": asked})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */10240")


@pytest.mark.parametrize("headers", [{"range": "bytes=5-2"}, {"range": "bytes=0-1,4-5"}, {"range": "lines=1-2"},
                                     {"range": "bytes=0-1", "if-range": '"other"'}])  # fmt: skip
async def test_a_range_that_is_not_one_range_of_this_payload_is_ignored(
    management: Management, clock: FakeClock, headers: dict[str, str]
) -> None:
    made = await stored(management, clock, PAYLOAD)
    answer = await management.client.get(f"/v1/results/{made.id}/payload", headers=headers)
    assert (answer.status_code, answer.content) == (200, PAYLOAD)


async def test_a_signed_link_opens_its_payload_without_a_key_until_it_expires(
    management: Management, clock: FakeClock
) -> None:
    made = await stored(management, clock, PAYLOAD)
    links = management.services.payload_links
    token = links.mint(made.id, after(clock.now(), 60))
    async with client_of(management.app, None) as client:
        assert (await client.get(f"/v1/results/{made.id}/payload?token={token}")).content == PAYLOAD
        assert (await client.get(f"/v1/results/{made.id}/payload")).status_code == 401
        assert (await client.get(f"/v1/results/{made.id}?token={token}")).status_code == 401
        other = links.mint("res_" + "0" * 32, after(clock.now(), 60))
        assert (await client.get(f"/v1/results/{made.id}/payload?token={other}")).status_code == 404
        clock.advance(60)
        assert (await client.get(f"/v1/results/{made.id}/payload?token={token}")).status_code == 404


def _remember(conn: Connection, job_id: str, now: Instant) -> None:
    """An answer to a submit that made this job is kept for whoever repeats it."""
    idempotency.begin(conn, "k", "f", now)
    idempotency.finish(conn, "k", 200, b"sealed", job_id)


async def test_an_erased_payload_is_gone_everywhere(on_both: Management, clock: FakeClock) -> None:
    made = await stored(on_both, clock, PAYLOAD)
    subscription = await on_both.subscription()
    pending = delivery(made.id, subscription["id"], clock.now())
    seen = notification(made.webhook_id, clock.now(), job_id=made.job_id)
    await on_both.database.write(lambda conn: put_delivery(conn, pending))
    await on_both.database.write(lambda conn: put_notification(conn, seen, b"inline"))
    await on_both.database.write(lambda conn: _remember(conn, made.job_id, clock.now()))
    before = on_both.services.configuration.current.version
    assert (await on_both.client.delete(f"/v1/results/{made.id}")).status_code == 204
    kept = await on_both.database.read(lambda conn: conn.execute(select(idempotency_keys)).one())
    assert (kept.key, kept.response_sealed) == ("k", None), "the key stays taken"
    changed = await on_both.services.configuration.refresh()
    assert changed.version > before, "every process is told, and drops the envelopes in its memory"
    answer = (await on_both.client.get(f"/v1/results/{made.id}")).json()
    assert (answer["size_bytes"], answer["sha256"]) == (None, None)
    gone = await on_both.client.get(f"/v1/results/{made.id}/payload")
    assert (gone.status_code, gone.json()["code"]) == (404, "payload_absent")
    after_it = await on_both.database.read(lambda conn: deliveries.get(conn, pending.id))
    assert after_it is not None and after_it.status == "cancelled"
    assert await on_both.database.read(lambda conn: notifications.body(conn, seen.id)) == b""
    assert (await on_both.client.delete("/v1/results/res_" + "0" * 32)).status_code == 404


async def test_results_are_listed_by_type_webhook_and_job(management: Management, clock: FakeClock) -> None:
    good = await stored(management, clock, b"{}")
    clock.advance(1)
    bad = result(good.job_id, good.webhook_id, clock.now(), None, status=JobStatus.EXPIRED, error="gone")
    await management.database.write(lambda conn: put_result(conn, bad))

    async def listed(query: str) -> list[str]:
        answer = await management.client.get(f"/v1/results?{query}")
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["data"]]

    assert await listed("") == [bad.id, good.id]
    assert await listed("type=result.expired,result.failed") == [bad.id]
    assert await listed(f"job_id={good.job_id}&type=result.completed") == [good.id]
    assert await listed("webhook_id=wh_" + "0" * 32) == []
    assert (await management.client.get("/v1/results?type=completed")).status_code == 400
    assert clock.now() == Instant(1_795_287_601_000)
