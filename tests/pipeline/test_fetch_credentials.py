"""What a result is asked for with: the webhook's credentials, taken or refused."""

from __future__ import annotations

import base64
import json

import pytest

from relay.model import Secret, WebhookStatus
from relay.outbound.provider_door import ProviderRequest
from relay.store import schema
from tests.support.doors import Page, answer_with
from tests.support.stage import URL, Stage
from tests.support.stage_fixtures import SQLITE_FIRST
from tests.support.store import rows_of

THIN = {"response_url": URL}


async def test_the_result_is_asked_for_with_the_webhooks_credentials(sqlite_stage: Stage) -> None:
    await sqlite_stage.accept(await sqlite_stage.add_webhook(), THIN)
    await sqlite_stage.work_until_idle()
    [request] = sqlite_stage.provider.requests
    assert (request.method, request.url) == ("GET", URL)
    assert request.authorization is not None
    assert request.authorization.headers["Authorization"].reveal() == "Basic dTpw"
    assert request.allowed_origins == {"https://provider.example"}


@SQLITE_FIRST
@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_mark_the_webhook_and_keep_its_jobs(stage: Stage, status: int) -> None:
    stage.provider.answering = answer_with(Page(status, b"no"))
    webhook = await stage.add_webhook()
    for number in range(5):
        await stage.accept(webhook, {"response_url": f"{URL}{number}"})
    await stage.work_through(5)
    webhook = stage.configuration.current.webhooks[webhook.id]
    assert webhook.status is WebhookStatus.CREDENTIALS_REJECTED
    assert {row["status"] for row in await rows_of(stage.database, schema.jobs)} == {"fetching"}
    asked = len(stage.provider.requests)
    await stage.work_through(130)
    assert len(stage.provider.requests) - asked <= 3, "one question a minute or so"
    stage.provider.answering = answer_with(Page())
    credentials = {"username": Secret("u"), "password": Secret("new")}
    await stage.change_webhook(webhook, status=WebhookStatus.ACTIVE, credentials=credentials)
    await stage.tracker.credentials_changed(webhook.id)
    await stage.work_until_idle()
    assert {row["status"] for row in await rows_of(stage.database, schema.jobs)} == {"completed"}


async def test_credentials_that_are_taken_after_all_make_the_webhook_active_again(stage: Stage) -> None:
    stage.provider.answering = answer_with(Page(403, b"a firewall's bad minute"), Page())
    webhook = await stage.add_webhook(fetch_max_in_flight=1)
    for number in range(20):
        await stage.accept(webhook, {"response_url": f"{URL}{number}"})
    await stage.work_through(90)
    assert stage.configuration.current.webhooks[webhook.id].status is WebhookStatus.ACTIVE
    assert {row["status"] for row in await rows_of(stage.database, schema.jobs)} == {"completed"}


async def test_an_answer_to_old_credentials_says_nothing_of_the_new_ones(stage: Stage) -> None:
    webhook = await stage.add_webhook()

    async def answering(request: ProviderRequest) -> Page:
        if len(stage.provider.requests) > 1:
            return Page()
        await stage.change_webhook(webhook, credentials={"username": Secret("u"), "password": Secret("new")})
        return Page(401, b"")

    stage.provider.answering = answering
    await stage.accept(webhook, THIN)
    await stage.work_until_idle()
    assert (await stage.the_job()).status == "completed", "without time passing"
    assert stage.configuration.current.webhooks[webhook.id].status is WebhookStatus.ACTIVE


async def test_credentials_that_come_back_in_an_answer_are_not_kept(stage: Stage) -> None:
    secret = "correct-horse-battery"
    header = "Basic " + base64.b64encode(f"u:{secret}".encode()).decode()
    page = Page(500, f"you sent {header}: {secret}".encode())
    stage.provider.answering = answer_with(page)
    credentials = {"username": Secret("u"), "password": Secret(secret)}
    await stage.accept(await stage.add_webhook(credentials=credentials), THIN)
    await stage.work_until_idle()
    job = await stage.the_job()
    [attempt] = await stage.attempts(job.id)
    assert attempt.response_excerpt is not None and attempt.response_excerpt.startswith("you sent")
    everything = json.dumps([await rows_of(stage.database, table) for table in (schema.jobs, schema.attempts)])
    assert secret not in everything and header[6:] not in everything
