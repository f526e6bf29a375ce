"""Filters and headers as the API takes them: every mistake named by its place; a stored result judged, not sent."""

from __future__ import annotations

from functools import partial
from typing import Any

from relay.model import JobStatus, Result
from relay.store import deliveries
from tests.support.clock import FakeClock
from tests.support.management import Management
from tests.support.noun_rows import job, put_job, put_result, result

PAYLOAD = b'{"score": 3, "tags": ["a", "b"]}'
NO_RESULT = "res_" + "0" * 32

WRONG: list[tuple[Any, str, str]] = [
    ({"data.metadata.tenant": {"$gt": None}}, "#/filter/data.metadata.tenant/$gt", "filter.data.metadata.tenant.$gt"),
    ({"data.metadata.tenant": {"$regex": "a"}}, "#/filter/data.metadata.tenant/$regex", "$regex is not an operator"),
    ({"data.metdata": 1}, "#/filter/data.metdata", "filter.data.metdata"),
    ({"$or": [{"type": "a"}, {"data.metadata.a/b~": {}}]}, "#/filter/$or/1/data.metadata.a~1b~0", "filter.$or.1.data"),
    ({"type": "x" * 20_000}, "#/filter", "filter has 20011 bytes"),
    ([], "#/filter", ""),
    ({"data.payload": {"$gt": "\x00"}}, "#/filter/data.payload/$gt", ""),
]


async def test_a_wrong_filter_is_named_by_its_key(management: Management) -> None:
    path = f"/v1/subscriptions/{(await management.subscription())['id']}"
    for filter, pointer, said in WRONG:
        body = {"name": "b", "url": "https://b.example/", "filter": filter}
        judged = {"result_id": NO_RESULT, "filter": filter}
        for answer in (
            await management.client.post("/v1/subscriptions", json=body),
            await management.client.patch(path, json={"filter": filter}),
            await management.client.post(f"{path}/test", json=judged),
        ):
            assert answer.status_code == 422, answer.text
            assert [wrong["pointer"] for wrong in answer.json()["errors"]] == [pointer]
            assert said in answer.json()["detail"]
    assert (await management.client.get(path)).json()["filter"] is None


async def test_a_filter_is_kept_shown_changed_and_taken_away(on_both: Management) -> None:
    first = {"data.metadata.tenant": {"$in": ["acme", "ü"]}, "$not": {"data.payload.score": {"$lt": 0.5}}}
    made = await on_both.subscription(filter=first, format="cloudevents")
    assert (made["filter"], made["format"]) == (first, "cloudevents")
    path = f"/v1/subscriptions/{made['id']}"
    changes: list[dict[str, Any]] = [
        {"filter": {"type": "result.failed"}},
        {"format": "raw"},
        {"filter": {}},
        {"filter": None},
    ]
    for change in changes:
        changed = (await on_both.client.patch(path, json=change)).json()
        assert {name: changed[name] for name in change} == change
    assert on_both.services.configuration.current.subscriptions[made["id"]].filter is None


async def stored(management: Management, clock: FakeClock, payload: bytes | None = PAYLOAD, **more: Any) -> Result:
    webhook = await management.webhook(more.pop("name", "netnut-prod"))
    one = job(webhook["id"], clock.now(), status=JobStatus.COMPLETED, due_at=None)
    made = result(one.id, webhook["id"], clock.now(), payload, **more)

    def store(conn: Any) -> None:
        put_job(conn, one)
        put_result(conn, made, payload)

    await management.database.write(store)
    return made


async def test_a_stored_result_is_judged_and_nothing_happens(on_both: Management, clock: FakeClock) -> None:
    made = await stored(on_both, clock, metadata={"tenant": "acme"})
    subscription = await on_both.subscription(
        filter={"data.metadata.tenant": {"$eq": "umbrella"}, "data.payload.score": {"$gte": 5}}
    )
    on_both.outside.test_answer = (None, "nothing_may_be_sent")
    path = f"/v1/subscriptions/{subscription['id']}/test"
    told = await on_both.make(path, {"result_id": made.id})
    assert told == {
        "result_id": made.id, "matches": False, "reason": "filter", "payload_missing": None,
        "failed": [
            {"place": "filter.data.metadata.tenant.$eq", "path": "data.metadata.tenant", "operator": "$eq",
             "found": '"acme"'},
            {"place": "filter.data.payload.score.$gte", "path": "data.payload.score", "operator": "$gte", "found": "3"},
        ],
    }  # fmt: skip
    unsaved = {"result_id": made.id, "filter": {"data.payload.tags": "b", "data.provider": "netnut"}}
    assert (await on_both.make(path, unsaved))["matches"] is True
    assert (await on_both.make(path, {"result_id": made.id, "filter": None}))["matches"] is True
    kept = (await on_both.client.get(f"/v1/subscriptions/{subscription['id']}")).json()
    assert kept["filter"] == subscription["filter"]
    assert (await on_both.database.read(deliveries.page)).items == []


async def test_the_webhook_the_type_and_a_missing_payload_are_reasons_too(
    management: Management, clock: FakeClock
) -> None:
    made = await stored(management, clock, b"not json")
    other = await management.webhook("other")

    async def asked(name: str, **subscription: Any) -> tuple[Any, ...]:
        there = await management.subscription(name, **subscription)
        told = await management.make(f"/v1/subscriptions/{there['id']}/test", {"result_id": made.id})
        return told["matches"], told["reason"], told["payload_missing"]

    assert await asked("a", webhook_ids=[other["id"]]) == (False, "webhook_ids", None)
    assert await asked("b", event_types=["result.failed"]) == (False, "event_types", None)
    assert await asked("c", filter={"data.payload.score": {"$exist": True}}) == (False, "filter", "not_json")
    assert await asked("d") == (True, None, None)
    path = f"/v1/subscriptions/{(await management.subscription('e'))['id']}/test"
    assert (await management.client.post(path, json={"result_id": NO_RESULT})).status_code == 404
    refused = await management.client.post(path, json={"filter": {}})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "#/result_id")


async def test_results_that_nobody_wanted_are_listed(on_both: Management, clock: FakeClock) -> None:
    wanted = await stored(on_both, clock, matched=2)
    unwanted = await stored(on_both, clock, name="second", matched=0)
    before = await stored(on_both, clock, name="third")  # stored by a relay that did not note it

    async def listed(query: str) -> dict[str, Any]:
        answer = await on_both.client.get(f"/v1/results?{query}")
        return {item["id"]: item["matched"] for item in answer.json()["data"]}

    assert await listed("") == {wanted.id: 2, unwanted.id: 0, before.id: None}
    assert await listed("unrouted=true") == {unwanted.id: 0}
    assert await listed(f"unrouted=true&webhook_id={wanted.webhook_id}") == {}
    assert len(await listed("unrouted=false")) == 3
    assert (await on_both.client.get("/v1/results?unrouted=1")).status_code == 400


# --- headers: corpus A8 ---

A8: list[tuple[str, str]] = [
    ("X\r\nY: 1", "v"), ("X\n", "v"), ("X\x00", "v"), ("X: ", "v"), ("X\x85", "v"), ("X\x80", "v"), ("Xÿ", "v"),
    ("x y", "v"), ("x:y", "v"), ("", "v"), ("x" * 101, "v"), ("x-ä", "v"), ("x(y)", "v"),
    ("x-a", "planted\r\nY: 1"), ("x-a", "planted\n"), ("x-a", "planted\x00"), ("x-a", "planted\x7f"),
    ("x-a", " planted"), ("x-a", "planted "), ("x-a", "planted\t1"), ("x-a", "planted\x85"), ("x-a", "plantedÿ"),
    ("x-a", "planted€"), ("x-a", "planted" + "y" * 65_536),
    *((name, "v") for name in (
        "Content-Length", "content-type", "Content-Encoding", "Transfer-Encoding", "Host", "HOST", "Connection", "TE",
        "Trailer", "Upgrade", "Keep-Alive", "Proxy-Authorization", "Proxy-Authenticate", "Proxy-Connection", "Expect",
        "Accept-Encoding", "User-Agent", "traceparent", "webhook-signature", "Webhook-Id", "svix-id", "relay-attempt",
        "Relay-Anything", "ce-id", "CE-Type",
    )),
]  # fmt: skip


async def test_headers_that_could_harm_are_refused_by_name(management: Management) -> None:
    for name, value in A8:
        body = {"name": "b", "url": "https://b.example/", "headers": {name: value}}
        answer = await management.client.post("/v1/subscriptions", json=body)
        assert answer.status_code == 422, (name, value)
        [wrong] = answer.json()["errors"]
        assert wrong["pointer"].startswith("#/headers"), (name, value)
        assert "planted" not in answer.text
    page = await management.client.get("/v1/subscriptions")
    assert page.json()["data"] == []


async def test_ordinary_headers_are_kept_sealed_and_only_their_names_are_shown(on_both: Management) -> None:
    given = {"Authorization": "Bearer planted", "x-empty": "", "X_Odd!#$%&'*+.^`|~9": 'planted "quoted" ~'}
    made = await on_both.subscription(headers=given)
    assert made["header_names"] == sorted(given)
    assert "planted" not in (await on_both.client.get(f"/v1/subscriptions/{made['id']}")).text
    stored = on_both.services.configuration.current.subscriptions[made["id"]]
    assert dict(stored.headers) == given
    rows = await on_both.database.read(partial(_raw_rows))
    assert b"planted" not in rows


def _raw_rows(conn: Any) -> bytes:
    from sqlalchemy import select

    from relay.store.schema import subscriptions

    return repr([tuple(row) for row in conn.execute(select(subscriptions))]).encode()
