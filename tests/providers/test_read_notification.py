"""What notifications say, NetNut's and those of a made-up provider that uses everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.clock import parse_rfc3339
from relay.model import JobStatus
from relay.providers.loader import parse_profile
from relay.providers.reading import Notice, read_notification
from tests.support.messages import ACME, FINAL, MINIMAL, NETNUT, URL, answered, told

# --- NetNut's notifications ---


def test_netnuts_thin_notification_names_the_url() -> None:
    notice = told({"message": "Request completed", "traceId": "7b0e-1", "response_url": URL})
    assert notice == Notice(provider_job_id="7b0e-1", response_url=URL, error="Request completed")


def test_netnuts_thin_notification_may_have_nothing_but_the_url() -> None:
    assert told({"response_url": URL}) == Notice(response_url=URL)


@pytest.mark.parametrize(
    ("word", "status"), [("completed", JobStatus.COMPLETED), ("error", JobStatus.FAILED), (7, None)]
)
def test_netnuts_thin_notification_may_have_a_status_which_is_only_a_hint(
    word: object, status: JobStatus | None
) -> None:
    notice = told({"status": word, "response_url": URL})
    assert notice == Notice(response_url=URL, status=status, provider_status=str(word))


@pytest.mark.parametrize("status", ["completed", "brand-new", "processing"])
def test_a_status_that_netnut_does_not_document_cannot_lose_a_payload_that_is_there(status: str) -> None:
    notice = told(FINAL | {"status": status})
    assert notice.inline and notice.status is JobStatus.COMPLETED
    assert answered(FINAL | {"status": status}).kind == "completed"


@pytest.mark.parametrize("key", ["traceID", "traceId"])
def test_netnut_spells_its_id_in_two_ways(key: str) -> None:
    assert told({key: "a", "response_url": URL}).provider_job_id == "a"


def test_netnuts_full_callback_is_the_payload_itself() -> None:
    notice = told(FINAL)
    assert notice == Notice(provider_job_id="7b0e-1", inline=True, status=JobStatus.COMPLETED)
    assert NETNUT.callback is not None and NETNUT.callback.may_take_inline(authenticated=False)


def test_netnuts_full_callback_counts_even_without_an_id() -> None:
    notice = told({"response": {"text": "t"}})
    assert notice.inline and notice.problem is None


def test_a_url_beats_a_payload_in_the_same_notification_because_it_can_be_fetched_with_credentials() -> None:
    notice = told(FINAL | {"response_url": URL})
    assert not notice.inline and notice.response_url == URL


@pytest.mark.parametrize("response", [None, {}, [], "", "processing", True, ["x"]])
def test_only_a_response_object_is_netnuts_result(response: object) -> None:
    assert not told({"traceID": "a", "response": response}).inline
    assert answered({"traceID": "a", "response": response}).kind == "pending"


# --- notifications that are no use ---


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "empty_body"),
        (b" \r\n", "empty_body"),
        (b"response_url=https://x", "not_json"),
        (b'{"response_url": ', "not_json"),
        (b"\xff\xfe{", "not_json"),
        ('{"response_url":"https://x"}'.encode("utf-16"), "not_json"),
        (b"{}", "no_id_and_no_url"),
        (b"null", "no_id_and_no_url"),
        (b'["response_url"]', "no_id_and_no_url"),
        (b'{"response_url": null, "traceID": ""}', "no_id_and_no_url"),
        (b'{"response_url": {"a": 1}}', "no_id_and_no_url"),
        (b'{"response_url": true}', "no_id_and_no_url"),
        (b"[" * 50_000 + b"]" * 50_000, "no_id_and_no_url"),
        (b'{"response_url":"https://x/\\u0000"}', "bad_url"),
        (b'{"response_url":"https://x/\\n"}', "bad_url"),
        (b'{"response_url":"https://x/%s"}' % (b"y" * 9000), "bad_url"),
        (b'{"traceID":"two words"}', "bad_id"),
        (b'{"traceID":"%s"}' % (b"y" * 257), "bad_id"),
        (b'{"traceID":".."}', "bad_id"),
        (b'{"traceID":"\\ud800"}', "bad_id"),
        ('{"traceID":"é"}'.encode(), "bad_id"),
        (b'{"traceID":"a\\r\\nb"}', "bad_id"),
    ],
)
def test_a_notification_that_cannot_be_used_says_why(body: bytes, problem: str) -> None:
    notice = told(body)
    assert notice.problem == problem
    assert notice.provider_job_id is None and not notice.inline


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"response_url":"https://x/1","traceID":"a"}',
        b'{"cost":1e400,"response_url":"https://x/1","traceID":"a"}',
        b'{"cost":NaN,"response_url":"https://x/1","traceID":"a"}',
        b'{"text":"\\ud800","response_url":"https://x/1","traceID":"a"}',
        b'{"text":"\xff","response_url":"https://x/1","traceID":"a"}',
        b'{"n":' + b"7" * 5000 + b',"response_url":"https://x/1","traceID":"a"}',
        b'{"response_url":"https://wrong","response_url":"https:\\/\\/x\\/1","traceID":"a"}',
        b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b',"response_url":"https://x/1","traceID":"a"}',
    ],
)
def test_ids_and_urls_are_read_tolerantly(body: bytes) -> None:
    assert told(body) == Notice(response_url="https://x/1", provider_job_id="a")


def test_an_unusable_id_does_not_lose_a_result_that_can_be_had_without_it() -> None:
    assert told({"traceID": "two words", "response_url": URL}) == Notice(response_url=URL)
    notice = told(FINAL | {"traceID": "two words"})
    assert notice.inline and notice.provider_job_id is None and notice.problem is None


def test_a_number_can_be_an_id() -> None:
    assert told({"traceID": 12345678901234567890}).provider_job_id == "12345678901234567890"


# --- everything else a notification can say ---

ACME_BODY = {
    "type": "job.done",
    "data": {"id": "j1", "status": "In-Progress", "completed_at": 1750861210, "error": "a\nb"},
    "expiresAt": "2026-11-21T21:00:00+01:00",
}


def test_a_notification_is_read_by_all_paths_of_its_profile() -> None:
    assert told(ACME_BODY, headers={"Webhook-Id": "msg_1"}, profile=ACME) == Notice(
        event="job.done",
        provider_job_id="j1",
        status=JobStatus.WAITING,
        provider_status="In-Progress",
        delivery_id="msg_1",
        completed_at=parse_rfc3339("2025-06-25T14:20:10Z"),
        expires_at=parse_rfc3339("2026-11-21T20:00:00Z"),
        error="a b",
    )


def test_the_first_path_that_leads_to_a_value_wins() -> None:
    both = {"data": {"id": "first"}, "items": [{"id": "second"}]}
    assert told(both, profile=ACME).provider_job_id == "first"
    assert told({"data": {"id": None}} | {"items": [{"id": "second"}]}, profile=ACME).provider_job_id == "second"
    assert told({}, query="job=third&job=fourth", profile=ACME).provider_job_id == "third"


def test_a_notification_by_get_has_its_id_in_the_query() -> None:
    notice = read_notification(ACME, "GET", "job=j%2F1", {}, b"")
    assert notice.provider_job_id == "j/1" and notice.problem is None
    assert read_notification(ACME, "GET", "", {}, b"").problem == "no_id_and_no_url"


@pytest.mark.parametrize("event", ["webhook.test", "job.started"])
def test_events_that_the_profile_ignores_are_ignored(event: str) -> None:
    assert told({"type": event}, profile=ACME) == Notice(event=event, ignored=True)
    assert told({}, headers={"x-acme-event": event}, profile=ACME).ignored


@pytest.mark.parametrize("event", ["webhook.tests", "job.started.now", "Webhook.Test"])
def test_other_events_are_not_ignored(event: str) -> None:
    assert not told({"type": event, "data": {"id": "a"}}, profile=ACME).ignored


@pytest.mark.parametrize(
    ("status", "expected", "inline"),
    [
        ("succeeded", JobStatus.COMPLETED, True),
        ("incomplete", JobStatus.COMPLETED, True),
        ("failed", JobStatus.FAILED, True),
        (None, JobStatus.COMPLETED, True),
        ("queued", JobStatus.WAITING, False),
        ("brand-new", None, False),
    ],
)
def test_an_inline_payload_counts_only_with_a_final_status(
    status: str | None, expected: JobStatus | None, inline: bool
) -> None:
    notice = told({"data": {"id": "a", "status": status, "output": [1]}}, profile=ACME)
    assert (notice.status, notice.inline) == (expected, inline)
    assert notice.partial == (status == "incomplete")


def test_a_provider_that_never_calls_back_has_no_notifications() -> None:
    assert told({"id": "a"}, profile=parse_profile(MINIMAL, "x")).problem == "no_id_and_no_url"


@pytest.mark.parametrize("when", ["2026-11-21T19:00:00", "yesterday", 5, 10**30, -1, "0001-01-01T00:00:00+23:59", True])
def test_a_time_that_is_not_certain_is_none(when: object) -> None:
    assert told({"data": {"id": "a", "completed_at": when}}, profile=ACME).completed_at is None


@pytest.mark.parametrize("when", [1750861210, "1750861210", 1750861210000, 1750861210.0, "2025-06-25T14:20:10.000Z"])
def test_a_time_is_read_in_each_usual_form(when: object) -> None:
    notice = told({"data": {"id": "a", "completed_at": when}}, profile=ACME)
    assert notice.completed_at == parse_rfc3339("2025-06-25T14:20:10Z")


def test_what_is_read_can_be_stored_as_text() -> None:
    body = b'{"data":{"id":"a","status":"a\\u0000b\\ud800","error":"%s"}}' % (b"\\u0000x" * 1000)
    notice = told(body, profile=ACME)
    assert notice.provider_status == "a b\ufffd"
    assert notice.error is not None and len(notice.error) == 500 and "\x00" not in notice.error


@given(st.binary(), st.text(max_size=50), st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3))
def test_any_notification_is_read_and_none_is_taken_for_a_payload(
    body: bytes, query: str, headers: dict[str, str]
) -> None:
    for profile in (NETNUT, ACME):
        notice = read_notification(profile, "POST", query, headers, body)
        assert not notice.inline
        for text in (notice.provider_job_id, notice.response_url, notice.provider_status, notice.event, notice.error):
            assert text is None or (text.encode() and "\x00" not in text)
