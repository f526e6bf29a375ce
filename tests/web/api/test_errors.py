from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay.errors import StoreUnavailable
from relay.web import submit_docs
from relay.web.management import ENDPOINTS, build_management_app
from tests.support.clock import FakeClock
from tests.support.management import ADMIN_KEY, Management, client_of, webhook_body

JSON = {"content-type": "application/json"}


def assert_problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert (document["status"], document["code"]) == (status, code)
    assert document["request_id"] == answer.headers["x-request-id"]
    assert document["request_id"].startswith("req_")
    assert document["title"] and document["detail"]
    return document


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/webhook", "/v1/jobs/", "/v1/jobs/a/b/c", "/in/token"])
async def test_an_unknown_address_is_a_problem(management: Management, path: str) -> None:
    assert_problem(await management.client.get(path), 404, "not_found")


async def test_a_method_that_is_not_taken_names_those_that_are(management: Management) -> None:
    answer = await management.client.put("/v1/webhooks", json={})
    assert_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


async def test_a_malformed_id_and_an_unknown_one_are_the_same_404(management: Management) -> None:
    for item in ENDPOINTS:
        if item.prefix is None or item.needs_body:
            continue
        texts = set()
        for id in ("x", f"{item.prefix}_{'0' * 32}", f"{item.prefix}_{'F' * 32}", "%00", "wh_é"):
            answer = await management.client.request(item.method, item.path.replace("{id}", id))
            texts.add(assert_problem(answer, 404, "not_found")["detail"])
        assert len(texts) == 1, item.path


WRONG_QUERIES = [
    ("staus=waiting", "staus", "unknown_parameter"),
    ("limit=0", "limit", "greater_than_equal"),
    ("limit=201", "limit", "less_than_equal"),
    ("limit=ten", "limit", "value_error"),
    ("limit=5&limit=6", "limit", "repeated"),
    ("cursor=x", "cursor", "invalid_cursor"),
    ("status=done", "status", "enum"),
    ("status=", "status", "enum"),
    ("webhook_id=wh_x", "webhook_id", "string_pattern_mismatch"),
    ("created_after=yesterday", "created_after", "value_error"),
    ("created_after=2026-11-21T19:00:00", "created_after", "value_error"),
    ("created_after=2026-02-30T19:00:00Z", "created_after", "value_error"),
    ("provider_job_id=a%00b", "provider_job_id", "nul_character"),
]


async def test_a_wrong_query_parameter_is_named(management: Management) -> None:
    for query, parameter, code in WRONG_QUERIES:
        problem = assert_problem(await management.client.get(f"/v1/jobs?{query}"), 400, "invalid_parameter")
        assert [(item["parameter"], item["code"]) for item in problem["errors"]] == [(parameter, code)], query


UNTELLABLE_TIMES = ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z"]


@pytest.mark.parametrize("time", UNTELLABLE_TIMES)
async def test_a_time_that_no_answer_could_tell_is_refused(management: Management, time: str) -> None:
    key = await management.client.post("/v1/keys", json={"name": "late", "expires_at": time})
    assert assert_problem(key, 422, "validation_error")["errors"][0]["pointer"] == "#/expires_at"
    replay = await management.client.post("/v1/replays", json={"filter": {"created_after": time}})
    assert assert_problem(replay, 422, "validation_error")["errors"][0]["pointer"] == "#/filter/created_after"
    listed = await management.client.get("/v1/jobs", params={"created_before": time})
    assert "1970 to 9999" in assert_problem(listed, 400, "invalid_parameter")["errors"][0]["detail"]


async def test_every_address_refuses_unknown_parameters(management: Management) -> None:
    for item in ENDPOINTS:
        path = item.path.replace("{id}", f"{item.prefix}_{'0' * 32}").replace("{name}", "netnut")
        answer = await management.client.request(item.method, f"{path}?planet=earth")
        assert_problem(answer, 400, "invalid_parameter")


WRONG_BODIES = [
    (b"{}", {}, 415, "unsupported_media_type"),
    (b"{}", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
    (b"a=b", {"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
    (b"", {}, 400, "body_missing"),
    (b"", JSON, 400, "malformed_json"),
    (b"{", JSON, 400, "malformed_json"),
    (b"\xff", JSON, 400, "malformed_json"),
    (b'{"name": NaN}', JSON, 400, "malformed_json"),
    (b"[" * 100_000, JSON, 400, "malformed_json"),
    (b"[" * 100 + b"]" * 100, JSON, 422, "validation_error"),
    (b"null", JSON, 422, "validation_error"),
    (b"[]", JSON, 422, "validation_error"),
    (b'"x"', JSON, 422, "validation_error"),
    (b"x" * (1024 * 1024 + 1), JSON, 413, "body_too_large"),
]


async def test_a_body_of_the_wrong_form_is_refused(management: Management) -> None:
    for body, headers, status, code in WRONG_BODIES:
        answer = await management.client.post("/v1/webhooks", content=body, headers=headers)
        assert_problem(answer, status, code)


async def test_a_large_body_in_pieces_is_cut_off(management: Management) -> None:
    async def pieces() -> Any:
        for _ in range(64):
            yield b" " * 65_536

    answer = await management.client.post("/v1/webhooks", content=pieces(), headers=JSON)
    assert_problem(answer, 413, "body_too_large")


UNSTORABLE = [
    (r'{"name": "a\u0000b"}', "#/name", "nul_character"),
    (r'{"name": "a\ud800b"}', "#/name", "lone_surrogate"),
    (r'{"metadata": {"a/b": ["\u0000"]}}', "#/metadata/a~1b/0", "nul_character"),
    (r'{"metadata": {"\ud800": 1}}', "#/metadata/?", "lone_surrogate"),
    ('{"metadata": {"n": 9223372036854775808}}', "#/metadata/n", "integer_too_large"),
    ('{"metadata": {"n": -1' + "0" * 5000 + "}}", "#/metadata/n", "integer_too_large"),
    ('{"metadata": {"n": 1e400}}', "#/metadata/n", "number_too_large"),
]


async def test_what_no_column_holds_is_refused_by_place(management: Management) -> None:
    for text, pointer, code in UNSTORABLE:
        answer = await management.client.post("/v1/webhooks", content=text.encode(), headers=JSON)
        problem = assert_problem(answer, 422, "validation_error")
        assert (pointer, code) in [(item["pointer"], item["code"]) for item in problem["errors"]]


async def test_a_rate_whose_next_turn_no_clock_will_see_is_refused(management: Management) -> None:
    webhook, made = await management.webhook(), await management.subscription()
    replay = await management.make("/v1/replays", {"filter": {"created_after": "2026-01-01T00:00:00Z"}})
    for path, name in (
        (f"/v1/webhooks/{webhook['id']}", "fetch_rate_per_second"),
        (f"/v1/webhooks/{webhook['id']}", "notification_rate_per_second"),
        (f"/v1/subscriptions/{made['id']}", "rate_per_second"),
        (f"/v1/replays/{replay['id']}", "rate_per_second"),
    ):
        for rate in (5e-324, 1e-300, 0.000009):
            answer = await management.client.patch(path, json={name: rate})
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"#/{name}"), path
        assert (await management.client.patch(path, json={name: 0.00001})).status_code == 200


async def test_the_largest_integer_and_odd_characters_survive(on_both: Management) -> None:
    metadata = {"n": 2**63 - 1, "m": -(2**63), "text": "\U0001f600 \u2028 \x7f", "float": 1e308, "": None}
    made = await on_both.webhook("\U0001f600 name", metadata=metadata)
    shown = (await on_both.client.get(f"/v1/webhooks/{made['id']}")).json()
    assert (shown["name"], shown["metadata"]) == ("\U0001f600 name", metadata)


async def test_a_crash_is_a_500_without_a_word_about_it(management: Management) -> None:
    class Broken:
        async def check(self, url: str) -> None:
            raise RuntimeError("planted-in-exception")

    app = build_management_app(replace(management.services, door=Broken()))
    async with client_of(app, ADMIN_KEY) as client:
        with capture_logs() as lines:
            answer = await client.post("/v1/subscriptions", json={"name": "x", "url": "https://x.example/"})
    assert_problem(answer, 500, "internal_error")
    request_id = answer.json()["request_id"]
    told = [(line["event"], line["request_id"]) for line in lines]
    assert told == [("request.crashed", request_id), ("request.answered", request_id)]
    assert "planted" not in answer.text


async def test_while_the_database_is_away_the_answer_is_503(
    management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise StoreUnavailable("planted-host is away")

    monkeypatch.setattr(management.database, "read", away)
    answer = await management.client.get("/v1/jobs")
    assert_problem(answer, 503, "store_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert "planted" not in answer.text


async def test_pages_follow_one_another_without_gap_or_repeat(on_both: Management, clock: FakeClock) -> None:
    made = []
    for number in range(7):
        clock.advance(0.001)
        made.append((await on_both.webhook(f"w{number}"))["id"])
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        suffix = f"&cursor={cursor}" if cursor else ""
        page = (await on_both.client.get(f"/v1/webhooks?limit=3{suffix}")).json()
        seen += [item["id"] for item in page["data"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert (seen, pages) == (list(reversed(made)), 3)


async def test_a_cursor_is_good_for_its_own_list_only(management: Management, clock: FakeClock) -> None:
    for number in range(3):
        await management.webhook(f"w{number}")
        await management.subscription(f"s{number}")
    cursor = (await management.client.get("/v1/webhooks?limit=1")).json()["next_cursor"]
    assert (await management.client.get(f"/v1/webhooks?limit=2&cursor={cursor}")).status_code == 200
    assert_problem(await management.client.get(f"/v1/subscriptions?cursor={cursor}"), 400, "invalid_parameter")
    assert_problem(await management.client.get(f"/v1/webhooks?cursor={cursor}x"), 400, "invalid_parameter")


async def test_no_page_or_document_needs_a_key(management: Management) -> None:
    async with client_of(management.app, None) as client:
        document = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")
    assert document["openapi"].startswith("3.1")
    assert {(method.upper(), path) for path, methods in document["paths"].items() for method in methods} == {
        *((item.method, item.path) for item in ENDPOINTS),
        *((method.upper(), submit_docs.PATH) for method in submit_docs.METHODS),
    }
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<script" not in page.text
    assert "POST" in page.text and "/v1/webhooks/{id}/rotate" in page.text
    assert "<code>overlap_seconds</code>" in page.text and "&lt;code" not in page.text and "`" not in page.text


async def test_the_order_of_refusals(management: Management) -> None:
    async with client_of(management.app, None) as client:
        answer = await client.post("/v1/webhooks?planet=x", content=b"{")
        assert_problem(answer, 401, "key_missing")
    answer = await management.client.post("/v1/webhooks?planet=x", content=b"{")
    assert_problem(answer, 400, "invalid_parameter")
    answer = await management.client.post("/v1/webhooks", content=json.dumps(webhook_body()).encode())
    assert_problem(answer, 415, "unsupported_media_type")
