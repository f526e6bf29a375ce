"""Jobs submitted through Relay: what is let through, what is put in, what the answers say, how keys are shown."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Any

import pytest

from relay.model import JobStatus, Secret
from relay.providers.loader import parse_profile
from relay.providers.splice import Unfit
from relay.providers.submitting import Filled, Submitted, fill_request, match_call, read_submit, shown_key
from tests.providers.wire import CALLBACK, FOURTEEN, PROFILES, filled, filled_body, matched, submitted
from tests.support.messages import MINIMAL

SUBMIT = MINIMAL + '[submit]\njob_id = "id"\n[[submit.jobs]]\ncalls = ["POST /jobs"]\n'

JOBS = [
    ("netnut", "POST /search"),
    ("pulse", "POST /extract"),
    ("pulse", "POST /schema"),
    ("inference-net", "POST /v1/slow/chat/completions"),
    ("inference-net", "POST /v1/async/embeddings"),
    ("inference-net", "POST /v1/async/group/chat/completions"),
    ("freddy", "POST /v1/model/response"),
    ("openai", "POST /v1/responses"),
    ("openai", "POST /v1/batches"),
    ("fal", "POST /fal-ai/flux"),
    ("fal", "POST /fal-ai/flux/dev/image-to-image"),
    ("replicate", "POST /v1/predictions"),
    ("replicate", "POST /v1/models/meta/llama-3/predictions"),
    ("runpod", "POST /v2/ep1/run"),
    ("assemblyai", "POST /v2/transcript"),
    ("oxylabs", "POST /v1/queries"),
    ("firecrawl", "POST /v2/crawl"),
    ("firecrawl", "POST /v2/batch/scrape"),
    ("apify", "POST /v2/acts/apify~web-scraper/runs"),
    ("apify", "POST /v2/actor-tasks/t1/runs"),
    ("reducto", "POST /parse_async"),
    ("brightdata", "POST /datasets/v3/trigger"),
]
PASSES = [
    ("pulse", "GET /job/j1"),
    ("inference-net", "GET /v1/generation/g1"),
    ("openai", "GET /v1/responses/resp_1"),
    ("openai", "POST /v1/files"),
    ("fal", "GET /fal-ai/flux/requests/r1/status"),
    ("replicate", "GET /v1/predictions/p1"),
    ("runpod", "GET /v2/ep1/status/j1"),
    ("assemblyai", "POST /v2/upload"),
    ("apify", "GET /v2/actor-runs/run1"),
]
REFUSED = [
    ("netnut", "GET /search"),
    ("netnut", "POST /search/"),
    ("netnut", "POST /account"),
    ("netnut", "post /search"),
    ("pulse", "POST /webhook"),
    ("openai", "DELETE /v1/responses/resp_1"),
    ("openai", "GET /v1/organization/admin_api_keys"),
    ("openai", "GET /v1/responses/resp_1/../../files"),
    ("openai", "GET /v1/responses/.."),
    ("openai", "GET /v1/responses/a%2Fb"),
    ("openai", "GET /v1//responses"),
    ("openai", "GET /v1/responses/a\\b"),
    ("openai", "GET v1/models"),
    ("openai", "GET "),
    ("replicate", "GET /v1/webhooks/default/secret"),
    ("runpod", "POST /v2/another/run"),
    ("runpod", "POST /v2/ep1/runsync"),
    ("runpod", "POST /v2/ep1/purge-queue"),
    ("apify", "GET /v2/users/me"),
    ("apify", "DELETE /v2/datasets/d"),
    ("brightdata", "POST /datasets/v3/deliver/s"),
]


@pytest.mark.parametrize(("provider", "call"), JOBS)
def test_calls_that_start_a_job_are_known(provider: str, call: str) -> None:
    found = matched(provider, call)
    assert found is not None and found.submission is not None


@pytest.mark.parametrize(("provider", "call"), PASSES)
def test_calls_that_pass_through_start_no_job(provider: str, call: str) -> None:
    found = matched(provider, call)
    assert found is not None and found.submission is None


@pytest.mark.parametrize(("provider", "call"), REFUSED)
def test_what_the_profile_does_not_list_is_not_let_through(provider: str, call: str) -> None:
    assert matched(provider, call) is None


def test_every_provider_takes_jobs() -> None:
    assert {provider for provider, _ in JOBS} == set(FOURTEEN)


# --- what is put in ---

PUT_IN: list[tuple[str, str, Any, Any]] = [
    ("netnut", "POST /search", {"prompt": "p"}, {"async": True, "callback_url": CALLBACK, "prompt": "p"}),
    ("netnut", "POST /search", {"async": False}, {"async": True, "callback_url": CALLBACK}),
    ("pulse", "POST /extract", {"file_url": "u"}, {"async": True, "file_url": "u"}),
    ("inference-net", "POST /v1/slow/chat/completions", {"metadata": {"k": "v"}},
     {"metadata": {"webhook_id": "AhALzdz8S", "k": "v"}}),
    ("inference-net", "POST /v1/slow/chat/completions", {"metadata": {"webhook_id": "other"}},
     {"metadata": {"webhook_id": "AhALzdz8S"}}),
    ("inference-net", "POST /v1/async/group/chat/completions", {"requests": []}, {"requests": []}),
    ("freddy", "POST /v1/model/response", {"model": "m"}, {"model": "m", "background": True}),
    ("openai", "POST /v1/responses", {"background": True}, {"background": True}),
    ("openai", "POST /v1/responses", {"stream": False}, {"stream": False, "background": True}),
    ("openai", "POST /v1/batches", {"input_file_id": "f"}, {"input_file_id": "f"}),
    ("fal", "POST /fal-ai/flux", {"prompt": "p"}, {"prompt": "p"}),
    ("replicate", "POST /v1/predictions", {"input": {}},
     {"input": {}, "webhook": CALLBACK, "webhook_events_filter": ["completed"]}),
    ("runpod", "POST /v2/ep1/run", {"input": {}}, {"input": {}, "webhook": CALLBACK}),
    ("assemblyai", "POST /v2/transcript", {"audio_url": "u"}, {"audio_url": "u", "webhook_url": CALLBACK}),
    ("oxylabs", "POST /v1/queries", {"source": "s"}, {"source": "s", "callback_url": CALLBACK}),
    ("firecrawl", "POST /v2/crawl", {"url": "u"},
     {"url": "u", "webhook": {"url": CALLBACK, "events": ["completed", "failed"]}}),
    ("firecrawl", "POST /v2/crawl", {"webhook": {"metadata": {"a": 1}}},
     {"webhook": {"metadata": {"a": 1}, "url": CALLBACK, "events": ["completed", "failed"]}}),
    ("reducto", "POST /parse_async", {"input": "i", "async": {"metadata": 1}},
     {"input": "i", "async": {"metadata": 1, "webhook": {"mode": "direct", "url": CALLBACK}}}),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "call", "before", "after"), PUT_IN)
def test_callback_and_switch_go_in_where_the_profile_says(provider: str, call: str, before: Any, after: Any) -> None:
    assert filled_body(provider, call, before) == after


def test_organization_and_secrets_go_in_where_there_are_any() -> None:
    assert filled_body("freddy", "POST /v1/model/response", {}, organization_id="o")["organization_id"] == "o"
    given = {"organization_id": "theirs"}
    assert filled_body("freddy", "POST /v1/model/response", given, organization_id="o")["organization_id"] == "theirs"
    secret = {"verification_header": "X-Relay-Secret", "verification_secret": "hush"}
    body = filled_body("assemblyai", "POST /v2/transcript", {}, **secret)
    assert (body["webhook_auth_header_name"], body["webhook_auth_header_value"]) == ("X-Relay-Secret", "hush")
    assert filled_body("reducto", "POST /split_async", {}, **secret)["async"]["webhook"] == {
        "mode": "svix",
        "channels": [],
    }


def query_of(provider: str, call: str, query: str, **more: str) -> str:
    result = filled(provider, call, b"[1]", query=query, **more)
    assert isinstance(result, Filled) and result.body == b"[1]"
    return result.query


def test_a_callback_goes_into_the_query_and_the_rest_of_it_stays() -> None:
    encoded = "https%3A%2F%2Frelay.example%2Fin%2Ft0ken"
    assert query_of("fal", "POST /fal-ai/flux", "") == f"fal_webhook={encoded}"
    assert query_of("fal", "POST /fal-ai/flux", "a=%7e+x&b") == f"a=%7e+x&b&fal_webhook={encoded}"
    assert query_of("brightdata", "POST /datasets/v3/trigger", "dataset_id=d") == f"dataset_id=d&notify={encoded}"
    with_secret = query_of("brightdata", "POST /datasets/v3/trigger", "", verification_secret="a b&c")
    assert with_secret == f"notify={encoded}&auth_header=a%20b%26c"


def webhooks_of(query: str) -> Any:
    name, _, value = query.rpartition("&")[2].partition("=")
    assert name == "webhooks"
    return json.loads(base64.b64decode(value.replace("%3D", "=").replace("%2B", "+").replace("%2F", "/")))


def test_apify_takes_its_webhooks_as_base64() -> None:
    [plain] = webhooks_of(query_of("apify", "POST /v2/acts/a/runs", "memory=512"))
    assert plain["requestUrl"] == CALLBACK and "ACTOR.RUN.SUCCEEDED" in plain["eventTypes"]
    [secret] = webhooks_of(
        query_of("apify", "POST /v2/acts/a/runs", "", verification_header="X-Relay-Secret", verification_secret='h"sh')
    )
    assert json.loads(secret["headersTemplate"]) == {"X-Relay-Secret": 'h"sh'}


@pytest.mark.parametrize(
    ("provider", "call", "body", "query", "unfit"),
    [
        ("netnut", "POST /search", {"callback_url": "https://mine"}, "", Unfit("taken", "callback_url")),
        ("firecrawl", "POST /v2/crawl", {"webhook": "https://mine"}, "", Unfit("in_the_way", "webhook")),
        ("firecrawl", "POST /v2/crawl", {"webhook": {"url": "https://mine"}}, "", Unfit("taken", "webhook.url")),
        ("fal", "POST /fal-ai/flux", {}, "fal_webhook=https://mine", Unfit("taken", "fal_webhook")),
        ("fal", "POST /fal-ai/flux", {}, "fal%5Fwebhook=https://mine", Unfit("taken", "fal_webhook")),
        ("apify", "POST /v2/acts/a/runs", {}, "webhooks=W10", Unfit("taken", "webhooks")),
        ("apify", "POST /v2/acts/a/runs", {}, "webhooks=a", Unfit("taken", "webhooks")),
        ("openai", "POST /v1/responses", {"stream": True}, "", Unfit("refused", "stream")),
        ("openai", "POST /v1/responses", [], "", Unfit("not_a_json_object", "background")),
        ("openai", "POST /v1/responses", b"", "", Unfit("not_a_json_object", "background")),
        ("openai", "POST /v1/responses", b'{"a":}', "", Unfit("not_a_json_object", "background")),
        ("inference-net", "POST /v1/slow/embeddings", {"metadata": "x"}, "", Unfit("in_the_way", "metadata")),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_sent_says_what_is_to_blame(
    provider: str, call: str, body: Any, query: str, unfit: Unfit
) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert filled(provider, call, data, query=query) == unfit


def test_relays_own_callback_url_may_be_replaced() -> None:
    own = "https://relay.example/in/another"
    assert filled_body("netnut", "POST /search", {"callback_url": own})["callback_url"] == CALLBACK
    assert filled_body("netnut", "POST /search", {"callback_url": None})["callback_url"] == CALLBACK
    assert filled_body("netnut", "POST /search", {"callback_url": CALLBACK})["callback_url"] == CALLBACK
    webhook = {"async": {"webhook": {"mode": "direct", "url": own}}}
    assert filled_body("reducto", "POST /parse_async", webhook)["async"]["webhook"]["url"] == CALLBACK
    assert "another" not in query_of("fal", "POST /fal-ai/flux", f"fal_webhook={own}")
    listed = base64.b64encode(json.dumps([{"requestUrl": own}]).encode()).decode()
    assert webhooks_of(query_of("apify", "POST /v2/acts/a/runs", f"webhooks={listed}"))[0]["requestUrl"] == CALLBACK


def test_a_form_gets_a_field() -> None:
    body = b'--b1\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%PDF\r\n--b1--\r\n'
    result = filled("pulse", "POST /extract", body, content_type="multipart/form-data; boundary=b1")
    assert isinstance(result, Filled)
    assert result.body == b'--b1\r\nContent-Disposition: form-data; name="async"\r\n\r\ntrue\r\n' + body
    nested = filled("firecrawl", "POST /v2/crawl", body, content_type="multipart/form-data; boundary=b1")
    assert nested == Unfit("no_such_field", "webhook.url")


def test_what_is_to_be_sent_is_not_shown() -> None:
    result = filled("assemblyai", "POST /v2/transcript", b"{}", verification_secret="hush", verification_header="x")
    assert isinstance(result, Filled) and b"hush" in result.body
    assert "hush" not in repr(result) and "t0ken" not in repr(result)


KEEPING = (
    SUBMIT
    + """
[[submit.jobs.inserts]]
query = "hook"
value = "{callback_url}"
existing = "keep"
[[submit.jobs.inserts]]
body = "hooks"
value = ["{callback_url}", { "$json" = { a = 1 } }]
"""
)


def test_a_query_parameter_may_be_kept_and_what_cannot_be_filled_in_is_left_out() -> None:
    submit = parse_profile(KEEPING, "x").submit
    assert submit is not None
    filling = partial(fill_request, submit.jobs[0], content_type="", body=b"{}")
    given = {"callback_url": Secret(CALLBACK)}
    assert filling(given, query="hook=theirs") == Filled(
        "hook=theirs", b'{"hooks":["%b","{\\"a\\":1}"]}' % CALLBACK.encode()
    )
    assert filling({}, query="a") == Filled("a", b"{}")


def test_a_profile_without_submit_lets_nothing_through() -> None:
    profile = parse_profile(MINIMAL, "x")
    assert match_call(profile, "POST", "/jobs", {}) is None
    assert read_submit(profile, "POST", "/jobs", 200, {}, b'{"id":"j"}') == Submitted(kind="unclear")
    assert shown_key(profile, {"authorization": "Bearer k"}, "") is None


# --- what the answers say ---

SAID: list[tuple[str, str, int, Any, Submitted]] = [
    ("netnut", "POST /search", 202, {"traceId": "t", "response_url": "https://llm-scraper.netnut.io/r"},
     Submitted(kind="accepted", provider_job_id="t", response_url="https://llm-scraper.netnut.io/r")),
    ("netnut", "POST /search", 200, b"accepted", Submitted(kind="accepted")),
    ("pulse", "POST /extract", 202, {"job_id": "j", "status": "pending"},
     Submitted(kind="accepted", provider_job_id="j", status=JobStatus.WAITING, provider_status="pending")),
    ("inference-net", "POST /v1/slow/chat/completions", 200, {"id": "g"},
     Submitted(kind="accepted", provider_job_id="g")),
    ("inference-net", "POST /v1/async/group/chat/completions", 200, {"groupId": "6Z6o", "groupSize": 10},
     Submitted(kind="accepted", provider_job_id="6Z6o", result_path="/v1/async/group/6Z6o/generations")),
    ("freddy", "POST /v1/model/response", 200, {"id": "resp_1", "status": "queued", "created_at": 1},
     Submitted(kind="accepted", provider_job_id="resp_1", status=JobStatus.WAITING, provider_status="queued")),
    ("openai", "POST /v1/responses", 200, {"id": "resp_1", "status": "queued"},
     Submitted(kind="accepted", provider_job_id="resp_1", status=JobStatus.WAITING, provider_status="queued")),
    ("openai", "POST /v1/batches", 200, {"id": "batch_1", "status": "validating"},
     Submitted(kind="accepted", provider_job_id="batch_1", status=JobStatus.WAITING, provider_status="validating")),
    ("fal", "POST /fal-ai/flux", 200,
     {"request_id": "r", "status": "IN_QUEUE", "response_url": "https://q/r", "status_url": "https://q/r/status",
      "cancel_url": "https://q/r/cancel"},
     Submitted(kind="accepted", provider_job_id="r", status=JobStatus.WAITING, provider_status="IN_QUEUE",
               response_url="https://q/r", status_url="https://q/r/status", cancel_url="https://q/r/cancel")),
    ("replicate", "POST /v1/predictions", 201,
     {"id": "p", "status": "starting", "urls": {"get": "https://g", "cancel": "https://c"}},
     Submitted(kind="accepted", provider_job_id="p", status=JobStatus.WAITING, provider_status="starting",
               cancel_url="https://c")),
    ("runpod", "POST /v2/ep1/run", 200, {"id": "j", "status": "IN_QUEUE"},
     Submitted(kind="accepted", provider_job_id="j", status=JobStatus.WAITING, provider_status="IN_QUEUE")),
    ("assemblyai", "POST /v2/transcript", 200, {"id": "t", "status": "queued"},
     Submitted(kind="accepted", provider_job_id="t", status=JobStatus.WAITING, provider_status="queued")),
    ("oxylabs", "POST /v1/queries", 202, {"id": "7", "status": "pending", "_links": []},
     Submitted(kind="accepted", provider_job_id="7", status=JobStatus.WAITING, provider_status="pending")),
    ("firecrawl", "POST /v2/batch/scrape", 200, {"success": True, "id": "b", "url": "https://f/b"},
     Submitted(kind="accepted", provider_job_id="b", response_url="https://f/b", result_path="/v2/batch/scrape/b")),
    ("apify", "POST /v2/acts/a/runs", 201, {"data": {"id": "run", "status": "READY"}},
     Submitted(kind="accepted", provider_job_id="run", status=JobStatus.WAITING, provider_status="READY")),
    ("reducto", "POST /parse_async", 200, {"job_id": "j"}, Submitted(kind="accepted", provider_job_id="j")),
    ("brightdata", "POST /datasets/v3/trigger", 200, {"snapshot_id": "s"},
     Submitted(kind="accepted", provider_job_id="s")),
    ("openai", "POST /v1/responses", 400, {"error": {"message": "no model"}},
     Submitted(kind="refused", error="no model")),
    ("openai", "POST /v1/responses", 429, {}, Submitted(kind="refused")),
    ("openai", "POST /v1/responses", 500, {"id": "resp_1"}, Submitted(kind="unclear")),
    ("openai", "POST /v1/responses", 408, b"", Submitted(kind="unclear")),
    ("openai", "POST /v1/responses", 302, b"", Submitted(kind="unclear")),
    ("openai", "POST /v1/responses", 200, {"id": "two words"}, Submitted(kind="accepted")),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "call", "status", "body", "said"), SAID)
def test_the_answer_to_a_submit_says(provider: str, call: str, status: int, body: Any, said: Submitted) -> None:
    assert submitted(provider, call, body, status) == said


# --- keys ---


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("provider", "headers", "query"),
    [
        ("openai", {"Authorization": "Bearer rk_1"}, ""),
        ("openai", {"authorization": "bearer  rk_1 "}, ""),
        ("netnut", {"Authorization": basic("anybody:rk_1")}, ""),
        ("netnut", {"Authorization": "Bearer rk_1"}, ""),
        ("oxylabs", {"Authorization": basic(":rk_1")}, ""),
        ("pulse", {"X-API-Key": "rk_1"}, ""),
        ("fal", {"Authorization": "Key rk_1"}, ""),
        ("replicate", {"Authorization": "Token rk_1"}, ""),
        ("runpod", {"Authorization": "rk_1"}, ""),
        ("assemblyai", {"authorization": "rk_1"}, ""),
        ("apify", {}, "token=rk_1"),
        ("apify", {}, "a=b&%74oken=rk%5F1&c"),
    ],
)
def test_a_client_shows_its_key_as_the_provider_s_own_clients_do(
    provider: str, headers: dict[str, str], query: str
) -> None:
    shown = shown_key(PROFILES[provider], headers, query)
    assert shown is not None and shown.key.reveal() == "rk_1"
    assert "oken" not in shown.query
    assert "authorization" in shown.headers
    assert "rk_1" not in repr(shown)


@pytest.mark.parametrize(
    ("provider", "headers", "query"),
    [
        ("openai", {}, "token=rk_1"),
        ("openai", {"Authorization": basic("a:rk_1")}, ""),
        ("openai", {"Authorization": "rk_1"}, ""),
        ("openai", {"Authorization": "Bearer "}, ""),
        ("netnut", {"Authorization": "Basic !!!"}, ""),
        ("netnut", {"Authorization": basic("only-a-name")}, ""),
        ("assemblyai", {"Authorization": "Basic abc"}, ""),
        ("fal", {"Authorization": "Keys rk_1"}, ""),
        ("apify", {}, "token="),
        ("apify", {}, "tokens=rk_1"),
    ],
)
def test_other_forms_are_no_key(provider: str, headers: dict[str, str], query: str) -> None:
    assert shown_key(PROFILES[provider], headers, query) is None


def test_a_key_in_the_query_does_not_go_on_though_another_one_counts() -> None:
    shown = shown_key(PROFILES["apify"], {"Authorization": "Bearer rk_1"}, "x=%7e&token=rk_2&y")
    assert shown is not None and (shown.key.reveal(), shown.query) == ("rk_1", "x=%7e&y")
