"""Where jobs are asked for, where their payloads lie, and what is said there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay.providers.fetch import with_suffix
from relay.providers.pages import join_pages, read_hop
from relay.providers.reading import NextHop, Verdict
from tests.providers.wire import FOURTEEN, PROFILES, answered, base_url, parameters, raw

FAL = "https://queue.fal.run/fal-ai/flux/requests/r1"
ASKED = [
    ("pulse", "j1", None, "https://api.runpulse.com/job/j1"),
    ("inference-net", "g1", None, "https://api.inference.net/v1/generation/g1"),
    ("inference-net", "grp", "https://api.inference.net/v1/async/group/grp/generations",
     "https://api.inference.net/v1/async/group/grp/generations"),
    ("freddy", "resp_1", None, "https://api.freddy.aitronos.com/v1/model/response/resp_1"),
    ("openai", "resp_1", None, "https://api.openai.com/v1/responses/resp_1"),
    ("openai", "batch_1", None, "https://api.openai.com/v1/batches/batch_1"),
    ("fal", "r1", FAL, FAL + "/status"),
    ("fal", "r1", None, None),
    ("replicate", "p1", None, "https://api.replicate.com/v1/predictions/p1"),
    ("runpod", "j1", None, "https://api.runpod.ai/v2/ep1/status/j1"),
    ("assemblyai", "t1", None, "https://api.assemblyai.com/v2/transcript/t1"),
    ("oxylabs", "7", None, "https://data.oxylabs.io/v1/queries/7"),
    ("firecrawl", "c1", None, "https://api.firecrawl.dev/v2/crawl/c1"),
    ("firecrawl", "b1", "https://api.firecrawl.dev/v2/batch/scrape/b1", "https://api.firecrawl.dev/v2/batch/scrape/b1"),
    ("apify", "run1", None, "https://api.apify.com/v2/actor-runs/run1"),
    ("reducto", "j1", None, "https://platform.reducto.ai/job/j1"),
    ("brightdata", "s_1", None, "https://api.brightdata.com/datasets/v3/progress/s_1"),
    ("netnut", "t", "https://llm-scraper.netnut.io/r/1", "https://llm-scraper.netnut.io/r/1"),
    ("netnut", "t", None, None),
    ("openai", "resp_1", "https://evil.example/x", "https://api.openai.com/v1/responses/resp_1"),
    ("openai", "..", None, None),
    ("openai", None, None, None),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "job_id", "response_url", "url"), ASKED)
def test_a_job_is_asked_for_at_its_place(
    provider: str, job_id: str | None, response_url: str | None, url: str | None
) -> None:
    fetch, base = PROFILES[provider].fetch, base_url(PROFILES[provider])
    assert fetch.ask_url(base, job_id, response_url, parameters(provider)) == url


def test_freddys_organization_goes_into_the_query_if_it_is_set() -> None:
    url = PROFILES["freddy"].fetch.ask_url("https://f", "r", None, {"organization_id": "o 1"})
    assert url == "https://f/v1/model/response/r?organizationId=o%201"


def test_a_parameter_that_is_missing_gives_no_url_instead_of_an_error() -> None:
    assert PROFILES["runpod"].fetch.ask_url("https://api.runpod.ai", "j", None, {}) is None
    assert PROFILES["runpod"].fetch.ask_url(None, "j", None, {"endpoint_id": "e"}) is None


def hop_of(provider: str, body: object) -> NextHop:
    verdict = answered(provider, body)
    assert verdict.kind == "elsewhere" and verdict.reason == "hop" and verdict.hop is not None
    return verdict.hop


PRESIGNED = "https://s3.amazonaws.com/b/k?X-Amz-Signature=abc"
LINKS = [
    {"rel": "self", "href": "https://data.oxylabs.io/v1/queries/7"},
    {"rel": "results", "href": "http://data.oxylabs.io/v1/queries/7/results"},
]
HOPS: list[tuple[str, Any, bool, list[str]]] = [
    ("pulse", {"status": "completed", "result": {"is_url": True, "url": PRESIGNED}}, False, [PRESIGNED]),
    ("reducto", {"status": "Completed", "result": {"result": {"type": "url", "url": PRESIGNED}}}, False, [PRESIGNED]),
    ("reducto", {"status": "Completed", "result": {"type": "url", "url": PRESIGNED}}, False, [PRESIGNED]),
    ("openai", {"status": "completed", "output_file_id": "file-1", "error_file_id": "file-2"}, True,
     ["https://api.openai.com/v1/files/file-1/content"]),
    ("openai", {"status": "completed", "output_file_id": None, "error_file_id": "file-2"}, True,
     ["https://api.openai.com/v1/files/file-2/content"]),
    ("fal", {"status": "COMPLETED"}, True, ["https://job"]),
    ("oxylabs", {"status": "done", "_links": LINKS}, True,
     ["https://data.oxylabs.io/v1/queries/7/results", "https://data.oxylabs.io/v1/queries/J/results"]),
    ("oxylabs", {"status": "done", "_links": LINKS[:1]}, True, ["https://data.oxylabs.io/v1/queries/J/results"]),
    ("oxylabs", {"status": "done", "_links": "results"}, True, ["https://data.oxylabs.io/v1/queries/J/results"]),
    ("apify", {"data": {"status": "SUCCEEDED"}}, True, ["https://api.apify.com/v2/actor-runs/J/dataset/items"]),
    ("brightdata", {"status": "ready"}, True, ["https://api.brightdata.com/datasets/v3/snapshot/J?format=json"]),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "body", "credentials", "urls"), HOPS)
def test_a_payload_that_lies_elsewhere_is_followed(
    provider: str, body: Any, credentials: bool, urls: list[str]
) -> None:
    hop = hop_of(provider, body)
    assert hop.credentials is credentials
    assert list(hop.candidates(base_url(PROFILES[provider]), "J", "https://job", parameters(provider))) == urls


def test_what_an_expired_batch_did_in_time_is_a_partial_result() -> None:
    batch = {"id": "batch_1", "status": "expired", "output_file_id": "file-1", "error_file_id": "file-2"}
    verdict = answered("openai", batch)
    assert verdict.kind == "elsewhere" and verdict.partial and verdict.hop is not None
    assert verdict.hop.id == "file-1"
    for nothing in ({**batch, "output_file_id": None}, {"id": "batch_1", "status": "expired"}):
        assert answered("openai", nothing).kind == "gone"
    cancelled = answered("openai", {**batch, "status": "cancelled"})
    assert (cancelled.kind, cancelled.partial) == ("cancelled", False)


def test_presigned_urls_never_get_credentials() -> None:
    hops = [hop for profile in PROFILES.values() for hop in profile.fetch.hops]
    assert all(not hop.credentials for hop in hops if not hop.template and not hop.job_url)


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("pulse", {"status": "completed", "result": {"is_url": False, "markdown": "x"}}),
        ("pulse", {"status": "completed", "result": {"markdown": "x"}}),
        ("reducto", {"status": "Completed", "result": {"result": {"type": "full", "chunks": []}}}),
        ("openai", {"id": "resp_1", "status": "completed", "output": []}),
        ("replicate", {"id": "p", "status": "succeeded", "output": None}),
    ],
)
def test_a_payload_in_the_answer_is_taken_from_there(provider: str, body: object) -> None:
    verdict = answered(provider, body)
    assert verdict.kind == "completed" and verdict.hop is None


@pytest.mark.parametrize("url", [None, "", 7, {}, "https://x/\n", "https://x/" + "y" * 9000])
def test_a_payload_said_to_be_elsewhere_without_a_usable_url_is_not_there_yet(url: object) -> None:
    verdict = answered("pulse", {"status": "completed", "result": {"is_url": True, "url": url}})
    assert (verdict.kind, verdict.reason, verdict.hop) == ("pending", "no_url", None)


def test_a_job_that_is_not_completed_leads_nowhere() -> None:
    for status in ("processing", "failed", "new"):
        assert answered("pulse", {"status": status, "result": {"is_url": True, "url": PRESIGNED}}).hop is None


def at_hop(provider: str, status: int, body: object = b"payload", which: int = 0) -> Verdict:
    profile = PROFILES[provider]
    return read_hop(profile, profile.fetch.hops[which], status, {"Retry-After": "3"}, raw(body))


@pytest.mark.parametrize(
    ("provider", "status", "body", "kind", "reason"),
    [
        ("pulse", 200, b"\x00binary", "completed", "hop"),
        ("pulse", 200, b"", "pending", "no_content"),
        ("pulse", 206, b"part", "unexpected", "http_status"),
        ("pulse", 302, b"", "unexpected", "http_status"),
        ("pulse", 400, b"<Error/>", "pending", "stale_url"),
        ("pulse", 401, b"", "pending", "stale_url"),
        ("pulse", 403, b"<Error>Request has expired</Error>", "pending", "stale_url"),
        ("pulse", 404, b"", "not_found", "http_status"),
        ("pulse", 429, b"", "throttled", "http_status"),
        ("pulse", 503, b"", "server_error", "http_status"),
        ("fal", 200, {"images": []}, "completed", "hop"),
        ("fal", 200, {"status": "IN_QUEUE"}, "completed", "hop"),
        ("fal", 202, {"status": "IN_PROGRESS"}, "pending", "http_status"),
        ("fal", 422, {"detail": [{"msg": "field required"}]}, "failed", "http_status"),
        ("fal", 401, {"detail": "no"}, "rejected_credentials", "http_status"),
        ("fal", 500, {"detail": "x"}, "server_error", "http_status"),
        ("oxylabs", 204, b"", "pending", "http_status"),
        ("brightdata", 202, {"status": "building"}, "pending", "http_status"),
        ("brightdata", 102, b"", "pending", "http_status"),
        ("brightdata", 200, {"status": "running", "message": "not ready"}, "pending", "status"),
        ("brightdata", 200, [{"status": "running"}], "completed", "hop"),
        ("openai", 200, b'{"custom_id":"1"}\n{"custom_id":"2"}\n', "completed", "hop"),
        ("apify", 404, {"error": {"message": "Dataset was not found"}}, "not_found", "http_status"),
    ],
)  # fmt: skip
def test_what_is_said_where_the_payload_lies(provider: str, status: int, body: object, kind: str, reason: str) -> None:
    verdict = at_hop(provider, status, body)
    assert (verdict.kind, verdict.reason, verdict.retry_after) == (kind, reason, "3")


def test_a_failure_at_a_hop_says_why() -> None:
    assert at_hop("fal", 422, {"detail": [{"msg": "field required"}]}).error == "field required"
    assert at_hop("fal", 422, {"detail": "bad"}).error == "bad"


def test_a_group_that_is_polled_is_never_finished_because_nobody_says_how_many_belong_to_it() -> None:
    verdict = answered("inference-net", {"generations": [{"id": "a", "state": "Success"}]})
    assert (verdict.kind, verdict.reason) == ("pending", "no_marker")


# --- pages ---


def test_a_completed_answer_names_its_next_page_and_others_do_not() -> None:
    url = "https://api.firecrawl.dev/v2/crawl/c1?skip=10"
    assert answered("firecrawl", {"status": "completed", "next": url, "data": []}).next_page == url
    path = "/v2/crawl/c1?skip=10"
    assert answered("firecrawl", {"status": "completed", "next": path, "data": []}).next_page == path
    assert answered("firecrawl", {"status": "completed", "next": None, "data": []}).next_page is None
    assert answered("firecrawl", {"status": "scraping", "next": url, "data": []}).next_page is None


@pytest.mark.parametrize(
    "url",
    ["https://x/\x00", "//x/v2", "/\x00", "v2/crawl/c1", "?skip=10", 7, True, {"url": "https://x"}, ["https://x"]],
)
def test_a_next_page_that_cannot_be_asked_for_is_no_last_page(url: object) -> None:
    verdict = answered("firecrawl", {"status": "completed", "next": url, "data": []})
    assert (verdict.kind, verdict.reason, verdict.next_page) == ("pending", "no_url", None)


def test_several_pages_become_one_array_of_their_bytes_and_one_page_stays_as_it_is() -> None:
    pages = [b'{"data": [1.0],  "next":"x"}', b'\xef\xbb\xbf{"data":[1e400]}', b"[2]"]
    assert join_pages(pages[:1]) == pages[0]
    assert join_pages(pages) == b'[{"data": [1.0],  "next":"x"},{"data":[1e400]},[2]]'
    assert len(json.loads(join_pages(pages))) == 3


@pytest.mark.parametrize("provider", FOURTEEN)
def test_a_profile_keeps_to_its_own_origin(provider: str) -> None:
    profile = PROFILES[provider]
    assert profile.origins == (base_url(profile),)
    assert profile.notes.strip() and profile.summary
    assert profile.poll.waits[0] <= 5 and sum(profile.poll.waits[:3]) <= 60


def test_a_suffix_goes_behind_the_path_and_before_the_query() -> None:
    assert with_suffix("https://x/a/?b=1", "/status") == "https://x/a/status?b=1"
    assert with_suffix("https://x/a/?b=1", "") == "https://x/a/?b=1"
