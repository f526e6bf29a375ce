"""What answers to a fetch mean, NetNut's and those of a made-up provider that uses everything."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.clock import parse_rfc3339
from relay.providers.reading import Verdict, read_answer
from tests.support.messages import ACME, FINAL, NETNUT, answered


def test_netnuts_final_answer_is_completed() -> None:
    assert answered(FINAL) == Verdict(kind="completed", reason="marker", provider_job_id="7b0e-1")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"),
        (b"<html><body>response</body></html>", "not_json"),
        (json.dumps(FINAL).encode()[:-1], "not_json"),
        (b"{}", "no_marker"),
        (b"[]", "no_marker"),
        (b'{"status":"completed"}', "no_marker"),
        (b'{"message":"still processing"}', "no_marker"),
        (b'{"data":{"response":{"text":"t"}}}', "no_marker"),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 204, 206])
def test_a_2xx_without_the_marker_is_pending(body: bytes, reason: str, status: int) -> None:
    verdict = answered(body, status)
    assert (verdict.kind, verdict.reason) == ("pending", reason)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("failed", "failed"),
        ("error", "failed"),
        ("canceled", "cancelled"),
        ("processing", "pending"),
        ("new", "pending"),
    ],
)
def test_netnuts_statuses_count_where_the_result_is_missing(status: str, kind: str) -> None:
    verdict = answered({"traceID": "a", "status": status, "error": "the model did not answer"})
    assert (verdict.kind, verdict.provider_status) == (kind, status)
    assert verdict.error == "the model did not answer"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (202, "pending"),
        (425, "pending"),
        (404, "not_found"),
        (410, "gone"),
        (401, "rejected_credentials"),
        (403, "rejected_credentials"),
        (429, "throttled"),
        (408, "server_error"),
        (500, "server_error"),
        (503, "server_error"),
        (599, "server_error"),
        (302, "unexpected"),
        (307, "unexpected"),
        (400, "unexpected"),
        (451, "unexpected"),
        (100, "unexpected"),
        (0, "unexpected"),
    ],
)
def test_the_http_status_decides_before_the_body(status: int, kind: str) -> None:
    assert answered(FINAL, status).kind == kind


def test_a_404_is_pending_where_the_profile_says_so() -> None:
    assert answered({}, 404, profile=ACME).kind == "pending"
    assert answered({}, 410, profile=ACME).kind == "gone"


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        ({"status": "queued"}, "pending", "status"),
        ({"status": "IN_PROGRESS", "output": 1}, "pending", "status"),
        ({"status": "succeeded", "output": 1}, "completed", "status"),
        ({"state": "Succeeded", "output": 1}, "completed", "status"),
        ({"status": "succeeded"}, "pending", "no_marker"),
        ({"status": "succeeded", "output": None}, "pending", "no_marker"),
        ({"status": "succeeded", "output": 1, "data_removed": True}, "gone", "removed"),
        ({"status": "succeeded", "output": 1, "data_removed": False}, "completed", "status"),
        ({"status": "finalizing", "output": 1}, "pending", "unknown_status"),
        ({"status": "failed"}, "failed", "status"),
        ({"status": "timed out", "output": 1}, "failed", "status"),
        ({"status": "canceled"}, "cancelled", "status"),
        ({"status": "expired"}, "gone", "status"),
        ({"output": 1}, "completed", "marker"),
        ({"status": True, "output": 1}, "completed", "marker"),
        ({}, "pending", "no_marker"),
    ],
)
def test_statuses_and_marker_decide_together(body: object, kind: str, reason: str) -> None:
    verdict = answered(body, profile=ACME)
    assert (verdict.kind, verdict.reason) == (kind, reason)


def test_an_unknown_status_is_kept_for_people() -> None:
    assert answered({"status": "finalizing"}, profile=ACME).provider_status == "finalizing"


def test_an_incomplete_result_is_partial() -> None:
    verdict = answered({"status": "incomplete", "output": 1}, profile=ACME)
    assert verdict.kind == "completed" and verdict.partial
    assert not answered({"status": "incomplete"}, profile=ACME).partial


def test_a_failure_says_what_went_wrong() -> None:
    assert answered({"status": "failed", "error": {"message": "boom"}}, profile=ACME).error == "boom"
    assert answered({"status": "failed", "error": "boom"}, profile=ACME).error == "boom"
    assert answered({"status": "failed", "error": "x" * 9000}, profile=ACME).error == "x" * 500
    assert answered({"error": "quota"}, 429, profile=ACME).error == "quota"
    assert answered(FINAL | {"message": "ok"}).error is None


def test_times_ids_and_hints_are_read_from_an_answer() -> None:
    body = {"id": "j1", "status": "queued", "completed_at": "2026-11-21T19:00:00Z", "expires_at": 1800000000}
    headers = {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT", "ACME-poll-after-ms": "1500"}
    verdict = answered(body, headers=headers, profile=ACME)
    assert verdict.provider_job_id == "j1"
    assert verdict.completed_at == parse_rfc3339("2026-11-21T19:00:00Z")
    assert verdict.expires_at == 1_800_000_000_000
    assert verdict.retry_after == "Fri, 31 Dec 9999 23:59:59 GMT"
    assert verdict.hint_seconds == 1.5


@pytest.mark.parametrize("value", ["", "soon", "-1", "nan", "1e9", "9" * 40])
def test_a_hint_that_is_no_number_is_none(value: str) -> None:
    assert answered({}, headers={"acme-poll-after-ms": value}, profile=ACME).hint_seconds is None


@pytest.mark.parametrize(
    "oddity", [b"1e400", b"NaN", b'"\\ud800"', b'"\xff"', b"9" * 5000, b"[" * 25_000 + b"]" * 25_000]
)
def test_an_odd_value_does_not_hide_the_result(oddity: bytes) -> None:
    assert answered(b'{"odd":%s,"response":{"odd":%s},"traceID":"a"}' % (oddity, oddity)).kind == "completed"


@given(st.binary(), st.integers(0, 999), st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3))
def test_any_answer_is_read_and_none_is_completed(body: bytes, status: int, headers: dict[str, str]) -> None:
    for profile in (NETNUT, ACME):
        assert read_answer(profile, status, headers, body).kind != "completed"


@given(st.data())
def test_a_damaged_answer_is_completed_only_if_it_still_reads_as_one(data: st.DataObject) -> None:
    body = bytearray(json.dumps(FINAL).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.sampled_from(list(b'{}[]",:\\ 0eN')))
    if answered(bytes(body)).kind == "completed":
        assert json.loads(bytes(body))["response"]


NAMES = st.sampled_from(["response", "status", "data", "error", "traceID", "response_url"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=10
)


@given(DOCUMENTS)
def test_whatever_json_comes_completed_means_that_the_marker_is_there(value: object) -> None:
    if answered(value).kind == "completed":
        assert isinstance(value, dict) and isinstance(value["response"], dict) and value["response"]


def test_an_answer_of_sixteen_mebibytes_costs_little_time_and_no_memory() -> None:
    items = b",".join(b'{"id":%d,"text":"item %d","x":[1.5,true,null]}' % (n, n) for n in range(330_000))
    body = b'{"traceID":"t1","response":{"items":[' + items + b']},"message":"done"}'
    body += b" " * (16 * 2**20 - len(body))
    started = time.process_time()
    verdict = read_answer(NETNUT, 200, {}, body)
    taken = time.process_time() - started
    tracemalloc.start()
    read_answer(NETNUT, 200, {}, body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert verdict.kind == "completed"
    assert peak < 100_000
    assert taken < 0.15
