"""Secrets go in and never come back out, except a signing secret and a key at the moment they are made."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from relay.web.management import ENDPOINTS
from tests.support.clock import FakeClock
from tests.support.management import ADMIN_KEY, ENDED, Management, client_of, webhook_body

PLANTED = {
    "username": "planted-username-1",
    "password": "planted-password-2",
    "verification": "planted-verification-3",
    "signing": "planted-signing-key-of-4-R7xq",
    "header": "planted-header-value-5",
    "new password": "planted-password-6",
    "refused": "planted-refused-7\n",
}


async def plant(management: Management) -> tuple[dict[str, str], list[Any]]:
    """Everything that holds a secret, and the answers on the way (but those that show one on purpose)."""
    client = management.client
    credentials = {"username": PLANTED["username"], "password": PLANTED["password"]}
    webhook = await client.post(
        "/v1/webhooks", json=webhook_body(credentials=credentials, verification={"secret": PLANTED["verification"]})
    )
    webhook_id = webhook.json()["id"]
    body = {
        "name": "s",
        "url": "https://s.example/",
        "secret": PLANTED["signing"],
        "headers": {"x-key": PLANTED["header"]},
    }
    subscription = await client.post("/v1/subscriptions", json=body, headers={"idempotency-key": "k"})
    key = await client.post("/v1/keys", json={"name": "k", "scope": "write"})
    answers = [
        webhook,
        await client.patch(
            f"/v1/webhooks/{webhook_id}", json={"credentials": {"username": "u", "password": PLANTED["new password"]}}
        ),
        await client.post(
            "/v1/webhooks", json=webhook_body(credentials={"username": "u", "password": PLANTED["refused"]})
        ),
        await client.post("/v1/webhooks", json=webhook_body(credentials={"api_key": PLANTED["refused"]})),
        await client.post("/v1/webhooks", json=webhook_body(verification={"secret": [PLANTED["verification"]]})),
        await client.post("/v1/subscriptions", json={**body, "headers": {"x": PLANTED["refused"]}}),
        await client.post("/v1/subscriptions", json={**body, "secret": PLANTED["refused"] * 99}),
        await client.get("/v1/stats", headers={"authorization": f"Bearer {PLANTED['refused'].strip()}"}),
    ]
    assert [answer.status_code for answer in answers] == [201, 200, 422, 422, 422, 422, 422, 401]
    ids = {"wh": webhook_id, "sub": subscription.json()["id"], "key": key.json()["id"]}
    shown = {**PLANTED, "signing secret": subscription.json()["secret"], "key": key.json()["key"], "admin": ADMIN_KEY}
    return shown, [*answers, *(await everything(management, ids))]


async def everything(management: Management, ids: dict[str, str]) -> list[Any]:
    answers = [await management.client.get(path) for path in ("/openapi.json", "/docs", "/nowhere")]
    for item in ENDPOINTS:
        if item.method != "GET" and not item.path.endswith(("/pause", "/resume", "/disable", "/enable", "/test")):
            continue
        path = item.path.replace("{id}", ids.get(item.prefix or "", f"{item.prefix}_{'0' * 32}"))
        answers.append(await management.client.request(item.method, ENDED.get(path, path).replace("{name}", "netnut")))
    return answers


async def test_no_answer_and_no_log_line_holds_a_planted_secret(
    management: Management, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    shown, answers = await plant(management)
    assert len(answers) > 30
    printed = capsys.readouterr()
    for what, secret in shown.items():
        for answer in answers:
            where = f"{what} in {answer.request.method} {answer.request.url.path}"
            assert secret.strip() not in answer.text, where
            assert secret.strip() not in str(answer.headers), where
        assert secret.strip() not in caplog.text + printed.out + printed.err, what


async def test_no_planted_secret_is_in_the_database_file(management: Management, tmp_path: Path) -> None:
    shown, _ = await plant(management)
    content = content_of(tmp_path)
    assert b"netnut-prod" in content
    for what, secret in shown.items():
        assert secret.strip().encode() not in content, what


def content_of(directory: Path) -> bytes:
    """The database file with its log of what is not yet in it."""
    return b"".join(path.read_bytes() for path in directory.glob("relay.db*"))


async def test_a_webhook_and_a_subscription_are_shown_by_what_is_set_not_by_its_value(
    management: Management, clock: FakeClock
) -> None:
    await plant(management)
    key = (await management.make("/v1/keys", {"name": "r", "scope": "read"}))["key"]
    async with client_of(management.app, key) as client:
        webhook = (await client.get("/v1/webhooks")).json()["data"][0]
        subscription = (await client.get("/v1/subscriptions")).json()["data"][0]
    assert (webhook["credentials_set"], webhook["verification_set"]) == (["password", "username"], ["secret"])
    assert subscription["header_names"] == ["x-key"]
