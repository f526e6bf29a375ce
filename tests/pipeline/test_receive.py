"""From a call at a callback URL to a durable notification: every row of the answer table."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay.clock import after
from relay.errors import StoreUnavailable
from relay.ids import new_id
from relay.model import JOB, Notification, Secret, WebhookStatus
from relay.pipeline.admission import TurnedAway
from relay.pipeline.outcomes import Refused
from relay.pipeline.prepare import REJECTED_BODY_BYTES
from relay.pipeline.receive import Answer
from relay.pipeline.track import Tracked, TrackRequest
from relay.store import schema
from tests.support.profiles import SIGNED, write_profiles
from tests.support.stage import DEFAULT_PLAN, ORIGIN, URL, Stage
from tests.support.stage_fixtures import Opening
from tests.support.store import count, rows_of

THIN = {"traceID": "t-1", "response_url": URL}


async def test_a_notification_is_accepted_with_its_job(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    stage.provider.answering = stage.never
    answer = await stage.accept(webhook, THIN, suffix="/x", query="a=1", headers={"Content-Type": "application/json"})
    assert answer.status == "accepted" and answer.job_id is not None
    notification = await stage.notification(answer.notification_id)
    assert (notification.job_id, notification.suffix, notification.query) == (answer.job_id, "/x", "a=1")
    job = await stage.job(answer.job_id)
    assert (job.provider_job_id, job.response_url, job.status) == ("t-1", URL, "fetching")
    assert job.deadline == after(stage.clock.now(), 7200)


async def test_the_same_again_is_a_duplicate_with_the_first_ids(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    first = await stage.accept(webhook, THIN)
    again = await stage.accept(webhook, THIN)
    assert (again.status, again.notification_id, again.job_id) == ("duplicate", first.notification_id, first.job_id)
    assert await count(stage.database, schema.notifications) == 1


@pytest.mark.parametrize("other", [{"query": "n=2"}, {"suffix": "/2"}])
async def test_what_differs_anywhere_is_no_duplicate(sqlite_stage: Stage, other: dict[str, str]) -> None:
    webhook = await sqlite_stage.add_webhook()
    first = await sqlite_stage.accept(webhook, THIN)
    second = await sqlite_stage.accept(webhook, THIN, **other)
    assert second.status == "accepted" and second.notification_id != first.notification_id
    assert second.job_id == first.job_id


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty_body"),
        (b"   ", "empty_body"),
        (b"hello", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[" * 50_000 + b"]" * 50_000, "no_id_and_no_url"),
        (b"{}", "no_id_and_no_url"),
        (b'{"traceID": "a b"}', "bad_id"),
        (b'{"response_url": "https://provider.example/\\u0000"}', "bad_url"),
        (b'{"response_url": "https://evil.example/1"}', "foreign_response_url"),
        (b'{"response_url": "http://provider.example/1"}', "foreign_response_url"),
    ],
)
async def test_what_cannot_be_used_is_stored_and_answered_200(sqlite_stage: Stage, body: bytes, reason: str) -> None:
    webhook = await sqlite_stage.add_webhook()
    answer = await sqlite_stage.accept(webhook, body)
    assert (answer.status, answer.reason, answer.job_id) == ("unprocessable", reason, None)
    assert (await sqlite_stage.notification(answer.notification_id)).reason == reason
    assert await count(sqlite_stage.database, schema.jobs) == 0


FOREIGN = [
    "https://provider.example@evil.test/",
    "https://provider.example\\@evil.test/",
    "https://evil.test\\.provider.example/",
    "https://provider.example#@evil.test/",
    "https://evil.test#provider.example",
    "https://provider.example:443@evil.test/",
    "https://provider.example%2eevil.test/",
    "https://provider.example%00.evil.test/",
    "https://provider.example\t.evil.test/",
    "https:///evil.test/",
    "https:/evil.test/",
    "https:evil.test",
    "//evil.test/x",
    "https://provider.example.evil.test/",
    "https://provider.example./",
    "https://provider。example/",
    "https://ｅvil.test/",
    "https://[::1%25eth0]/",
    "https://[::ffff:127.0.0.1]/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://2130706433/",
    "https://127.1/",
    "https://0/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://127.0.0.1.nip.io/",
    "https://provider.example:0443/",
    "https://provider.example:99999/",
    "https://provider.example:-1/",
    "https://provider.example:443:80/",
    "https://provider.example:8443/",
    "https://[provider.example]/",
    " https://provider.example/",
    "https://provider.example/ ",
    "https://provider.example/\n",
    "https://provider.example/" + "a" * 70_000,
    "file:///etc/passwd",
    "gopher://provider.example/",
    "ftp://provider.example/",
    "data:text/html,x",
    "javascript:alert(1)",
    "https://user:p%40ss@provider.example/",
    "https://xn--prvider-exa.example/",
    "https://" + "a" * 255 + ".example/",
    "https://provider.example/..%2f..%2fadmin",
    "https://provider.example/%2e%2e/",
    "https://provider.example/?@evil",
]


async def test_no_spelling_of_another_place_is_ever_fetched(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook()
    for url in FOREIGN:
        answer = await sqlite_stage.accept(webhook, {"response_url": url})
        assert answer.status == "unprocessable", url
        assert answer.reason in ("foreign_response_url", "bad_url"), url
    await sqlite_stage.work_through(600)
    assert sqlite_stage.provider.requests == []
    assert await count(sqlite_stage.database, schema.jobs) == 0


async def test_letters_of_another_case_are_the_same_origin(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook()
    assert (await sqlite_stage.accept(webhook, {"response_url": "HTTPS://PROVIDER.EXAMPLE/1"})).status == "accepted"


# --- turned away without a look at the body ---


async def test_tokens_that_are_none_get_404(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook()
    good = sqlite_stage.tokens.mint(webhook.id, webhook.generation)
    unknown = sqlite_stage.tokens.mint(new_id("wh", sqlite_stage.clock.now()), 1)
    for token in ("", "x", good[:-1], good + "A", good.replace(".1.", ".2."), unknown):
        assert await sqlite_stage.receive(webhook, THIN, token=token) == TurnedAway(404)


async def test_a_disabled_or_deleted_webhook_gets_410(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    webhook = await stage.change_webhook(webhook, status=WebhookStatus.DISABLED)
    assert await stage.receive(webhook, THIN) == TurnedAway(410)
    webhook = await stage.change_webhook(webhook, status=WebhookStatus.ACTIVE)
    assert isinstance(await stage.receive(webhook, THIN), Answer)
    await stage.change_webhook(webhook, deleted_at=stage.clock.now())
    assert await stage.receive(webhook, THIN) == TurnedAway(410)


async def test_a_webhook_whose_credentials_are_refused_goes_on_receiving(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook(status=WebhookStatus.CREDENTIALS_REJECTED)
    assert (await sqlite_stage.accept(webhook, THIN)).status == "accepted"


async def test_a_rotated_token_is_taken_during_the_overlap_only(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    old = stage.tokens.mint(webhook.id, 1)
    overlap = after(stage.clock.now(), 60)
    webhook = await stage.change_webhook(webhook, generation=2, previous_valid_until=overlap)
    assert isinstance(await stage.receive(webhook, THIN, token=old), Answer)
    stage.clock.advance(60)
    assert await stage.receive(webhook, THIN, token=old) == TurnedAway(410)
    assert isinstance(await stage.receive(webhook, THIN), Answer)


async def test_without_an_overlap_the_old_token_ends_at_once(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook()
    old = sqlite_stage.tokens.mint(webhook.id, 1)
    webhook = await sqlite_stage.change_webhook(webhook, generation=3, previous_valid_until=None)
    assert await sqlite_stage.receive(webhook, THIN, token=old) == TurnedAway(410)


async def test_a_webhook_made_by_another_node_just_now_is_known(stage: Stage) -> None:
    other = await stage.another()
    webhook = await other.add_webhook()
    assert webhook.id not in stage.configuration.current.webhooks
    assert (await stage.accept(webhook, THIN)).status == "accepted"


async def test_a_method_that_the_profile_does_not_use_gets_405(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook()
    assert await sqlite_stage.receive(webhook, THIN, method="PUT") == TurnedAway(405, allow="POST")


async def test_nothing_is_taken_while_nothing_may_be(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook()
    sqlite_stage.may_take = False
    assert await sqlite_stage.receive(webhook, THIN) == TurnedAway(503, 5)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("body", [THIN, {**THIN, "text": "x" * 700_000}], ids=["short", "long"])
async def test_what_cannot_be_made_durable_is_no_answer(
    sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch, at_once: bool, body: dict[str, str]
) -> None:
    webhook = await sqlite_stage.add_webhook()

    async def submit(*_: object) -> object:
        raise StoreUnavailable("no disk")

    def post(_operation: object, _item: object, then: Any) -> None:
        if at_once:
            raise StoreUnavailable("no disk")
        asyncio.get_running_loop().call_soon(then, None, StoreUnavailable("no disk"))

    monkeypatch.setattr(sqlite_stage.database, "submit", submit)
    monkeypatch.setattr(sqlite_stage.database, "post", post)
    with pytest.raises(StoreUnavailable):
        await sqlite_stage.receive(webhook, body)
    assert sqlite_stage.fetching.crew.slots.taken == 0, "the reserved slot is free again"


# --- verification ---


@pytest.fixture
async def signed(open_stage: Opening, tmp_path: Path) -> Stage:
    """A stage that knows two providers of the user's own: one signs, one shows a shared header."""
    return await open_stage(replace(DEFAULT_PLAN, providers_dir=write_profiles(tmp_path)))


async def _signing_webhook(stage: Stage, secret: str = SIGNED.secret) -> Any:
    return await stage.add_webhook(provider="signing", verification={"secret": Secret(secret)})


async def test_a_signed_notification_is_accepted_once_by_its_delivery_id(signed: Stage) -> None:
    webhook = await _signing_webhook(signed)
    body = json.dumps({"id": "j-1"}).encode()
    first = await signed.accept(webhook, body, headers=SIGNED.headers("msg_1", body, signed.clock.now()))
    signed.clock.advance(30)
    again = await signed.accept(webhook, body, headers=SIGNED.headers("msg_1", body, signed.clock.now()))
    other = await signed.accept(webhook, body, headers=SIGNED.headers("msg_2", body, signed.clock.now()))
    assert [answer.status for answer in (first, again, other)] == ["accepted", "duplicate", "accepted"]


async def test_an_event_that_the_profile_ignores_is_stored(signed: Stage) -> None:
    webhook = await _signing_webhook(signed)
    body = b'{"event": "job.started", "id": "j-1"}'
    answer = await signed.accept(webhook, body, headers=SIGNED.headers("msg_1", body, signed.clock.now()))
    assert (answer.status, answer.job_id) == ("ignored", None)
    assert await count(signed.database, schema.notifications) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"webhook-signature": "v1,AAAA"}, "signature_wrong"),
        ({"webhook-signature": ""}, "signature_missing"),
        ({"webhook-timestamp": "1"}, "timestamp_outside_tolerance"),
    ],
)
async def test_what_is_not_the_providers_is_rejected_and_kept_sealed(
    signed: Stage, change: dict[str, str], reason: str
) -> None:
    webhook = await _signing_webhook(signed)
    body = b'{"id": "j-1", "note": "planted-in-the-body"}'
    headers = SIGNED.headers("msg_1", body, signed.clock.now()) | change | {"x-secret": "planted-in-a-header"}
    answer = await signed.receive(webhook, body, headers=headers)
    assert isinstance(answer, Answer)
    assert (answer.http_status, answer.status, answer.reason) == (401, "rejected", reason)
    [row] = await rows_of(signed.database, schema.notifications)
    assert row["dedupe_key"] is None, "or it would shadow the authentic one"
    assert b"planted" not in bytes(row["body"]) and b"planted" not in bytes(row["headers_sealed"])
    assert await count(signed.database, schema.jobs) == 0


async def test_of_a_rejected_body_only_the_beginning_is_kept(signed: Stage) -> None:
    webhook = await _signing_webhook(signed)
    answer = await signed.receive(webhook, b"x" * (REJECTED_BODY_BYTES + 1))
    assert isinstance(answer, Answer) and answer.http_status == 401
    [row] = await rows_of(signed.database, schema.notifications)
    assert len(row["body"]) < REJECTED_BODY_BYTES + 100
    assert row["body_size"] == REJECTED_BODY_BYTES + 1
    refused = await signed.receiver.reprocess(row["id"])
    assert isinstance(refused, Refused) and refused.code == "body_cut"


async def test_a_rejected_one_is_taken_once_the_secret_is_mended(signed: Stage) -> None:
    webhook = await _signing_webhook(signed, "whsec_" + "QUFB" * 8)
    body = b'{"id": "j-1"}'
    answer = await signed.receive(webhook, body, headers=SIGNED.headers("msg_1", body, signed.clock.now()))
    assert isinstance(answer, Answer) and answer.http_status == 401 and answer.notification_id is not None
    still = await signed.receiver.reprocess(answer.notification_id)
    assert isinstance(still, Refused) and still.code == "still_rejected"
    signed.clock.advance(3600)
    await signed.change_webhook(webhook, verification={"secret": Secret(SIGNED.secret)})
    taken = await signed.receiver.reprocess(answer.notification_id)
    assert isinstance(taken, Notification) and taken.status == "accepted"
    [job] = await rows_of(signed.database, schema.jobs)
    assert job["lease_until"] is None or job["lease_until"] > signed.clock.now(), (
        "claimed as of now, not of its arrival"
    )
    await signed.work_until_idle()
    assert (await signed.the_job()).status == "completed"
    again = await signed.receive(webhook, body, headers=SIGNED.headers("msg_1", body, signed.clock.now()))
    assert isinstance(again, Answer) and again.status == "duplicate"


async def test_a_rejected_one_still_leads_to_the_job_that_its_url_was_made_for(signed: Stage) -> None:
    webhook = await _signing_webhook(signed, "whsec_" + "QUFB" * 8)
    tracked = await signed.tracker.track(webhook, _request("j-1", None))
    assert isinstance(tracked, Tracked)
    body = b'{"status": "done"}'
    headers = SIGNED.headers("msg_1", body, signed.clock.now())
    token = signed.tokens.mint(webhook.id, webhook.generation, tracked.job.id)
    answer = await signed.receive(webhook, body, headers=headers, token=token)
    assert isinstance(answer, Answer) and (answer.http_status, answer.job_id) == (401, None)
    [kept] = await rows_of(signed.database, schema.notifications)
    assert tracked.job.id not in repr(kept), "a rejected one is in nobody's way"
    await signed.change_webhook(webhook, verification={"secret": Secret(SIGNED.secret)})
    for _ in range(2):  # the second time it is an accepted one
        assert answer.notification_id is not None
        taken = await signed.receiver.reprocess(answer.notification_id)
        assert isinstance(taken, Notification) and (taken.status, taken.job_id) == ("accepted", tracked.job.id)
    assert (await signed.the_job()).notified_at is not None


async def test_what_was_taken_before_is_taken_again_but_its_own_payload_needs_its_proof(signed: Stage) -> None:
    webhook = await signed.change_webhook(await _signing_webhook(signed), untracked="ignore")
    body = b'{"id": "j-1", "status": "done", "output": "said by whoever sent it"}'
    told = await signed.receive(webhook, body, headers=SIGNED.headers("msg_1", body, signed.clock.now()))
    assert isinstance(told, Answer) and told.status == "ignored" and told.notification_id is not None
    await signed.change_webhook(webhook, untracked="accept")
    again = await signed.receiver.reprocess(told.notification_id)
    assert isinstance(again, Notification) and again.status == "accepted"
    await signed.work_until_idle()
    assert len(signed.provider.requests) == 1, "its signature is not kept, so the provider is asked"
    assert (await signed.the_job()).status == "completed"


async def test_a_shared_header_verifies_too(signed: Stage) -> None:
    webhook = await signed.add_webhook(provider="shared", verification={"secret": Secret("open-sesame")})
    body = b'{"id": "j-1"}'
    wrong = await signed.receive(webhook, body, headers={"x-token": "open-sesam"})
    right = await signed.receive(webhook, body, headers={"X-Token": "open-sesame"})
    assert isinstance(wrong, Answer) and isinstance(right, Answer)
    assert (wrong.http_status, right.http_status) == (401, 200)


async def test_reprocessing_what_is_not_there(sqlite_stage: Stage) -> None:
    assert await sqlite_stage.receiver.reprocess(new_id("ntf", sqlite_stage.clock.now())) is None


async def test_an_unprocessable_one_is_taken_once_its_origin_is_allowed(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    answer = await stage.accept(webhook, {"response_url": "https://eu.provider.example/1"})
    assert answer.status == "unprocessable" and answer.notification_id is not None
    await stage.change_webhook(webhook, origins=(ORIGIN, "https://eu.provider.example"))
    taken = await stage.receiver.reprocess(answer.notification_id)
    assert isinstance(taken, Notification) and taken.status == "accepted"
    await stage.work_until_idle()
    assert (await stage.the_job()).status == "completed"


# --- jobs, keys and whose they are ---


async def test_a_token_made_for_a_job_leads_to_it_whatever_the_body_says(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    tracked = await stage.tracker.track(webhook, _request("j-1", URL))
    assert isinstance(tracked, Tracked)
    token = stage.tokens.mint(webhook.id, webhook.generation, tracked.job.id)
    answer = await stage.accept(webhook, b"{}", token=token)
    assert (answer.status, answer.job_id) == ("accepted", tracked.job.id)


async def test_a_token_of_a_job_that_is_gone_makes_none(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook()
    token = sqlite_stage.tokens.mint(webhook.id, webhook.generation, new_id(JOB, sqlite_stage.clock.now()))
    answer = await sqlite_stage.accept(webhook, THIN, token=token)
    assert (answer.status, answer.reason) == ("ignored", "untracked_job")


async def test_a_job_that_another_webhook_of_the_account_tracks_is_refused(stage: Stage) -> None:
    mine, other = await stage.add_webhook(), await stage.add_webhook()
    await stage.tracker.track(mine, _request("t-1", None))
    answer = await stage.accept(other, THIN)
    assert (answer.status, answer.reason, answer.job_id) == ("unprocessable", "job_of_another_webhook", None)


async def test_keys_of_two_jobs_are_a_conflict_and_never_a_merge(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    first = await stage.accept(webhook, {"traceID": "t-1", "response_url": URL})
    second = await stage.accept(webhook, {"traceID": "t-2", "response_url": URL + "0"})
    answer = await stage.accept(webhook, {"traceID": "t-1", "response_url": URL + "0"})
    assert (answer.status, answer.reason) == ("unprocessable", "keys_of_two_jobs")
    assert first.job_id != second.job_id


async def test_only_tracked_jobs_are_taken_where_that_was_asked_for(stage: Stage) -> None:
    webhook = await stage.add_webhook(untracked="ignore")
    ignored = await stage.accept(webhook, {"response_url": URL})
    assert (ignored.status, ignored.reason) == ("ignored", "untracked_job")
    await stage.tracker.track(webhook, _request("t-1", None))
    assert (await stage.accept(webhook, THIN)).status == "accepted"


# --- straight to the hands, or into the database ---


async def test_a_job_is_inserted_claimed_only_in_a_reserved_slot(stage: Stage) -> None:
    webhook = await stage.add_webhook(fetch_max_in_flight=1)
    stage.provider.answering = stage.never
    first = await stage.accept(webhook, {"response_url": URL})
    second = await stage.accept(webhook, {"response_url": URL + "0"})
    assert (await stage.job(first.job_id)).claims == 1
    waiting = await stage.job(second.job_id)
    assert (waiting.claims, waiting.lease_until, waiting.due_at) == (0, None, stage.clock.now())
    assert stage.fetching.crew.slots.taken == 1


async def test_duplicates_take_neither_slots_nor_pace(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook(fetch_rate_per_second=0.1)
    await sqlite_stage.accept(webhook, THIN)
    await sqlite_stage.work_until_idle()
    sqlite_stage.clock.advance(11)
    for _ in range(5):
        assert (await sqlite_stage.accept(webhook, THIN)).status == "duplicate"
    await sqlite_stage.accept(webhook, {"response_url": URL + "0"})
    await sqlite_stage.work_until_idle()
    assert len(sqlite_stage.provider.requests) == 2


async def test_a_configuration_that_changed_meanwhile_is_read_first(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    await stage.change_webhook(webhook, refresh=False, retention_seconds=60.0)
    answer = await stage.accept(webhook, THIN)
    assert (await stage.job(answer.job_id)).deadline == after(stage.clock.now(), 60)


async def test_a_big_body_is_kept_in_pieces_and_whole(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    body = json.dumps({"response": {"text": "x" * 700_000}}).encode()
    answer = await stage.accept(webhook, body)
    [row] = await rows_of(stage.database, schema.notifications)
    assert row["body"] is None and row["payload_id"] is not None
    assert await stage.floor.payloads.read(row["payload_id"]) == body
    spills = {spill["payload_id"] for spill in await rows_of(stage.database, schema.spills)}
    assert row["payload_id"] not in spills, "it has an owner"
    await stage.work_until_idle()
    assert await stage.payload(await stage.result(answer.job_id)) == body


async def test_a_test_notification_is_stored_and_makes_no_job(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    made = await stage.receiver.test(webhook)
    assert (made.status, made.reason) == ("ignored", "test")
    assert await stage.notification(made.id) == made
    assert await count(stage.database, schema.jobs) == 0


def _request(provider_job_id: str | None, response_url: str | None) -> TrackRequest:
    return TrackRequest(provider_job_id=provider_job_id, response_url=response_url, metadata={}, submitted_at=None)
