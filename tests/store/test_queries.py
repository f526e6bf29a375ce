"""The query files, on both databases: what is stored comes back as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from relay.clock import Instant
from relay.errors import Conflict, NotFound, SignatureError
from relay.ids import new_id
from relay.model import (
    KEY,
    ApiKey,
    DeliveryStatus,
    JobStatus,
    Scope,
    Secret,
    Subscription,
    SubscriptionStatus,
    Webhook,
    WebhookStatus,
)
from relay.signing.vault import Vault
from relay.store import (
    attempts,
    configuration,
    deliveries,
    idempotency,
    jobs,
    keys,
    notifications,
    results,
    subscriptions,
    webhooks,
)
from relay.store.database import Database, open_database
from relay.store.migrate import upgrade
from relay.store.rows import Connection
from tests.support import noun_rows as make
from tests.support.clock import START

VAULT = Vault((Secret("v" * 40),))
NOW = START


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    await upgrade(database_url)
    opened = await open_database(database_url)
    yield opened
    await opened.close()


def webhook(name: str = "w", now: Instant = NOW, **more: Any) -> Webhook:
    values: dict[str, Any] = {
        "id": new_id("wh", now),
        "name": name,
        "provider": "netnut",
        "credentials": {"username": Secret("ü"), "password": Secret("p")},
        "verification": {},
        "origins": ("https://a.example", "https://b.example:8443"),
        "base_url": "https://a.example/api",
        "parameters": {"k": "v"},
        "retention_seconds": 12.5,
        "poll_seconds": (1.0, 2.5),
        "fetch_max_in_flight": 3,
        "fetch_rate_per_second": 0.5,
        "notification_rate_per_second": 2.5,
        "untracked": "ignore",
        "metadata": {"ä": [1, None, {"x": "\u2028"}], "big": 2**63 - 1},
        "status": WebhookStatus.ACTIVE,
        "generation": 4,
        "previous_valid_until": Instant(NOW + 5),
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Webhook(**(values | more))


def subscription(name: str = "s", now: Instant = NOW, **more: Any) -> Subscription:
    values: dict[str, Any] = {
        "id": new_id("sub", now),
        "name": name,
        "kind": "push",
        "url": "https://s.example/",
        "webhook_ids": ("wh_1",),
        "event_types": ("result.failed",),
        "filter": {"data.x": {"$eq": 1}},
        "format": "envelope",
        "headers": {"x-a": "b"},
        "secrets": (Secret("new"), Secret("old")),
        "max_in_flight": 2,
        "rate_per_second": 1.5,
        "status": SubscriptionStatus.PAUSED,
        "status_reason": "because",
        "metadata": {"a": 1},
        "created_at": NOW,
        "updated_at": NOW,
        "previous_secret_until": Instant(NOW + 9),
    }
    return Subscription(**(values | more))


async def test_a_webhook_comes_back_as_it_was_stored(database: Database) -> None:
    for one in (webhook(), webhook("bare", poll_seconds=None, credentials={}, base_url=None, retention_seconds=None)):
        await database.write(partial(webhooks.insert, webhook=one, seal=VAULT.seal))
        assert await database.read(partial(webhooks.get, id=one.id, unseal=VAULT.unseal)) == one
        changed = replace(one, name=one.name + "2", status=WebhookStatus.DISABLED, deleted_at=Instant(NOW + 1))
        await database.write(partial(webhooks.update, webhook=changed, seal=VAULT.seal))
        assert await database.read(partial(webhooks.get, id=one.id, unseal=VAULT.unseal)) == changed
    assert len(await database.read(partial(webhooks.load_all, unseal=VAULT.unseal))) == 2
    assert (await database.read(partial(webhooks.page, unseal=VAULT.unseal))).items == []


async def test_a_subscription_comes_back_as_it_was_stored(database: Database) -> None:
    bare: dict[str, Any] = {
        "webhook_ids": None,
        "event_types": None,
        "filter": None,
        "headers": {},
        "rate_per_second": None,
    }
    for one in (subscription(), subscription("bare", **bare, url=None, secrets=())):
        await database.write(partial(subscriptions.insert, subscription=one, seal=VAULT.seal))
        assert await database.read(partial(subscriptions.get, id=one.id, unseal=VAULT.unseal)) == one
        changed = replace(one, name=one.name + "2", secrets=(Secret("x"),), deleted_at=Instant(NOW + 1))
        await database.write(partial(subscriptions.update, subscription=changed, seal=VAULT.seal))
        assert await database.read(partial(subscriptions.load_all, unseal=VAULT.unseal)) != []
        assert await database.read(partial(subscriptions.get, id=one.id, unseal=VAULT.unseal)) == changed


async def test_a_sealed_value_moved_to_another_row_does_not_open(database: Database) -> None:
    one, two = webhook("one"), webhook("two")
    for item in (one, two):
        await database.write(partial(webhooks.insert, webhook=item, seal=VAULT.seal))

    def swap(conn: Connection) -> None:
        stolen = "(SELECT credentials_sealed FROM webhooks WHERE id = :one)"
        conn.execute(
            text(f"UPDATE webhooks SET credentials_sealed = {stolen} WHERE id = :two"), {"one": one.id, "two": two.id}
        )

    await database.write(swap)
    with pytest.raises(SignatureError):
        await database.read(partial(webhooks.get, id=two.id, unseal=VAULT.unseal))


async def test_names_are_unique_among_those_not_deleted_and_an_unknown_row_is_not_found(database: Database) -> None:
    await database.write(partial(webhooks.insert, webhook=webhook("w"), seal=VAULT.seal))
    other = webhook("other")
    await database.write(partial(webhooks.insert, webhook=other, seal=VAULT.seal))
    for write in (
        partial(webhooks.insert, webhook=webhook("w"), seal=VAULT.seal),
        partial(webhooks.update, webhook=replace(other, name="w"), seal=VAULT.seal),
    ):
        with pytest.raises(Conflict) as caught:
            await database.write(write)
        assert caught.value.field == "name"
    with pytest.raises(NotFound):
        await database.write(partial(webhooks.update, webhook=webhook("nobody"), seal=VAULT.seal))
    with pytest.raises(NotFound):
        await database.write(partial(subscriptions.update, subscription=subscription(), seal=VAULT.seal))


async def test_every_change_of_the_configuration_moves_its_version(database: Database) -> None:
    one, two = webhook(), subscription()
    key = ApiKey(id=new_id(KEY, NOW), name="k", scope=Scope.WRITE, sha256="ab", created_at=NOW)
    changes: list[Callable[[Connection], Any]] = [
        partial(webhooks.insert, webhook=one, seal=VAULT.seal),
        partial(webhooks.update, webhook=one, seal=VAULT.seal),
        partial(subscriptions.insert, subscription=two, seal=VAULT.seal),
        partial(subscriptions.update, subscription=two, seal=VAULT.seal),
        partial(keys.insert, key=key),
        partial(keys.revoke, id=key.id, now=NOW),
    ]
    for change in changes:
        before = await database.read(configuration.current_version)
        await database.write(change)
        assert await database.read(configuration.current_version) == before + 1, change
    before = await database.read(configuration.current_version)
    await database.write(partial(keys.revoke, id=key.id, now=Instant(NOW + 1)))
    assert await database.read(configuration.current_version) == before
    assert await database.read(keys.load_all) == [replace(key, revoked_at=NOW)]


async def test_a_job_is_found_by_every_key_it_has_and_only_on_its_webhook(database: Database) -> None:
    one = make.job("wh_1", NOW, metadata={"a": [1]}, tracked=True, last_error="x")
    await database.write(lambda conn: make.put_job(conn, one, {"id": "p-1", "url": "https://a.example/1"}))
    assert await database.read(partial(jobs.get, id=one.id)) == one
    assert await database.read(lambda conn: jobs.find_by_key(conn, "wh_1", "id", "p-1")) == one
    assert await database.read(lambda conn: jobs.find_by_key(conn, "wh_1", "url", "https://a.example/1")) == one
    for key in (("wh_2", "id", "p-1"), ("wh_1", "ref", "p-1"), ("wh_1", "id", "P-1")):
        find = partial(jobs.find_by_key, webhook_id=key[0], kind=key[1], value=key[2])
        assert await database.read(find) is None


async def test_the_newest_result_of_a_job_and_its_payload_in_pieces(database: Database) -> None:
    payload = bytes(range(256)) * 3
    old = make.result("job_1", "wh_1", NOW, None, status=JobStatus.FAILED, error="bad")
    new = make.result("job_1", "wh_1", Instant(NOW + 1), payload, partial=True)
    await database.write(lambda conn: make.put_result(conn, old))
    await database.write(lambda conn: make.put_result(conn, new, payload, chunk=300))
    assert await database.read(partial(results.latest_of_job, job_id="job_1")) == new
    assert await database.read(partial(results.latest_of_job, job_id="job_2")) is None
    payload_id = new.payload_id or ""
    assert await database.read(partial(results.payload, payload_id=payload_id)) == payload
    assert await database.read(partial(results.chunk_sizes, payload_id=payload_id)) == [300, 300, 168]
    pieces = [await database.read(partial(results.payload_chunk, payload_id=payload_id, seq=seq)) for seq in range(4)]
    assert pieces[3] is None
    assert b"".join(bytes(piece) for piece in pieces if piece is not None) == payload


async def test_the_body_of_a_notification_stands_in_its_row_or_in_pieces(database: Database) -> None:
    small, large = make.notification("wh_1", NOW, headers={"a": "b"}), make.notification("wh_1", NOW)
    await database.write(lambda conn: make.put_notification(conn, small, b"abc"))
    await database.write(lambda conn: make.put_notification(conn, large, None, payload_id="pay_1"))

    def put_pieces(conn: Connection) -> None:
        for seq, data in enumerate((b"one", b"two")):
            values = {"seq": seq, "data": data}
            conn.execute(text("INSERT INTO payload_chunks VALUES ('pay_1', :seq, :data)"), values)

    await database.write(put_pieces)
    assert await database.read(partial(notifications.get, id=small.id)) == small
    assert await database.read(partial(notifications.body, id=small.id)) == b"abc"
    assert await database.read(partial(notifications.body, id=large.id)) == b"onetwo"
    stored = await database.read(partial(notifications.request, id=small.id))
    assert stored == notifications.StoredRequest(small, b"abc", False, None)
    assert await database.read(partial(notifications.request, id="ntf_x")) is None
    with pytest.raises(NotFound):
        await database.read(partial(notifications.body, id="ntf_x"))


async def test_only_the_latest_attempts_are_read_oldest_first(database: Database) -> None:
    made = [make.attempt("dlv_1", number, NOW) for number in range(1, 6)]
    await database.write(lambda conn: make.put(conn, *made))
    assert await database.read(partial(attempts.of, owner_id="dlv_1")) == made
    assert await database.read(partial(attempts.of, owner_id="dlv_1", limit=2)) == made[3:]


async def test_deliveries_are_cancelled_in_portions(database: Database) -> None:
    made = [make.delivery(f"res_{number}", "sub_1", NOW) for number in range(5)]
    other = make.delivery("res_1", "sub_2", NOW)
    done = make.delivery("res_9", "sub_1", NOW, status=DeliveryStatus.DELIVERED, due_at=None)
    await database.write(lambda conn: make.put(conn, *made, other, done))
    cancel = partial(deliveries.cancel_some, now=NOW, subscription_id="sub_1", limit=2)
    assert [await database.write(cancel) for _ in range(4)] == [2, 2, 1, 0]
    assert await database.read(partial(deliveries.get, id=other.id)) == other
    assert await database.read(partial(deliveries.get, id=done.id)) == done
    assert await database.read(partial(deliveries.get, id="dlv_x")) is None


async def test_two_that_begin_at_once_do_not_both_carry_the_request_out(database: Database) -> None:
    begin = partial(idempotency.begin, key="k", fingerprint="f", now=NOW)
    assert await database.write(begin) == idempotency.Begun()
    assert await database.write(begin) == idempotency.Running(NOW)
    await database.write(partial(idempotency.finish, key="k", status=201, response_sealed=b"\x00\xff"))
    assert await database.write(begin) == idempotency.Finished(201, b"\x00\xff")
    assert await database.write(partial(idempotency.begin, key="k", fingerprint="g", now=NOW)) == idempotency.Differs()
    await database.write(partial(idempotency.forget, key="k"))
    assert await database.write(begin) == idempotency.Finished(201, b"\x00\xff")
