from __future__ import annotations

import asyncio
from typing import Any

from relay.clock import Instant
from relay.model import JobStatus
from tests.support.clock import FakeClock
from tests.support.management import Management
from tests.support.noun_rows import attempt, job, put, put_attempt, put_job

ORIGIN = "https://llm-scraper.netnut.io"


async def test_a_tracked_job_is_made_once_and_found_the_second_time(on_both: Management) -> None:
    webhook = await on_both.webhook()
    body = {"webhook_id": webhook["id"], "response_url": f"{ORIGIN}/r/1", "metadata": {"tenant": "acme"}}
    first = await on_both.client.post("/v1/jobs", json=body)
    assert first.status_code == 201, first.text
    made = first.json()
    assert first.headers["location"] == f"/v1/jobs/{made['id']}"
    assert (made["provider"], made["status"], made["metadata"]) == ("netnut", "waiting", {"tenant": "acme"})
    second = await on_both.client.post("/v1/jobs", json=body)
    assert (second.status_code, second.json()["id"]) == (200, made["id"])
    assert (await on_both.client.get(f"/v1/jobs/{made['id']}")).json()["response_url"] == f"{ORIGIN}/r/1"
    assert "jobs" in on_both.outside.hints


async def test_a_foreign_response_url_is_refused_by_name(management: Management) -> None:
    webhook = await management.webhook()
    for url in ("https://evil.example/r/1", "http://llm-scraper.netnut.io/r", "https://u:p@llm-scraper.netnut.io/r"):
        body = {"webhook_id": webhook["id"], "response_url": url}
        answer = await management.client.post("/v1/jobs", json=body)
        assert answer.status_code == 422, url
        assert answer.json()["errors"][0]["pointer"] == "#/response_url"


async def test_a_job_tracked_on_another_webhook_of_the_account_is_refused(management: Management) -> None:
    one, two = await management.webhook("one"), await management.webhook("two")
    await management.make("/v1/jobs", {"webhook_id": one["id"], "response_url": f"{ORIGIN}/r/1"})
    answer = await management.client.post("/v1/jobs", json={"webhook_id": two["id"], "response_url": f"{ORIGIN}/r/1"})
    assert answer.status_code == 409


async def test_a_job_needs_a_webhook_and_an_id_or_a_url(management: Management) -> None:
    webhook = await management.webhook()
    neither = await management.client.post("/v1/jobs", json={"webhook_id": webhook["id"]})
    assert neither.status_code == 422
    unknown = {"webhook_id": "wh_" + "0" * 32, "response_url": f"{ORIGIN}/r/1"}
    answer = await management.client.post("/v1/jobs", json=unknown)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/webhook_id")
    late = {"webhook_id": webhook["id"], "response_url": f"{ORIGIN}/r/1", "submitted_at": "yesterday"}
    answer = await management.client.post("/v1/jobs", json=late)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/submitted_at")


async def test_jobs_are_listed_by_what_they_are(on_both: Management, clock: FakeClock) -> None:
    webhook, other = await on_both.webhook("one"), await on_both.webhook("two")
    made: list[Any] = []
    for status, owner in ((JobStatus.WAITING, webhook), (JobStatus.COMPLETED, webhook), (JobStatus.FAILED, other)):
        clock.advance(10)
        made.append(job(owner["id"], clock.now(), status=status, due_at=None, provider_job_id=f"p-{status}"))

    def store(conn: Any) -> None:
        for item in made:
            put_job(conn, item, {"id": item.provider_job_id})

    await on_both.database.write(store)
    waiting, completed, failed = (item.id for item in made)

    async def listed(query: str) -> list[str]:
        answer = await on_both.client.get(f"/v1/jobs?{query}")
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["data"]]

    assert await listed("") == [failed, completed, waiting]
    assert await listed("status=completed,failed") == [failed, completed]
    assert await listed("status=completed&status=failed") == [failed, completed]
    assert await listed(f"webhook_id={webhook['id']}") == [completed, waiting]
    assert await listed("provider_job_id=p-failed") == [failed]
    assert await listed(f"provider_job_id=p-failed&webhook_id={webhook['id']}") == []
    assert await listed("created_after=2026-11-21T19:00:20Z") == [failed, completed]
    assert await listed("created_before=2026-11-21T19:00:20Z") == [waiting]
    assert await listed("created_after=2026-11-21T19:00:20.001Z&created_before=2099-01-01T00:00:00%2B02:00") == [failed]


async def test_a_fetching_job_is_found_by_its_providers_id_behind_a_page_of_newer_ones(
    on_both: Management, clock: FakeClock
) -> None:
    webhook = await on_both.webhook()
    made = [
        job(webhook["id"], Instant(clock.now() + number), status=JobStatus.FETCHING, provider_job_id=f"p-{number}")
        for number in range(4)
    ]

    def store(conn: Any) -> None:
        for item in made:
            put_job(conn, item, {"id": str(item.provider_job_id)})

    await on_both.database.write(store)
    for more in ("", f"&webhook_id={webhook['id']}", "&status=waiting"):
        answer = await on_both.client.get(f"/v1/jobs?status=fetching&provider_job_id=p-0&limit=1{more}")
        assert [item["id"] for item in answer.json()["data"]] == [made[0].id], more


async def test_waiting_ends_when_the_job_does(management: Management, clock: FakeClock) -> None:
    webhook = await management.webhook()
    one = job(webhook["id"], clock.now(), status=JobStatus.COMPLETED, due_at=None)
    other = job(webhook["id"], clock.now())
    await management.database.write(lambda conn: put(conn, one, other))
    done = await management.client.get(f"/v1/jobs/{one.id}?wait=60")
    assert done.json()["status"] == "completed"
    waiting = asyncio.create_task(management.client.get(f"/v1/jobs/{other.id}?wait=20"))
    while not waiting.done():
        clock.advance(10)
        await asyncio.sleep(0.05)
    assert (await waiting).json()["status"] == "waiting"
    for wrong in ("61", "-1", "nan", "x"):
        assert (await management.client.get(f"/v1/jobs/{one.id}?wait={wrong}")).status_code == 400


async def test_the_attempts_of_a_job_are_listed_oldest_first(management: Management, clock: FakeClock) -> None:
    webhook = await management.webhook()
    one = job(webhook["id"], clock.now())

    def store(conn: Any) -> None:
        put_job(conn, one)
        for number in (2, 1):
            put_attempt(conn, attempt(one.id, number, clock.now()))

    await management.database.write(store)
    page = (await management.client.get(f"/v1/jobs/{one.id}/attempts")).json()
    assert page["next_cursor"] is None
    listed = page["data"]
    assert [(item["number"], item["trigger"], item["http_status"]) for item in listed] == [
        (1, "new", 503),
        (2, "retry", 503),
    ]


async def test_fetching_now_makes_the_job_due_and_a_completed_one_conflicts(
    management: Management, clock: FakeClock
) -> None:
    webhook = await management.webhook()
    one = job(webhook["id"], clock.now(), due_at=clock.now() + 60_000)
    done = job(webhook["id"], clock.now(), status=JobStatus.COMPLETED, due_at=None)
    await management.database.write(lambda conn: put(conn, one, done))
    answer = await management.client.post(f"/v1/jobs/{one.id}/fetch")
    assert (answer.status_code, answer.json()["next_attempt_at"]) == (202, "2026-11-21T19:00:00.000Z")
    refused = await management.client.post(f"/v1/jobs/{done.id}/fetch")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_is_final")


async def test_cancelling_where_the_provider_cannot_is_a_conflict(management: Management, clock: FakeClock) -> None:
    webhook = await management.webhook()
    one = job(webhook["id"], clock.now())
    await management.database.write(lambda conn: put_job(conn, one))
    answer = await management.client.delete(f"/v1/jobs/{one.id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "cancel_not_supported")
