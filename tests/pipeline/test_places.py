"""Where a job is asked about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay.errors import ForeignOrigin
from relay.outbound.authorization import headers_for
from relay.pipeline.bindings import Binding, bind
from relay.pipeline.places import hop_question, own_question, page_question, result_url
from relay.providers.fetch import Condition, Hop
from relay.providers.loader import load_profiles
from relay.providers.path import Path
from relay.providers.reading import NextHop
from tests.support.store import a_job, a_webhook

PROFILES = load_profiles(None)
HERE = "https://provider.example"
EVIL = "https://evil.example"
FOREIGN = (
    f"{EVIL}/x",
    "http://provider.example/x",
    "https://provider.example:8443/x",
    "https://provider.example@evil.example/x",
    "https://provider.example.evil.example/x",
    "https://provider.example\\@evil.example/",
    "//evil.example/x",
    "javascript:alert(1)",
    "https://provider.example/../x",
)


def bound(provider: str, **webhook: Any) -> Binding:
    parameters = {"endpoint_id": "ep1", "webhook_id": "short", "organization_id": "org/1"}
    known = {parameter.name for parameter in PROFILES[provider].parameters}
    given = {"parameters": {name: text for name, text in parameters.items() if name in known}, **webhook}
    credentials = {"username": a_webhook().credentials["username"], "password": a_webhook().credentials["password"]}
    if PROFILES[provider].auth.kind != "basic":
        credentials = {"api_key": a_webhook().credentials["password"]}
    return bind(a_webhook(provider=provider, credentials=credentials, base_url=HERE, **given), PROFILES[provider])


@pytest.mark.parametrize(
    ("provider", "job", "url"),
    [
        ("netnut", {"response_url": f"{HERE}/r/1?a=b"}, f"{HERE}/r/1?a=b"),
        ("netnut", {"provider_job_id": "t-1"}, None),
        ("pulse", {"provider_job_id": "j-1"}, f"{HERE}/job/j-1"),
        ("pulse", {"provider_job_id": "j-1", "response_url": f"{HERE}/elsewhere"}, f"{HERE}/job/j-1"),
        ("freddy", {"provider_job_id": "resp_1"}, f"{HERE}/v1/model/response/resp_1?organizationId=org%2F1"),
        ("runpod", {"provider_job_id": "a/../b"}, f"{HERE}/v2/ep1/status/a%2F..%2Fb"),
        ("runpod", {"provider_job_id": ".."}, None),
        ("openai", {"provider_job_id": "resp_1"}, f"{HERE}/v1/responses/resp_1"),
        ("openai", {"provider_job_id": "batch_1"}, f"{HERE}/v1/batches/batch_1"),
        ("firecrawl", {"response_url": f"{HERE}/v2/batch/scrape/c"}, f"{HERE}/v2/batch/scrape/c"),
        ("firecrawl", {"provider_job_id": "c", "result_path": "/v2/batch/scrape/c"}, f"{HERE}/v2/batch/scrape/c"),
        ("firecrawl", {"provider_job_id": "c", "response_url": f"{EVIL}/v2/crawl/c"}, f"{HERE}/v2/crawl/c"),
        ("inference-net", {"provider_job_id": "g", "result_path": "/v1/async/group/g/generations"},
         f"{HERE}/v1/async/group/g/generations"),
        ("fal", {"response_url": f"{HERE}/a/b/requests/1"}, f"{HERE}/a/b/requests/1/status"),
        ("fal", {"response_url": f"{HERE}/a/1", "status_url": f"{HERE}/s/1?logs=0"}, f"{HERE}/s/1?logs=0"),
        ("fal", {"response_url": f"{HERE}/a/1", "status_url": f"{EVIL}/s/1"}, f"{HERE}/a/1/status"),
        ("fal", {"provider_job_id": "only-an-id"}, None),
    ],
)  # fmt: skip
def test_what_is_known_of_a_job_leads_to_it(provider: str, job: dict[str, Any], url: str | None) -> None:
    assert result_url(a_job(**job), bound(provider)) == url


def test_a_base_url_with_a_path_stays_in_front_of_every_place() -> None:
    binding = bind(a_webhook(provider="firecrawl", base_url=f"{HERE}/eu/", credentials={}), PROFILES["firecrawl"])
    assert result_url(a_job(provider_job_id="c"), binding) == f"{HERE}/eu/v2/crawl/c"
    elsewhere = a_job(provider_job_id="c", result_path="/v2/batch/scrape/c")
    assert result_url(elsewhere, binding) == f"{HERE}/eu/v2/batch/scrape/c"


def test_a_hop_with_credentials_goes_to_the_first_place_that_is_the_webhooks_own() -> None:
    rule = PROFILES["oxylabs"].fetch.hops[0]
    binding, job = bound("oxylabs"), a_job(provider_job_id="7")
    named = hop_question(job, binding, NextHop(rule, f"{HERE}/v1/queries/7/results?type=raw"), None)
    assert named is not None and named.url.endswith("?type=raw")
    assert (named.authorization, named.origins) == (binding.authorization, binding.origins)
    for url in FOREIGN:
        question = hop_question(job, binding, NextHop(rule, url), None)
        assert question is not None and question.url == f"{HERE}/v1/queries/7/results"


def test_a_hop_whose_only_place_is_foreign_is_not_taken() -> None:
    rule = Hop(url=(Path.parse("href"),), credentials=True)
    for url in FOREIGN:
        assert hop_question(a_job(), bound("oxylabs"), NextHop(rule, url), None) is None


def test_a_presigned_hop_gets_nothing_wherever_it_leads() -> None:
    rule = Hop(when=Condition(Path.parse("is_url")), url=(Path.parse("url"),))
    for url in (f"{HERE}/x?sig=1", f"{EVIL}/x", "http://storage.example/x"):
        question = hop_question(a_job(), bound("pulse"), NextHop(rule, url), None)
        assert question is not None and question.url == url
        assert (question.authorization, question.origins, question.is_presigned) == (None, frozenset(), True)
        assert url not in repr(question)
    assert hop_question(a_job(), bound("pulse"), NextHop(rule, "https://a@b.example/"), None) is None


def test_a_hop_by_template_uses_the_id_that_the_answer_brought() -> None:
    rule = PROFILES["apify"].fetch.hops[0]
    binding = bound("apify")
    found = hop_question(a_job(), binding, NextHop(rule), "run1")
    assert found is not None and found.url == f"{HERE}/v2/actor-runs/run1/dataset/items"
    assert hop_question(a_job(), binding, NextHop(rule), None) is None
    file = hop_question(a_job(), bound("openai"), NextHop(PROFILES["openai"].fetch.hops[0], id="file-1"), None)
    assert file is not None and file.url == f"{HERE}/v1/files/file-1/content"


def test_a_hop_to_the_jobs_own_url_leaves_the_suffix_off() -> None:
    rule = PROFILES["fal"].fetch.hops[0]
    job = a_job(response_url=f"{HERE}/a/b/requests/1", status_url=f"{HERE}/a/b/requests/1/status")
    question = hop_question(job, bound("fal"), NextHop(rule), None)
    assert question is not None and question.url == f"{HERE}/a/b/requests/1"


def test_a_further_page_is_asked_for_at_the_same_origin_only() -> None:
    binding = bound("firecrawl")
    asked = own_question(binding, f"{HERE}/v2/crawl/1")
    following = page_question(asked, "https://PROVIDER.example/v2/crawl/1?skip=10")
    assert following is not None and following.authorization is binding.authorization
    for url in FOREIGN:
        assert page_question(asked, url) is None, url


def test_a_webhook_without_origins_asks_nowhere_as_itself() -> None:
    profile = replace(PROFILES["netnut"], origins=(), base_url=None)
    binding = bind(a_webhook(origins=(), credentials={}), profile)
    assert binding.origins == frozenset()
    question = own_question(binding, f"{HERE}/x")
    assert question.origins and HERE not in question.origins and not question.is_presigned
    with pytest.raises(ForeignOrigin):
        headers_for(HERE, {}, question.authorization, question.origins)
