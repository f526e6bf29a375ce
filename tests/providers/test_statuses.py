"""One view of all providers' statuses: each row of the table of normalised statuses, as an answer to a fetch."""

from __future__ import annotations

from typing import Any

import pytest

from tests.providers.wire import FOURTEEN, PROFILES, answered

# What stands around a status in each provider's answer.
AROUND: dict[str, Any] = {
    "netnut": lambda word: {"traceID": "t", "status": word},
    "pulse": lambda word: {"job_id": "j", "status": word, "result": {"markdown": "x"}},
    "inference-net": lambda word: {"id": "g", "state": word, "stateMessage": "m", "response": {}},
    "freddy": lambda word: {"id": "resp_1", "status": word},
    "openai": lambda word: {"id": "resp_1", "object": "response", "status": word},
    "fal": lambda word: {"status": word, "request_id": "r"},
    "replicate": lambda word: {"id": "p", "status": word, "output": ["https://x"]},
    "runpod": lambda word: {"id": "j", "status": word, "output": {}},
    "assemblyai": lambda word: {"id": "t", "status": word, "error": "why"},
    "oxylabs": lambda word: {"id": "7", "status": word},
    "firecrawl": lambda word: {"success": True, "status": word, "data": [{"markdown": "x"}]},
    "apify": lambda word: {"data": {"id": "r", "status": word}},
    "reducto": lambda word: {"job_id": "j", "status": word, "reason": None},
    "brightdata": lambda word: {"snapshot_id": "s", "status": word},
}
ROWS = [
    ("netnut", "pending", ["processing", "queued"]),
    ("netnut", "failed", ["failed", "error"]),
    ("pulse", "pending", ["pending", "processing"]),
    ("pulse", "completed", ["completed"]),
    ("pulse", "failed", ["failed"]),
    ("pulse", "cancelled", ["canceled", "cancelled"]),
    ("pulse", "gone", ["expired"]),
    ("inference-net", "pending", ["Queued", "In Progress", "in_progress"]),
    ("inference-net", "completed", ["Success"]),
    ("inference-net", "failed", ["Failed"]),
    ("freddy", "pending", ["queued", "in_progress", "processing"]),
    ("freddy", "completed", ["completed"]),
    ("freddy", "failed", ["failed"]),
    ("freddy", "cancelled", ["cancelled"]),
    ("openai", "pending", ["queued", "in_progress", "validating", "finalizing", "cancelling"]),
    ("openai", "completed", ["completed", "incomplete"]),
    ("openai", "failed", ["failed"]),
    ("openai", "cancelled", ["cancelled"]),
    ("openai", "gone", ["expired"]),
    ("fal", "pending", ["IN_QUEUE", "IN_PROGRESS", "CANCELLATION_REQUESTED"]),
    ("fal", "elsewhere", ["COMPLETED"]),
    ("fal", "failed", ["ERROR"]),
    ("replicate", "pending", ["starting", "processing"]),
    ("replicate", "completed", ["succeeded"]),
    ("replicate", "failed", ["failed"]),
    ("replicate", "cancelled", ["canceled", "aborted"]),
    ("runpod", "pending", ["IN_QUEUE", "IN_PROGRESS", "RUNNING"]),
    ("runpod", "completed", ["COMPLETED"]),
    ("runpod", "failed", ["FAILED", "TIMED_OUT"]),
    ("runpod", "cancelled", ["CANCELLED"]),
    ("assemblyai", "pending", ["queued", "processing"]),
    ("assemblyai", "completed", ["completed"]),
    ("assemblyai", "failed", ["error"]),
    ("oxylabs", "pending", ["pending"]),
    ("oxylabs", "elsewhere", ["done"]),
    ("oxylabs", "failed", ["faulted"]),
    ("firecrawl", "pending", ["scraping"]),
    ("firecrawl", "completed", ["completed"]),
    ("firecrawl", "failed", ["failed"]),
    ("firecrawl", "cancelled", ["cancelled"]),
    ("apify", "pending", ["READY", "RUNNING", "TIMING-OUT", "ABORTING"]),
    ("apify", "elsewhere", ["SUCCEEDED"]),
    ("apify", "failed", ["FAILED", "TIMED-OUT", "TIMED_OUT"]),
    ("apify", "cancelled", ["ABORTED"]),
    ("reducto", "pending", ["Pending", "Idle"]),
    ("reducto", "completed", ["Completed"]),
    ("reducto", "failed", ["Failed"]),
    ("brightdata", "pending", ["starting", "scheduled", "running", "building"]),
    ("brightdata", "elsewhere", ["ready"]),
    ("brightdata", "failed", ["failed", "error"]),
    ("brightdata", "cancelled", ["canceled"]),
]


@pytest.mark.parametrize(("provider", "kind", "words"), ROWS, ids=[f"{row[0]}-{row[1]}" for row in ROWS])
def test_each_provider_s_words_mean_what_the_table_says(provider: str, kind: str, words: list[str]) -> None:
    for word in words:
        for spelt in (word, word.upper(), word.lower().replace("_", "-")):
            verdict = answered(provider, AROUND[provider](spelt))
            assert (verdict.kind, verdict.provider_status) == (kind, spelt)


def test_every_provider_is_in_the_table() -> None:
    assert {row[0] for row in ROWS} == set(AROUND) == set(FOURTEEN) == set(PROFILES)


@pytest.mark.parametrize("provider", FOURTEEN)
@pytest.mark.parametrize("word", ["brand-new", "completed?", "not completed", "0", "", "null", "success ful"])
def test_a_status_that_nobody_knows_is_never_completed(provider: str, word: str) -> None:
    verdict = answered(provider, AROUND[provider](word))
    assert verdict.kind == "pending"
    assert verdict.reason in ("unknown_status", "no_marker")


@pytest.mark.parametrize("provider", FOURTEEN)
@pytest.mark.parametrize("word", [None, True, 7.5, [], {}, ["completed"], {"completed": True}])
def test_a_status_that_is_no_text_is_never_completed(provider: str, word: object) -> None:
    assert answered(provider, AROUND[provider](word)).kind == "pending"


GONE = [
    ("netnut", 404, {}, "not_found"),
    ("pulse", 404, {"detail": "no such job"}, "not_found"),
    ("inference-net", 404, {}, "pending"),
    ("inference-net", 410, {}, "gone"),
    ("freddy", 404, {}, "not_found"),
    ("openai", 404, {"error": {"message": "not found"}}, "not_found"),
    ("fal", 404, {"detail": "Request not found"}, "not_found"),
    ("replicate", 200, {"id": "p", "status": "succeeded", "output": None, "data_removed": True}, "gone"),
    ("replicate", 200, {"id": "p", "status": "failed", "output": None, "data_removed": True}, "failed"),
    ("runpod", 404, {}, "not_found"),
    ("assemblyai", 404, {}, "not_found"),
    ("oxylabs", 404, {}, "not_found"),
    ("firecrawl", 404, {"success": False}, "not_found"),
    ("apify", 404, {"error": {"type": "record-not-found"}}, "not_found"),
    ("reducto", 404, {}, "not_found"),
    ("brightdata", 404, b"Snapshot does not exist", "not_found"),
]


@pytest.mark.parametrize(("provider", "status", "body", "kind"), GONE)
def test_what_is_no_longer_there_is_told_from_what_is_not_there_yet(
    provider: str, status: int, body: object, kind: str
) -> None:
    assert answered(provider, body, status).kind == kind


@pytest.mark.parametrize("provider", FOURTEEN)
@pytest.mark.parametrize(
    ("status", "kind"),
    [(202, "pending"), (401, "rejected_credentials"), (403, "rejected_credentials"), (429, "throttled"),
     (500, "server_error"), (503, "server_error"), (302, "unexpected")],
)  # fmt: skip
def test_http_statuses_mean_the_same_with_every_provider(provider: str, status: int, kind: str) -> None:
    assert answered(provider, b"<html>", status).kind == kind


def test_an_incomplete_response_is_a_completed_result_with_a_caveat() -> None:
    verdict = answered("openai", {"id": "resp_1", "status": "incomplete", "incomplete_details": {"reason": "x"}})
    assert verdict.kind == "completed" and verdict.partial


def test_completed_with_an_error_is_a_failure_at_fal() -> None:
    verdict = answered("fal", {"status": "COMPLETED", "error": "out of memory", "error_type": "runner"})
    assert (verdict.kind, verdict.reason, verdict.error) == ("failed", "error", "out of memory")
    assert answered("fal", {"status": "COMPLETED", "error": None}).kind == "elsewhere"
    assert answered("fal", {"status": "IN_PROGRESS", "error": "x"}).kind == "pending"


def test_freddy_speaks_two_dialects() -> None:
    guide = answered("freddy", {"id": "resp_1", "status": "completed", "completed_at": 1741476550})
    reference = answered("freddy", {"id": "resp_1", "status": "completed", "completedAt": "2025-03-08T23:29:10Z"})
    assert guide.completed_at == reference.completed_at == 1_741_476_550_000


def test_a_failure_says_why() -> None:
    assert answered("pulse", {"status": "failed", "error": "no pages"}).error == "no pages"
    assert answered("inference-net", {"state": "Failed", "stateMessage": "no capacity"}).error == "no capacity"
    assert answered("freddy", {"status": "failed", "error": {"message": "too long", "code": 1}}).error == "too long"
    assert answered("reducto", {"status": "Failed", "reason": "corrupt"}).error == "corrupt"
    assert answered("apify", {"data": {"status": "FAILED", "statusMessage": "exit 1"}}).error == "exit 1"
    assert answered("brightdata", {"status": "failed", "error_message": "blocked"}).error == "blocked"


def test_hints_and_expiry_times_are_read() -> None:
    assert answered("openai", {"status": "queued"}, headers={"openai-poll-after-ms": "2500"}).hint_seconds == 2.5
    assert answered("pulse", {}, 429, {"Retry-After-Ms": "700"}).hint_seconds == 0.7
    expires = answered("firecrawl", {"status": "completed", "expiresAt": "2026-11-22T00:00:00.000Z"}).expires_at
    assert expires == 1_795_305_600_000
