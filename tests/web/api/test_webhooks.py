from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay.clock import Instant
from relay.model import WebhookStatus
from relay.store import webhooks
from tests.support.clock import FakeClock
from tests.support.management import ADMIN_KEY, Management, client_of, webhook_body


async def test_a_registered_webhook_has_a_callback_url_and_shows_no_credentials(on_both: Management) -> None:
    answer = await on_both.client.post("/v1/webhooks", json=webhook_body(verification={"secret": "planted-secret"}))
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/webhooks/{made['id']}"
    token = made["callback_url"].removeprefix("https://relay.example/in/")
    read = on_both.services.callback_tokens.read(token)
    assert read is not None
    assert read.webhook_id == made["id"]
    assert made["status"] == "active"
    assert made["origins"] == ["https://llm-scraper.netnut.io"]
    assert made["credentials_set"] == ["password", "username"]
    assert "planted" not in answer.text
    shown = await on_both.client.get(f"/v1/webhooks/{made['id']}")
    assert shown.json() == made


async def test_the_example_of_the_contract_is_taken_as_it_stands(management: Management) -> None:
    example = {
        "name": "netnut-prod",
        "provider": "netnut",
        "credentials": {"username": "u", "password": "p"},
        "origins": ["https://llm-scraper.netnut.io"],
        "base_url": None,
        "parameters": {},
        "verification": {"secret": "whsec_" + "A" * 40},
        "retention_seconds": 7200,
        "poll_seconds": None,
        "fetch_max_in_flight": 8,
        "fetch_rate_per_second": None,
        "untracked": "accept",
        "metadata": {},
    }
    answer = await management.client.post("/v1/webhooks", json=example)
    assert answer.status_code == 201, answer.text


async def test_credentials_are_sealed_in_the_row_and_open_again(on_both: Management) -> None:
    made = await on_both.webhook()
    found = await on_both.database.read(lambda conn: webhooks.get(conn, made["id"], on_both.services.vault.unseal))
    assert found is not None
    assert found.credentials["password"].reveal() == "planted-password"


async def test_a_taken_name_is_a_conflict_and_is_free_again_after_the_deletion(on_both: Management) -> None:
    first = await on_both.webhook("twice")
    answer = await on_both.client.post("/v1/webhooks", json=webhook_body("twice"))
    assert answer.status_code == 409
    assert answer.json()["code"] == "name_taken"
    assert (await on_both.client.delete(f"/v1/webhooks/{first['id']}")).status_code == 204
    assert (await on_both.client.get(f"/v1/webhooks/{first['id']}")).status_code == 404
    again = await on_both.webhook("twice")
    assert [item["id"] for item in (await on_both.client.get("/v1/webhooks")).json()["data"]] == [again["id"]]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"provider": "nobody"}, "#/provider", "unknown_provider"),
    ({"credentials": None}, "#/credentials/username", "missing"),
    ({"credentials": {"username": "u", "password": "p", "api_key": "k"}}, "#/credentials/api_key", "unknown_field"),
    ({"credentials": {"username": "a:b", "password": "p"}}, "#/credentials", "invalid_credentials"),
    ({"parameters": {"planet": "x"}}, "#/parameters/planet", "unknown_field"),
    ({"provider": "inference-net", "credentials": {"api_key": "k"}}, "#/parameters/webhook_id", "missing"),
    ({"origins": ["https://a.example/path"]}, "#/origins/0", "url_refused"),
    ({"base_url": "ftp://a.example"}, "#/base_url", "url_refused"),
    ({"verification": {"key": "x"}}, "#/verification/secret", "missing"),
    ({"poll_seconds": []}, "#/poll_seconds", "too_short"),
    ({"fetch_max_in_flight": "8"}, "#/fetch_max_in_flight", "int_type"),
    ({"untracked": "drop"}, "#/untracked", "literal_error"),
    ({"name": ""}, "#/name", "string_too_short"),
    ({"nmae": "x"}, "#/nmae", "unknown_field"),
]


async def test_what_is_wrong_is_named(management: Management) -> None:
    for change, pointer, code in WRONG:
        answer = await management.client.post("/v1/webhooks", json=webhook_body(**change))
        assert answer.status_code == 422
        assert (pointer, code) in [(item["pointer"], item["code"]) for item in answer.json()["errors"]]
    answer = await management.client.post("/v1/webhooks", json=webhook_body(credentials=None))
    assert answer.json()["detail"] == "2 fields are wrong."  # in words, as everywhere; `errors` says which


async def test_only_write_and_admin_keys_see_the_callback_url(management: Management) -> None:
    made = await management.webhook()
    for scope, sees in (("read", False), ("write", True)):
        key = (await management.make("/v1/keys", {"name": scope, "scope": scope}))["key"]
        async with client_of(management.app, key) as client:
            shown = (await client.get(f"/v1/webhooks/{made['id']}")).json()
            listed = (await client.get("/v1/webhooks")).json()["data"][0]
        assert (shown["callback_url"] is not None) is sees
        assert (listed["callback_url"] is not None) is sees


async def test_a_parameter_that_notifications_are_verified_by_is_shown_to_those_who_see_the_callback_url(
    management: Management,
) -> None:
    made = await management.webhook(
        provider="inference-net", credentials={"api_key": "k"}, origins=None, parameters={"webhook_id": "planted"}
    )
    key = (await management.make("/v1/keys", {"name": "looks", "scope": "read"}))["key"]
    async with client_of(management.app, key) as reader:
        for path in (f"/v1/webhooks/{made['id']}", "/v1/webhooks"):
            shown = await reader.get(path)
            assert shown.status_code == 200 and "planted" not in shown.text and "[hidden]" in shown.text
    assert made["parameters"] == {"webhook_id": "planted"}


async def test_rotation_makes_another_url_and_keeps_the_old_one_for_the_overlap(
    management: Management, clock: FakeClock
) -> None:
    made = await management.webhook()
    rotated = await management.make(f"/v1/webhooks/{made['id']}/rotate", {"overlap_seconds": 60})
    assert rotated["callback_url"] != made["callback_url"]
    known = management.services.configuration.current.webhooks[made["id"]]
    assert (known.generation, known.previous_valid_until) == (1, clock.now() + 60_000)
    await management.client.post(f"/v1/webhooks/{made['id']}/rotate")
    known = management.services.configuration.current.webhooks[made["id"]]
    assert (known.generation, known.previous_valid_until) == (2, None)


async def test_a_patch_changes_what_it_names_only(management: Management, clock: FakeClock) -> None:
    made = await management.webhook(metadata={"team": "a"}, retention_seconds=60)
    clock.advance(5)
    answer = await management.client.patch(
        f"/v1/webhooks/{made['id']}",
        json={"retention_seconds": None, "name": "n", "retention_days": 7, "retention_bytes": 5000000},
    )
    assert answer.status_code == 200
    changed = answer.json()
    assert (changed["name"], changed["retention_seconds"], changed["metadata"]) == ("n", None, {"team": "a"})
    assert (changed["retention_days"], changed["retention_bytes"]) == (7, 5_000_000)
    assert changed["updated_at"] > made["updated_at"]
    assert changed["origins"] == made["origins"]


@pytest.mark.parametrize(
    "body", [{"name": None}, {"metadata": None}, {"provider": "netnut"}, {"fetch_max_in_flight": 0}]
)
async def test_a_patch_refuses_what_a_webhook_cannot_be(management: Management, body: dict[str, Any]) -> None:
    made = await management.webhook()
    answer = await management.client.patch(f"/v1/webhooks/{made['id']}", json=body)
    assert answer.status_code == 422


async def test_new_credentials_make_a_rejected_webhook_active_and_its_jobs_due(
    management: Management, clock: FakeClock
) -> None:
    made = await management.webhook()
    job = await management.make("/v1/jobs", {"webhook_id": made["id"], "response_url": f"{made['origins'][0]}/r/1"})
    await _reject_credentials(management, made["id"])
    answer = await management.client.patch(
        f"/v1/webhooks/{made['id']}", json={"credentials": {"username": "u", "password": "new"}}
    )
    assert answer.json()["status"] == "active"
    after = (await management.client.get(f"/v1/jobs/{job['id']}")).json()
    assert after["next_attempt_at"] == "2026-11-21T19:00:00.000Z"
    assert clock.now() == Instant(1_795_287_600_000)


async def _reject_credentials(management: Management, webhook_id: str) -> None:
    vault = management.services.vault

    def reject(conn: Any) -> None:
        found = webhooks.get(conn, webhook_id, vault.unseal)
        assert found is not None
        webhooks.update(conn, replace(found, status=WebhookStatus.CREDENTIALS_REJECTED), vault.seal)

    await management.database.write(reject)


async def test_disabling_and_enabling(management: Management) -> None:
    made = await management.webhook()
    path = f"/v1/webhooks/{made['id']}"
    assert (await management.make(f"{path}/disable", {}))["status"] == "disabled"
    refused = await management.client.post(f"{path}/test")
    assert (refused.status_code, refused.json()["code"]) == (409, "webhook_disabled")
    assert (await management.make(f"{path}/enable", {}))["status"] == "active"
    tested = await management.make(f"{path}/test", {})
    assert (tested["status"], tested["job_id"]) == ("ignored", None)
    assert management.services.configuration.current.webhooks[made["id"]].status is WebhookStatus.ACTIVE
    assert "configuration" in management.outside.hints


async def test_the_providers_that_are_loaded_are_listed(management: Management) -> None:
    listed = (await management.client.get("/v1/providers")).json()
    assert "netnut" in [item["name"] for item in listed["data"]]
    shown = (await management.client.get("/v1/providers/netnut")).json()
    assert shown["credentials"] == ["username", "password"]
    assert (await management.client.get("/v1/providers/nobody")).status_code == 404


async def test_the_admin_key_of_the_settings_is_an_admin_key(management: Management) -> None:
    async with client_of(management.app, ADMIN_KEY) as client:
        assert (await client.get("/v1/keys")).status_code == 200
