from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import select

from relay.clock import Instant, rfc3339
from relay.ids import new_id
from relay.model import EVENT
from relay.signing.asymmetric import generate_private_key, public_key_of
from relay.store import breakers, deliveries, events, subscriptions
from relay.store.breakers import Breaker
from relay.store.events import Event
from relay.store.schema import subscriptions as table
from tests.support.clock import FakeClock
from tests.support.management import FORBIDDEN_URL, Management
from tests.support.noun_rows import delivery, job, put_delivery, put_job, put_result, result

OWN = "9f3K-tq7Lr2VxZ8mWc5Yb1Np"


async def test_a_new_subscription_is_active_and_shows_its_secret_once(on_both: Management) -> None:
    made = await on_both.subscription(headers={"x-team": "planted-header"})
    assert made["status"] == "active"
    assert made["secret"].startswith("whsec_")
    assert made["header_names"] == ["x-team"]
    shown = await on_both.client.get(f"/v1/subscriptions/{made['id']}")
    assert shown.json() == {name: value for name, value in made.items() if name != "secret"}
    assert "planted" not in shown.text
    stored = on_both.services.configuration.current.subscriptions[made["id"]]
    assert stored.secrets[0].reveal() == made["secret"]
    assert stored.headers == {"x-team": "planted-header"}


async def test_a_secret_of_ones_own_is_kept_if_it_is_long_enough(management: Management) -> None:
    made = await management.subscription(secret=OWN)
    assert made["secret"] == OWN
    for text, code in (("planted-short", "invalid_secret"), ("planted-" * 4, "weak_secret"), ("whpk_planted", None)):
        body = {"name": "b", "url": "https://b.example/", "secret": text}
        for answer in (
            await management.client.post("/v1/subscriptions", json=body),
            await management.client.post(f"/v1/subscriptions/{made['id']}/rotate-secret", json={"secret": text}),
        ):
            wrong = answer.json()["errors"][0]
            assert (answer.status_code, wrong["pointer"]) == (422, "#/secret")
            assert code is None or wrong["code"] == code
            assert "planted" not in answer.text


async def test_an_ed25519_subscription_shows_its_public_key_and_never_the_private_one(on_both: Management) -> None:
    made = await on_both.subscription(signing="ed25519")
    assert (made["signing"], made["secret"]) == ("ed25519", None)
    [public] = made["public_keys"]
    stored = on_both.services.configuration.current.subscriptions[made["id"]]
    private = stored.secrets[0].reveal()
    assert public == public_key_of(stored.secrets[0])
    shown = await on_both.client.get(f"/v1/subscriptions/{made['id']}")
    assert shown.json()["public_keys"] == [public] and private[5:40] not in shown.text
    [sealed] = await on_both.database.read(lambda conn: conn.execute(select(table.c.secrets_sealed)).scalars().all())
    assert private.encode()[5:40] not in sealed
    again = await on_both.make(f"/v1/subscriptions/{made['id']}/rotate-secret", {})
    assert again["secret"] is None and again["public_keys"][1:] == [public]
    own = generate_private_key()
    path = f"/v1/subscriptions/{made['id']}/rotate-secret"
    given = await on_both.make(path, {"secret": own.reveal(), "overlap_seconds": 0})
    assert given["public_keys"] == [public_key_of(own)]
    plain = await on_both.make(path, {"signing": "hmac"})
    assert plain["secret"].startswith("whsec_") and plain["public_keys"] == [public_key_of(own)]
    refused = await on_both.client.post(path, json={"signing": "ed25519", "secret": OWN})
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "invalid_secret")


async def test_each_rotation_has_an_overlap_of_its_own(on_both: Management, clock: FakeClock) -> None:
    made = await on_both.subscription()
    path = f"/v1/subscriptions/{made['id']}/rotate-secret"
    second = await on_both.make(path, {"overlap_seconds": 3600})
    third = await on_both.make(path, {"overlap_seconds": 60})

    def signs(after_seconds: float) -> list[str]:
        known = on_both.services.configuration.current.subscriptions[made["id"]]
        at = Instant(round(clock.now() + after_seconds * 1000))
        return [secret.reveal() for secret in known.signing_secrets(at)]

    assert signs(0) == signs(59) == [third["secret"], second["secret"], made["secret"]]
    assert signs(60) == signs(3599) == [third["secret"], made["secret"]]
    assert signs(3600) == [third["secret"]]
    for _ in range(2):
        await on_both.make(path, {"overlap_seconds": 3600})
    refused = await on_both.client.post(path, json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_secrets")
    last = await on_both.make(path, {"overlap_seconds": 0})
    assert signs(0) == [last["secret"]]


async def test_a_url_that_policy_forbids_is_answered_with_the_setting_to_add(management: Management) -> None:
    answer = await management.client.post("/v1/subscriptions", json={"name": "in-house", "url": FORBIDDEN_URL})
    assert answer.status_code == 422
    wrong = answer.json()["errors"][0]
    assert wrong["pointer"] == "#/url"
    assert "RELAY_EGRESS_ALLOW=10.0.0.5/32:443" in wrong["detail"]
    made = await management.subscription()
    patched = await management.client.patch(f"/v1/subscriptions/{made['id']}", json={"url": FORBIDDEN_URL})
    assert patched.status_code == 422


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": "pull"}, "#/url", "unexpected"),
    ({"format": "xml"}, "#/format", "literal_error"),
    ({"url": "gopher://x"}, "#/url", "url_refused"),
    ({"webhook_ids": ["wh_" + "0" * 32]}, "#/webhook_ids/0", "unknown_webhook"),
    ({"webhook_ids": ["nonsense"]}, "#/webhook_ids/0", "string_pattern_mismatch"),
    ({"event_types": ["job.started"]}, "#/event_types/0", "literal_error"),
    ({"headers": {"webhook-id": "x"}}, "#/headers/webhook-id", "invalid_header"),
    ({"headers": {"Content-Type": "x"}}, "#/headers/Content-Type", "invalid_header"),
    ({"headers": {"x-a": "line\r\nfeed"}}, "#/headers/x-a", "invalid_header"),
    ({"headers": {"x a/b": "v"}}, "#/headers/x a~1b", "invalid_header"),
    ({"headers": {"x-a": "1", "X-A": "2"}}, "#/headers/X-A", "invalid_header"),
    ({"schedule_seconds": [5, 60]}, "#/schedule_seconds/0", "invalid_schedule"),
    ({"schedule_seconds": []}, "#/schedule_seconds", "too_short"),
    ({"schedule_seconds": [0, -1]}, "#/schedule_seconds/1", "greater_than_equal"),
    ({"timeout_seconds": 301}, "#/timeout_seconds", "less_than_equal"),
    ({"signing": "rsa"}, "#/signing", "literal_error"),
    ({"status": "paused"}, "#/status", "unknown_field"),
]


async def test_what_is_wrong_is_named(management: Management) -> None:
    for change, pointer, code in WRONG:
        body = {"name": "billing", "url": "https://billing.example/hooks", **change}
        answer = await management.client.post("/v1/subscriptions", json=body)
        assert answer.status_code == 422
        assert [(item["pointer"], item["code"]) for item in answer.json()["errors"]] == [(pointer, code)]


async def test_a_patch_changes_what_it_names_only(on_both: Management) -> None:
    webhook = await on_both.webhook()
    made = await on_both.subscription(metadata={"a": 1}, max_in_flight=3)
    body = {"webhook_ids": [webhook["id"]], "event_types": ["result.failed"], "rate_per_second": 2}
    body |= {"schedule_seconds": [0, 1.5], "timeout_seconds": 2}
    changed = (await on_both.client.patch(f"/v1/subscriptions/{made['id']}", json=body)).json()
    assert (changed["webhook_ids"], changed["event_types"]) == ([webhook["id"]], ["result.failed"])
    assert (changed["metadata"], changed["max_in_flight"], changed["rate_per_second"]) == ({"a": 1}, 3, 2)
    assert (changed["schedule_seconds"], changed["timeout_seconds"]) == ([0, 1.5], 2)
    stored = on_both.services.configuration.current.subscriptions[made["id"]]
    assert stored.secrets[0].reveal() == made["secret"]
    assert stored.schedule_seconds == (0, 1.5)


async def test_a_rotated_secret_is_shown_and_the_old_one_signs_too_for_the_overlap(
    management: Management, clock: FakeClock
) -> None:
    made = await management.subscription()
    rotated = await management.make(f"/v1/subscriptions/{made['id']}/rotate-secret", {})
    known = management.services.configuration.current.subscriptions[made["id"]]
    assert [secret.reveal() for secret in known.secrets] == [rotated["secret"], made["secret"]]
    assert known.previous_secret_until == clock.now() + 86_400_000
    own = await management.make(f"/v1/subscriptions/{made['id']}/rotate-secret", {"secret": OWN, "overlap_seconds": 0})
    known = management.services.configuration.current.subscriptions[made["id"]]
    assert ([secret.reveal() for secret in known.secrets], known.previous_secret_until) == ([own["secret"]], None)


async def test_pausing_resuming_and_enabling(management: Management) -> None:
    made = await management.subscription()
    path = f"/v1/subscriptions/{made['id']}"
    assert (await management.make(f"{path}/pause", {}))["status"] == "paused"
    assert (await management.make(f"{path}/resume", {}))["status"] == "active"
    await _disable(management, made["id"])
    for action in ("pause", "resume"):
        refused = await management.client.post(f"{path}/{action}")
        assert (refused.status_code, refused.json()["code"]) == (409, "subscription_disabled")
    enabled = await management.make(f"{path}/enable", {})
    assert (enabled["status"], enabled["status_reason"]) == ("active", None)


async def _disable(management: Management, id: str) -> None:
    from dataclasses import replace

    from relay.model import SubscriptionStatus

    vault = management.services.vault

    def disable(conn: Any) -> None:
        found = subscriptions.get(conn, id, vault.unseal)
        assert found is not None
        gone = replace(found, status=SubscriptionStatus.DISABLED, status_reason="410")
        subscriptions.update(conn, gone, vault.seal)

    await management.database.write(disable)


async def test_a_test_says_what_the_subscriber_answered(management: Management) -> None:
    made = await management.subscription()
    good = await management.make(f"/v1/subscriptions/{made['id']}/test", {})
    assert (good["delivered"], good["http_status"], good["message_id"][:4]) == (True, 200, "evt_")
    management.outside.test_answer = (None, "connect_failed")
    bad = await management.make(f"/v1/subscriptions/{made['id']}/test", {})
    assert (bad["delivered"], bad["error_code"]) == (False, "connect_failed")


async def test_a_deleted_subscription_keeps_no_secret_and_its_deliveries_are_cancelled(
    on_both: Management, clock: FakeClock
) -> None:
    webhook, made = await on_both.webhook(), await on_both.subscription()
    one = job(webhook["id"], clock.now())
    stored = [result(one.id, webhook["id"], clock.now()) for _ in range(3)]
    waiting = [delivery(item.id, made["id"], clock.now()) for item in stored]

    def put(conn: Any) -> None:
        put_job(conn, one)
        for item, its in zip(stored, waiting, strict=True):
            put_result(conn, item)
            put_delivery(conn, its)

    await on_both.database.write(put)
    assert (await on_both.client.delete(f"/v1/subscriptions/{made['id']}")).status_code == 204
    assert (await on_both.client.get(f"/v1/subscriptions/{made['id']}")).status_code == 404
    kept = on_both.services.configuration.current.subscriptions[made["id"]]
    assert (kept.secrets, kept.headers) == ((), {})
    after = await on_both.database.read(lambda conn: deliveries.page(conn, subscription_id=made["id"]))
    assert {(item.status, item.due_at, item.claims) for item in after.items} == {("cancelled", None, 1)}


async def test_a_breaker_is_shown_and_a_person_may_close_it(on_both: Management, clock: FakeClock) -> None:
    made = await on_both.subscription()
    path = f"/v1/subscriptions/{made['id']}"
    healthy = {"state": "closed", "opened_at": None, "next_probe_at": None, "failing_since": None, "last_error": None}
    assert made["breaker"] == healthy
    now = clock.now()
    row = Breaker(
        subscription_id=made["id"],
        failing_since=Instant(now - 60_000),
        opened_at=Instant(now - 30_000),
        next_probe_at=Instant(now + 5_000),
        last_error="connect_failed",
    )

    async def shown() -> dict[str, Any]:
        one = (await on_both.client.get(path)).json()["breaker"]
        [listed] = (await on_both.client.get("/v1/subscriptions")).json()["data"]
        assert listed["breaker"] == one
        return dict(one)

    for action, body in (("resume", {}), ("enable", {}), ("", {"url": "https://new.example/"})):
        await on_both.database.write(lambda conn: breakers.put(conn, row))
        assert await shown() == {
            "state": "open",
            "opened_at": rfc3339(Instant(now - 30_000)),
            "next_probe_at": rfc3339(Instant(now + 5_000)),
            "failing_since": rfc3339(Instant(now - 60_000)),
            "last_error": "connect_failed",
        }
        paused = await on_both.make(f"{path}/pause", {})
        assert paused["breaker"]["state"] == "open"
        if action:
            assert (await on_both.make(f"{path}/{action}", body))["breaker"] == healthy
        else:
            assert (await on_both.client.patch(path, json=body)).json()["breaker"] == healthy
        assert await shown() == healthy
    await on_both.database.write(lambda conn: breakers.put(conn, row))
    take = {"subscription_id": made["id"], "now": Instant(now + 6_000), "until": Instant(now + 60_000)}
    assert await on_both.database.write(lambda conn: breakers.take_probe(conn, **take))
    assert (await shown())["state"] == "half_open"


async def test_events_are_listed_and_shown_and_their_deliveries_name_them(
    on_both: Management, clock: FakeClock
) -> None:
    told = await on_both.subscription(event_types=["subscription.disabled"])
    now = clock.now()
    made = [
        Event(id=new_id(EVENT, now), type=kind, subject_id=f"{kind[:3]}_1", data={"reason": "why"}, created_at=now)
        for kind in ("subscription.disabled", "job.expiring")
    ]
    for event in made:
        await on_both.database.write(partial(events.record, event=event))
    listed = (await on_both.client.get("/v1/events")).json()["data"]
    assert [item["id"] for item in listed] == sorted((event.id for event in made), reverse=True)
    only = (await on_both.client.get("/v1/events?type=job.expiring&subject_id=job_1")).json()["data"]
    assert [item["id"] for item in only] == [made[1].id]
    assert (await on_both.client.get(f"/v1/events/{made[0].id}")).json() in listed
    assert (await on_both.client.get("/v1/events/evt_" + "0" * 32)).status_code == 404
    [delivery] = (await on_both.client.get(f"/v1/deliveries?event_id={made[0].id}")).json()["data"]
    assert (delivery["event_id"], delivery["result_id"]) == (made[0].id, None)
    assert (delivery["subscription_id"], delivery["status"]) == (told["id"], "pending")
