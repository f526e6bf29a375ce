"""Cancelling at the provider: what is sent, and whether it took."""

from __future__ import annotations

from typing import Any

import pytest

from relay.providers.cancelling import CancelAnswer, CancelRequest, cancel_request, read_cancel
from tests.providers.wire import FOURTEEN, PROFILES, base_url, parameters, raw

FAL = "https://queue.fal.run/fal-ai/flux/requests/r1"
SENT = [
    ("pulse", "j1", None, "DELETE", "https://api.runpulse.com/job/j1"),
    ("freddy", "resp_1", None, "DELETE", "https://api.freddy.aitronos.com/v1/model/response/resp_1"),
    ("openai", "resp_1", None, "POST", "https://api.openai.com/v1/responses/resp_1/cancel"),
    ("openai", "batch_1", None, "POST", "https://api.openai.com/v1/batches/batch_1/cancel"),
    ("fal", "r1", FAL, "PUT", FAL + "/cancel"),
    ("replicate", "p1", None, "POST", "https://api.replicate.com/v1/predictions/p1/cancel"),
    ("runpod", "j1", None, "POST", "https://api.runpod.ai/v2/ep1/cancel/j1"),
    ("firecrawl", "c1", None, "DELETE", "https://api.firecrawl.dev/v2/crawl/c1"),
    ("firecrawl", "b1", "https://api.firecrawl.dev/v2/batch/scrape/b1", "DELETE",
     "https://api.firecrawl.dev/v2/batch/scrape/b1"),
    ("apify", "run1", None, "POST", "https://api.apify.com/v2/actor-runs/run1/abort"),
    ("reducto", "j1", None, "POST", "https://platform.reducto.ai/cancel/j1"),
    ("brightdata", "s_1", None, "POST", "https://api.brightdata.com/datasets/v3/snapshot/s_1/cancel"),
]  # fmt: skip
NOT_CANCELLED = {"netnut", "inference-net", "assemblyai", "oxylabs"}


@pytest.mark.parametrize(("provider", "job_id", "response_url", "method", "url"), SENT)
def test_what_is_sent_to_cancel(provider: str, job_id: str, response_url: str | None, method: str, url: str) -> None:
    profile = PROFILES[provider]
    sent = cancel_request(profile, base_url(profile), job_id, response_url, parameters(provider))
    assert sent == CancelRequest(method, url)


def test_the_url_that_the_submit_answer_named_is_preferred() -> None:
    sent = cancel_request(PROFILES["replicate"], None, "p", None, {}, cancel_url="https://api.replicate.com/c")
    assert sent == CancelRequest("POST", "https://api.replicate.com/c")


def test_an_organization_stays_in_the_query() -> None:
    sent = cancel_request(PROFILES["freddy"], "https://f", "r", None, {"organization_id": "o"})
    assert sent == CancelRequest("DELETE", "https://f/v1/model/response/r?organizationId=o")


def test_where_nothing_can_be_cancelled_or_too_little_is_known_nothing_is_sent() -> None:
    for provider in NOT_CANCELLED:
        profile = PROFILES[provider]
        assert cancel_request(profile, base_url(profile), "j", "https://u", parameters(provider)) is None
    assert cancel_request(PROFILES["fal"], "https://queue.fal.run", "r1", None, {}) is None
    assert cancel_request(PROFILES["reducto"], "https://r", None, None, {}) is None
    assert cancel_request(PROFILES["reducto"], "https://r", "..", None, {}) is None
    assert cancel_request(PROFILES["runpod"], "https://r", "j", None, {}) is None
    assert {row[0] for row in SENT} | NOT_CANCELLED == set(FOURTEEN)


SAID: list[tuple[str, int, Any, str]] = [
    ("pulse", 200, {"job_id": "j", "message": "Job cancelled"}, "asked"),
    ("freddy", 200, {"id": "r", "status": "cancelled", "cancelledAt": 1}, "took"),
    ("freddy", 200, {"id": "r", "status": "completed"}, "too_late"),
    ("openai", 200, {"id": "r", "status": "cancelled"}, "took"),
    ("openai", 200, {"id": "batch_1", "status": "cancelling"}, "asked"),
    ("openai", 400, {"error": {"message": "Cannot cancel a synchronous response"}}, "too_late"),
    ("fal", 202, {"status": "CANCELLATION_REQUESTED"}, "asked"),
    ("fal", 200, {"status": "OK"}, "took"),
    ("fal", 400, {"status": "ALREADY_COMPLETED"}, "too_late"),
    ("fal", 200, {"status": "ALREADY_COMPLETED"}, "too_late"),
    ("fal", 404, {"status": "NOT_FOUND"}, "not_found"),
    ("fal", 422, {"status": "ALREADY_COMPLETED"}, "too_late"),
    ("replicate", 200, {"id": "p", "status": "canceled"}, "took"),
    ("replicate", 200, {"id": "p", "status": "processing"}, "asked"),
    ("replicate", 200, {"id": "p", "status": "succeeded"}, "too_late"),
    ("runpod", 200, {"id": "j", "status": "CANCELLED"}, "took"),
    ("firecrawl", 200, {"status": "cancelled"}, "took"),
    ("apify", 200, {"data": {"status": "ABORTING"}}, "asked"),
    ("apify", 200, {"data": {"status": "ABORTED"}}, "took"),
    ("apify", 200, {"data": {"status": "SUCCEEDED"}}, "too_late"),
    ("reducto", 200, {"message": "ok"}, "asked"),
    ("reducto", 200, b"", "asked"),
    ("brightdata", 200, b'"OK"', "asked"),
    ("freddy", 200, {"status": "brand-new"}, "asked"),
    ("freddy", 401, {}, "rejected_credentials"),
    ("freddy", 429, {}, "again"),
    ("freddy", 503, {"status": "cancelled"}, "again"),
    ("freddy", 409, {"status": "cancelled"}, "too_late"),
    ("freddy", 302, {"status": "cancelled"}, "refused"),
    ("freddy", 422, {"detail": "no"}, "refused"),
]


@pytest.mark.parametrize(("provider", "status", "body", "kind"), SAID)
def test_whether_a_cancel_request_took(provider: str, status: int, body: Any, kind: str) -> None:
    assert read_cancel(PROFILES[provider], status, {}, raw(body)).kind == kind


def test_a_refused_cancel_says_why() -> None:
    answer = read_cancel(PROFILES["freddy"], 422, {}, b'{"error":{"message":"only while processing"}}')
    assert answer == CancelAnswer(kind="refused", error="only while processing")


def test_a_provider_that_cancels_nothing_has_nothing_to_say() -> None:
    assert read_cancel(PROFILES["netnut"], 200, {}, b'{"status":"cancelled"}').kind == "asked"
