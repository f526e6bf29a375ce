"""Every reading function, with every profile, takes anything; nothing unclear is taken for finished."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model import JobStatus, Secret
from relay.providers.cancelling import read_cancel
from relay.providers.pages import read_hop
from relay.providers.reading import NextHop, read_answer, read_notification
from relay.providers.splice import Unfit
from relay.providers.submitting import Filled, fill_request, match_call, read_submit, shown_key
from tests.providers.wire import CALLBACK, FOURTEEN, PROFILES

HEADERS = st.dictionaries(
    st.sampled_from(["authorization", "x-api-key", "retry-after", "webhook-id", "x", "openai-poll-after-ms"])
    | st.text(max_size=8),
    st.text(max_size=24) | st.sampled_from(["Basic", "Basic Og==", "Bearer", "Key x", "1"]),
    max_size=3,
)
# Names and words that the profiles look for, so that documents come near to real ones.
NAMES = st.sampled_from(
    "status state data result results response id job_id request_id output error type url is_url _links rel href next "
    "data_removed output_file_id payload response_url statuses eventData actorRunId resource generation_id".split()
)
WORDS = st.sampled_from(
    "completed succeeded Success COMPLETED done ready failed error running url results https://x/ http://x OK x".split()
)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=16,
)
BODIES = st.binary(max_size=60) | DOCUMENTS.map(lambda value: json.dumps(value).encode())
STATUSES = st.sampled_from([200, 201, 202, 204, 206, 301, 400, 401, 404, 409, 410, 429, 500]) | st.integers(-1, 1000)
PROVIDERS = st.sampled_from(FOURTEEN)
COMPLETED_WORDS = {"completed", "succeeded", "success", "done", "ready", "ok"}


def words_in(value: Any) -> set[str]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return {word for item in inner for word in words_in(item)}
    return {str(value).casefold()}


@settings(deadline=None)
@given(PROVIDERS, st.sampled_from(["POST", "GET", "PUT"]), st.text(max_size=30), HEADERS, BODIES)
def test_any_notification_is_read(provider: str, method: str, query: str, headers: dict[str, str], body: bytes) -> None:
    notice = read_notification(PROFILES[provider], method, query, headers, body)
    for text in (notice.event, notice.provider_job_id, notice.response_url, notice.provider_status, notice.error):
        assert text is None or (text.encode() and "\x00" not in text)
    assert not notice.inline or (notice.status is not None and notice.status.is_final)


@settings(deadline=None)
@given(PROVIDERS, STATUSES, HEADERS, st.binary(max_size=60))
def test_bytes_are_never_a_finished_job(provider: str, status: int, headers: dict[str, str], body: bytes) -> None:
    verdict = read_answer(PROFILES[provider], status, headers, body)
    assert verdict.kind not in ("completed", "elsewhere")


@settings(max_examples=300, deadline=None)
@given(PROVIDERS, STATUSES, HEADERS, DOCUMENTS)
def test_a_document_is_a_finished_job_only_with_a_2xx_and_a_word_or_a_mark_for_it(
    provider: str, status: int, headers: dict[str, str], document: Any
) -> None:
    verdict = read_answer(PROFILES[provider], status, headers, json.dumps(document).encode())
    if verdict.kind in ("completed", "elsewhere"):
        assert 200 <= status < 300
        assert words_in(document) & COMPLETED_WORDS or (provider == "netnut" and document["response"])
    assert (verdict.kind == "elsewhere") is (verdict.hop is not None)
    if verdict.hop is not None:
        urls = verdict.hop.candidates("https://base", "j", "https://job", {})
        assert urls and all(url.startswith(("http://", "https://", "HTTP")) for url in urls)


@settings(deadline=None)
@given(PROVIDERS, STATUSES, HEADERS, BODIES)
def test_any_answer_at_a_hop_is_read(provider: str, status: int, headers: dict[str, str], body: bytes) -> None:
    profile = PROFILES[provider]
    for hop in profile.fetch.hops:
        verdict = read_hop(profile, hop, status, headers, body)
        assert verdict.kind != "completed" or (200 <= status < 300 and body)
        assert verdict.kind != "rejected_credentials" or hop.credentials


@settings(deadline=None)
@given(PROVIDERS, STATUSES, HEADERS, BODIES)
def test_any_answer_to_a_submit_or_a_cancel_is_read(
    provider: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    profile = PROFILES[provider]
    said = read_submit(profile, "POST", "/v2/crawl", status, headers, body)
    assert (said.kind == "accepted") is (profile.submit is not None and status in profile.submit.accepted)
    for url in (said.response_url, said.status_url, said.cancel_url):
        assert url is None or url.lower().startswith(("http://", "https://"))
    assert read_cancel(profile, status, headers, body).kind != "took" or 200 <= status < 300


@settings(deadline=None)
@given(PROVIDERS, st.sampled_from(["POST", "GET", ""]), st.text(max_size=40))
def test_any_path_is_matched_or_not(provider: str, method: str, path: str) -> None:
    if match_call(PROFILES[provider], method, path, {"endpoint_id": "e"}) is not None:
        assert path.startswith("/") and not set(path) & set("\\%?# ")


@settings(deadline=None)
@given(PROVIDERS, st.text(max_size=40), st.text(max_size=60), st.binary(max_size=60) | BODIES, st.booleans())
def test_any_request_is_filled_or_said_to_be_unfit(
    provider: str, query: str, content_type: str, body: bytes, form: bool
) -> None:
    submit = PROFILES[provider].submit
    assert submit is not None
    for submission in submit.jobs:
        kind = "multipart/form-data; boundary=b" if form else content_type
        result = fill_request(
            submission,
            {"callback_url": Secret(CALLBACK), "webhook_id": Secret("w")},
            query=query,
            content_type=kind,
            body=b"--b" + body if form else body,
            own_url="https://relay.example/in/",
        )
        assert isinstance(result, Filled | Unfit)


@settings(deadline=None)
@given(PROVIDERS, HEADERS, st.text(max_size=40) | st.sampled_from(["token=%ff", "token=x", "&&token", "token==&"]))
def test_any_headers_and_query_show_a_key_or_none(provider: str, headers: dict[str, str], query: str) -> None:
    shown = shown_key(PROFILES[provider], headers, query)
    assert shown is None or shown.key.reveal()


@pytest.mark.parametrize("provider", FOURTEEN)
@pytest.mark.parametrize("oddity", [b"1e400", b"NaN", b'"\\ud800"', b'"\xff"', b"9" * 5000, b"[" * 9000 + b"]" * 9000])
def test_odd_values_hide_nothing(provider: str, oddity: bytes) -> None:
    body = b'{"odd":%s,"status":"failed","state":"Failed","id":"j","data":{"status":"FAILED"}}' % oddity
    kinds = {"oxylabs": "pending", "assemblyai": "pending"}  # they say faulted and error
    assert read_answer(PROFILES[provider], 200, {}, body).kind == kinds.get(provider, "failed")


def test_a_hop_whose_placeholders_are_not_known_has_no_url() -> None:
    rule = PROFILES["openai"].fetch.hops[0]
    assert NextHop(rule).candidates("https://h", "j", None, {}) == ()
    assert NextHop(rule, id="..").candidates("https://h", "j", None, {}) == ()
    assert NextHop(rule, id="f").candidates(None, "j", None, {}) == ()


def test_reading_a_notification_takes_microseconds() -> None:
    body = json.dumps(
        {"id": "evt_1", "type": "response.completed", "data": {"id": "resp_1"}, "pad": "x" * 300}
    ).encode()
    began = time.process_time()
    for _ in range(2000):
        notice = read_notification(PROFILES["openai"], "POST", "", {"webhook-id": "m"}, body)
    taken = (time.process_time() - began) / 2000
    assert notice.provider_job_id == "resp_1" and notice.status is not JobStatus.COMPLETED
    assert taken < 0.000_15


def test_a_large_request_is_filled_quickly() -> None:
    submit = PROFILES["openai"].submit
    assert submit is not None
    turns = b",".join(b'{"role":"user","content":[{"type":"text","text":"%d \\"{["}]}' % n for n in range(100_000))
    body = b'{"model":"m","input":[' + turns + b"]}"
    began = time.process_time()
    result = fill_request(submit.jobs[0], {}, query="", content_type="application/json", body=body)
    taken = time.process_time() - began
    assert isinstance(result, Filled) and result.body == b'{"background":true,' + body[1:]
    assert taken < 0.5
