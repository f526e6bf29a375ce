"""What the fourteen providers' notifications say."""

from __future__ import annotations

from typing import Any

import pytest

from relay.model import JobStatus
from relay.providers.reading import Notice
from tests.providers.wire import FOURTEEN, PROFILES, told

GENERATION = {
    "event": "generation.completed",
    "timestamp": "2026-11-21T19:00:00Z",
    "webhook_id": "AhALzdz8S",
    "generation_id": "g-1",
    "data": {"state": "Success", "request": {}, "response": {"id": "x"}, "finishedAt": "2026-11-21T18:59:00Z"},
}
GROUP = {
    "event": "slow-group.completed",
    "group_id": "grp-1",
    "data": {"group_size": 2, "status": "completed", "generations": [{"generationId": "a", "state": "Success"}]},
}
PREDICTION = {"id": "p1", "status": "succeeded", "output": ["https://replicate.delivery/x"], "error": None}
RUN = {
    "eventType": "ACTOR.RUN.SUCCEEDED",
    "eventData": {"actorId": "a", "actorRunId": "run1"},
    "resource": {"id": "run1", "status": "SUCCEEDED", "finishedAt": "2026-11-21T18:59:00.000Z"},
}
OXY = {
    "id": "7012",
    "status": "done",
    "_links": [
        {"rel": "self", "href": "http://data.oxylabs.io/v1/queries/7012", "method": "GET"},
        {"rel": "results", "href": "http://data.oxylabs.io/v1/queries/7012/results", "method": "GET"},
    ],
}

# Provider, headers, body, and the fields of the notice that are not at their defaults.
SAID: list[tuple[str, dict[str, str], Any, dict[str, Any]]] = [
    ("pulse", {"webhook-id": "m1"}, {"type": "job.completed", "data": {"job_id": "j1", "status": "completed"}},
     {"event": "job.completed", "provider_job_id": "j1", "delivery_id": "m1", "status": JobStatus.COMPLETED,
      "provider_status": "completed"}),
    ("pulse", {"svix-id": "m2"}, {"event": "job.cancelled", "job_id": "j1"},
     {"event": "job.cancelled", "provider_job_id": "j1", "delivery_id": "m2"}),
    ("pulse", {}, {"type": "job.processing", "job_id": "j1"}, {"event": "job.processing", "ignored": True}),
    ("pulse", {}, {"type": "job.created", "data": {"job_id": "j1"}}, {"event": "job.created", "ignored": True}),
    ("inference-net", {}, GENERATION,
     {"event": "generation.completed", "provider_job_id": "g-1", "status": JobStatus.COMPLETED, "inline": True,
      "provider_status": "Success", "completed_at": 1_795_287_540_000}),
    ("inference-net", {}, GENERATION | {"data": {"state": "Failed", "stateMessage": "no capacity"}},
     {"event": "generation.completed", "provider_job_id": "g-1", "status": JobStatus.FAILED, "inline": True,
      "provider_status": "Failed", "error": "no capacity"}),
    ("inference-net", {}, GENERATION | {"data": {"state": "Stalled"}},
     {"event": "generation.completed", "provider_job_id": "g-1", "provider_status": "Stalled"}),
    ("inference-net", {}, GROUP,
     {"event": "slow-group.completed", "provider_job_id": "grp-1", "status": JobStatus.COMPLETED, "inline": True,
      "provider_status": "completed", "result_path": "/v1/async/group/grp-1/generations"}),
    ("inference-net", {"X-Inference-Event": "webhook.test"}, {}, {"event": "webhook.test", "ignored": True}),
    ("inference-net", {"x-inference-generation-id": "g-2"}, {"event": "async-embedding.completed"},
     {"event": "async-embedding.completed", "provider_job_id": "g-2"}),
    ("openai", {"webhook-id": "wh_1"}, {"id": "evt_1", "type": "response.completed", "data": {"id": "resp_1"}},
     {"event": "response.completed", "provider_job_id": "resp_1", "delivery_id": "wh_1"}),
    ("openai", {}, {"type": "batch.expired", "data": {"id": "batch_1"}},
     {"event": "batch.expired", "provider_job_id": "batch_1"}),
    ("openai", {}, {"type": "fine_tuning.job.succeeded", "data": {"id": "ft_1"}},
     {"event": "fine_tuning.job.succeeded", "ignored": True}),
    ("fal", {}, {"request_id": "r1", "gateway_request_id": "g", "status": "OK", "payload": {"images": [1]}},
     {"provider_job_id": "r1", "status": JobStatus.COMPLETED, "provider_status": "OK", "inline": True}),
    ("fal", {}, {"request_id": "r1", "status": "ERROR", "error": "boom", "payload": None},
     {"provider_job_id": "r1", "status": JobStatus.FAILED, "provider_status": "ERROR", "error": "boom",
      "inline": True}),
    ("fal", {}, {"request_id": "r1", "status": "OK", "payload": None, "payload_error": "not serialisable"},
     {"provider_job_id": "r1", "status": JobStatus.COMPLETED, "provider_status": "OK"}),
    ("replicate", {"webhook-id": "m3"}, PREDICTION,
     {"provider_job_id": "p1", "status": JobStatus.COMPLETED, "provider_status": "succeeded", "inline": True,
      "delivery_id": "m3"}),
    ("replicate", {}, PREDICTION | {"status": "processing", "output": ["a"]},
     {"provider_job_id": "p1", "status": JobStatus.WAITING, "provider_status": "processing"}),
    ("replicate", {}, PREDICTION | {"status": "canceled", "output": None},
     {"provider_job_id": "p1", "status": JobStatus.CANCELLED, "provider_status": "canceled"}),
    ("runpod", {}, {"id": "j-u1", "status": "COMPLETED", "output": {"x": 1}, "delayTime": 5},
     {"provider_job_id": "j-u1", "status": JobStatus.COMPLETED, "provider_status": "COMPLETED"}),
    ("assemblyai", {}, {"transcript_id": "t1", "status": "completed"},
     {"event": "completed", "provider_job_id": "t1", "status": JobStatus.COMPLETED, "provider_status": "completed"}),
    ("assemblyai", {}, {"transcript_id": "t1", "status": "error"},
     {"event": "error", "provider_job_id": "t1", "status": JobStatus.FAILED, "provider_status": "error"}),
    ("assemblyai", {}, {"status": "redacted_audio_ready", "redacted_audio_url": "https://x"},
     {"event": "redacted_audio_ready", "ignored": True}),
    ("oxylabs", {}, OXY, {"provider_job_id": "7012", "status": JobStatus.COMPLETED, "provider_status": "done"}),
    ("firecrawl", {}, {"success": True, "type": "crawl.completed", "id": "c1", "webhookId": "w1", "data": []},
     {"event": "crawl.completed", "provider_job_id": "c1", "delivery_id": "w1"}),
    ("firecrawl", {}, {"success": True, "type": "batch_scrape.completed", "id": "b1", "data": []},
     {"event": "batch_scrape.completed", "provider_job_id": "b1", "result_path": "/v2/batch/scrape/b1"}),
    ("firecrawl", {}, {"success": True, "type": "crawl.page", "id": "c1", "webhookId": "w2", "data": [{}]},
     {"event": "crawl.page", "ignored": True, "delivery_id": "w2"}),
    ("apify", {"X-Apify-Webhook-Dispatch-Id": "d1"}, RUN,
     {"event": "ACTOR.RUN.SUCCEEDED", "provider_job_id": "run1", "status": JobStatus.COMPLETED, "delivery_id": "d1",
      "provider_status": "SUCCEEDED", "completed_at": 1_795_287_540_000}),
    ("apify", {}, {"eventType": "ACTOR.RUN.ABORTED", "eventData": {"actorRunId": "run2"}},
     {"event": "ACTOR.RUN.ABORTED", "provider_job_id": "run2"}),
    ("apify", {}, {"eventType": "TEST"}, {"event": "TEST", "ignored": True}),
    ("reducto", {"svix-id": "m4"}, {"job_id": "j1", "status": "Completed", "metadata": {}},
     {"provider_job_id": "j1", "status": JobStatus.COMPLETED, "provider_status": "Completed", "delivery_id": "m4"}),
    ("brightdata", {}, {"snapshot_id": "s_1", "status": "ready"},
     {"provider_job_id": "s_1", "status": JobStatus.COMPLETED, "provider_status": "ready"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "headers", "body", "said"), SAID, ids=[f"{n}-{row[0]}" for n, row in enumerate(SAID)]
)
def test_a_notification_says(provider: str, headers: dict[str, str], body: Any, said: dict[str, Any]) -> None:
    assert told(provider, body, headers) == Notice(**said)


def test_bright_data_may_call_with_the_id_in_the_query() -> None:
    assert told("brightdata", b"", query="snapshot_id=s_1").provider_job_id == "s_1"


def test_a_query_of_very_many_fields_is_not_read() -> None:
    assert told("brightdata", b"", query="&".join(f"a{n}=1" for n in range(300))).problem == "empty_body"


def test_freddy_never_calls() -> None:
    assert PROFILES["freddy"].callback is None


@pytest.mark.parametrize("provider", [name for name in FOURTEEN if name != "freddy"])
@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"null", b"[]", b'"x"', b"\xff", b"[" * 3000])
def test_a_notification_without_anything_in_it_names_its_problem(provider: str, body: bytes) -> None:
    notice = told(provider, body)
    assert notice.problem in ("empty_body", "not_json", "no_id_and_no_url")
    assert not notice.inline and notice.result_path is None


@pytest.mark.parametrize(
    ("provider", "authenticated", "unauthenticated"),
    [("netnut", True, True), ("inference-net", True, False), ("fal", True, False), ("replicate", True, False),
     ("runpod", False, False), ("openai", False, False), ("pulse", False, False), ("oxylabs", False, False)],
)  # fmt: skip
def test_only_proven_payloads_are_taken_unless_nothing_could_be_fetched(
    provider: str, authenticated: bool, unauthenticated: bool
) -> None:
    callback = PROFILES[provider].callback
    assert callback is not None
    assert callback.may_take_inline(authenticated=True) is authenticated
    assert callback.may_take_inline(authenticated=False) is unauthenticated
