"""What goes through the relay and what does not: answers unchanged, requests without what must stay here."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.support.journey import ADMIN_KEY, PASSWORD
from tests.support.providers import PROVIDERS
from tests.support.providers.ways import KEY
from tests.support.raw_provider import RawProvider, answer
from tests.support.through import Through, through

PROMPT = {"prompt": "coffee"}
ANSWERS = (200, 201, 202, 203, 204, 302, 400, 401, 403, 404, 409, 418, 422, 429, 500, 503, 599)


@pytest.fixture
async def raw() -> AsyncIterator[RawProvider]:
    async with RawProvider() as running:
        yield running


@pytest.fixture
async def behind(sqlite_stage_url: str, tmp_path: Path, raw: RawProvider) -> AsyncIterator[Through]:
    """A webhook of NetNut's profile whose provider is a socket."""
    async with through(sqlite_stage_url, tmp_path, "netnut", webhook={"origins": [raw.url]}) as opened:
        yield opened


@pytest.fixture
async def openai(sqlite_stage_url: str, tmp_path: Path, raw: RawProvider) -> AsyncIterator[Through]:
    """The same of OpenAI's, which has calls that pass through."""
    async with through(sqlite_stage_url, tmp_path, "openai", webhook={"origins": [raw.url]}) as opened:
        yield opened


def only(raw: RawProvider) -> Any:
    """The one request that came."""
    (heard,) = raw.heard
    return heard


@pytest.mark.parametrize(
    "status", [200, 201, 202, 203, 204, 302, 400, 401, 403, 404, 409, 418, 422, 429, 500, 503, 599]
)
async def test_every_answer_comes_back_unchanged(behind: Through, raw: RawProvider, status: int) -> None:
    body = b"" if status == 204 else b'{"message":  "\xc3\xa4 odd   spacing", "n": 1e400}'
    raw.says = answer(status, body, content_type="application/vnd.odd+json; v=1", retry_after="7", x_trace="t")
    told = await behind.submit()
    assert (told.status, told.raw) == (status, body)
    assert told.headers["content-type"] == "application/vnd.odd+json; v=1"
    assert (told.headers["retry-after"], told.headers["x-trace"]) == ("7", "t")
    assert told.headers["relay-job-id"].startswith("job_")
    state = {True: "waiting", False: "failed"}[status < 400 or status >= 500]
    assert (await behind.job(told))["status"] == state


async def test_a_status_that_http_does_not_have_comes_back_as_a_bad_gateway(openai: Through, raw: RawProvider) -> None:
    raw.says = answer(999, b"go away", content_type="text/plain")
    told = await openai.submit()
    assert (told.status, told.raw) == (502, b"go away")
    assert (await openai.job(told))["status"] == "failed"
    passed = await openai.send("GET", "/v1/models")
    assert (passed.status, passed.raw) == (502, b"go away")


async def test_nothing_in_an_answer_acts_as_if_relay_had_said_it(behind: Through, raw: RawProvider) -> None:
    raw.says = answer(
        302,
        b"<script>alert(1)</script>",
        content_type="text/html",
        location="https://evil.example/",
        set_cookie="session=1",
        strict_transport_security="max-age=1",
        access_control_allow_origin="*",
        relay_job_id="job_forged",
        clear_site_data='"*"',
        refresh="0; url=https://evil.example/",
        content_security_policy="script-src *",
        idempotent_replayed="true",
    )
    told = await behind.submit()
    assert told.headers["relay-job-id"] != "job_forged"
    assert told.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert told.headers["x-content-type-options"] == "nosniff"
    absent = {"location", "set-cookie", "strict-transport-security", "access-control-allow-origin", "clear-site-data"}
    assert not {*absent, "refresh", "idempotent-replayed"} & set(told.headers)


async def test_what_the_client_sends_goes_on_but_for_what_must_stay_here(behind: Through, raw: RawProvider) -> None:
    headers = {
        "accept": "application/json",
        "user-agent": "some-sdk/1.2",
        "x-team": "a",
        "cookie": "session=1",
        "x-api-key": "another-key-of-the-clients",
        "x-forwarded-for": "10.1.2.3",
        "forwarded": "for=10.1.2.3",
        "origin": "https://dashboard.example",
        "x-http-method-override": "DELETE",
        "relay-metadata": '{"tenant": "acme"}',
        "connection": "x-hop, keep-alive",
        "x-hop": "1",
        "te": "trailers",
        "proxy-authorization": "Basic eA==",
        "accept-encoding": "br",
    }
    await behind.submit(headers=headers)
    heard = only(raw)
    assert heard.line == "POST /search HTTP/1.1"
    assert [heard.all(name) for name in ("accept", "user-agent", "x-team")] == [
        ["application/json"],
        ["some-sdk/1.2"],
        ["a"],
    ]
    given = {name for name, _ in heard.headers}
    assert not given & (set(headers) - {"accept", "user-agent", "x-team", "accept-encoding"})
    assert (heard.all("accept-encoding"), heard.all("host")) == (["gzip"], [raw.url.removeprefix("http://")])
    assert heard.all("authorization") == [aiohttp.encode_basic_auth("customer", KEY)]
    assert ADMIN_KEY not in heard.everything


async def test_the_body_is_untouched_but_for_what_the_profile_puts_in(behind: Through, raw: RawProvider) -> None:
    body = b'{ "prompt":"caf\\u00e9",  "n":1.0, "n":1.00 , "big":123456789012345678901234567890}'
    await behind.submit(json=None, data=body, headers={"content-type": "application/json"})
    sent = only(raw).body
    assert sent.endswith(body[1:])
    put_in = orjson.loads(sent[: len(sent) - len(body) + 1].rstrip(b",") + b"}")
    assert put_in["async"] is True
    assert put_in["callback_url"].startswith(f"{behind.caller.url}/in/")


@pytest.mark.parametrize(
    "path",
    [
        "/search/",
        "//search",
        "/./search",
        "/x/../search",
        "/..%2fsearch",
        "/%73earch",
        "/search%00",
        "/search%3fa=b",
        "/search;x",
        "/SEARCH",
        "/results/1",
        "/search\\x",
        "/",
        "",
        "/http://evil.example/search",
        "/@evil.example/search",
    ],
)
async def test_a_path_that_is_not_plainly_listed_is_not_sent_on(behind: Through, raw: RawProvider, path: str) -> None:
    told = await raw_call(behind, "POST", f"/submit/{behind.webhook['id']}{path}")
    assert told[0] == 404
    assert raw.heard == []
    assert await behind.caller.page("/v1/jobs") == []


@pytest.mark.parametrize("path", ["/search%0d%0ax:%20y", "/search%20HTTP/1.1", "/search%0a", "/sea\u0440ch"])
async def test_no_second_request_is_smuggled_in_a_path(behind: Through, raw: RawProvider, path: str) -> None:
    status, _ = await raw_call(behind, "POST", f"/submit/{behind.webhook['id']}{path}")
    assert status in (400, 404)
    assert raw.heard == []


async def test_a_query_goes_on_as_it_is_and_smuggles_nothing(behind: Through, raw: RawProvider) -> None:
    for query in ("a=%0d%0ax:y&b=%2e%2e", "a=1&a=2&%5B=%5D", "redirect=https://evil.example/"):
        raw.heard.clear()
        status, _ = await raw_call(behind, "POST", f"/submit/{behind.webhook['id']}/search?{query}")
        assert status == 200
        assert only(raw).line == f"POST /search?{query} HTTP/1.1"


async def raw_call(behind: Through, method: str, target: str) -> tuple[int, bytes]:
    """A request whose target no client library has tidied up."""
    host, _, port = behind.caller.url.removeprefix("http://").partition(":")
    body = orjson.dumps(PROMPT)
    head = [
        f"{method} {target} HTTP/1.1",
        f"host: {host}",
        f"authorization: Bearer {ADMIN_KEY}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    said = await reader.read()
    writer.close()
    return int(said.split(b" ", 2)[1]), said.partition(b"\r\n\r\n")[2]


async def test_a_call_that_is_not_listed_is_told_what_is(openai: Through, raw: RawProvider) -> None:
    unknown = await openai.send("POST", "/v1/chat/completions", json={})
    assert (unknown.status, unknown.body["code"]) == (404, "call_not_listed")
    assert "POST /v1/responses" in unknown.body["detail"] and "GET /v1/models" in unknown.body["detail"]
    wrong = await openai.send("DELETE", "/v1/responses", json={})
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert unknown.headers["content-type"] == "application/problem+json"
    assert unknown.body["request_id"] == unknown.headers["x-request-id"]
    assert raw.heard == []


async def test_reads_pass_through_with_credentials_and_make_no_job(openai: Through, raw: RawProvider) -> None:
    raw.says = answer(206, b"\x00\x01" * 100_000, content_type="application/octet-stream", x_more="yes")
    told = await openai.send("GET", "/v1/files/f-1/content?part=2", headers={"range": "bytes=0-9"})
    assert (told.status, told.raw) == (206, b"\x00\x01" * 100_000)
    assert (told.headers["content-type"], told.headers["x-more"]) == ("application/octet-stream", "yes")
    assert "relay-job-id" not in told.headers
    heard = only(raw)
    assert (heard.line, heard.all("range")) == ("GET /v1/files/f-1/content?part=2 HTTP/1.1", ["bytes=0-9"])
    assert heard.all("authorization") == [f"Bearer {KEY}"]
    assert await openai.caller.page("/v1/jobs") == []


async def test_a_call_without_an_answer_is_only_called_undone_where_it_is(openai: Through, raw: RawProvider) -> None:
    raw.says = None
    read = await openai.send("GET", "/v1/models")
    assert (read.status, read.body["code"]) == (502, "provider_not_reached")
    sent = await openai.send("POST", "/v1/files", data=b"document")
    assert (sent.status, sent.body["code"]) == (502, "call_outcome_unknown")
    await raw.__aexit__()  # from now on nobody listens there
    unsent = await openai.send("POST", "/v1/files", data=b"document")
    assert (unsent.status, unsent.body["code"]) == (502, "provider_not_reached")


async def test_an_answer_that_breaks_off_does_not_pass_for_a_whole_one(openai: Through, raw: RawProvider) -> None:
    raw.says, raw.hangs_up = answer(200, b"x" * 300_000)[:200_000], True
    with pytest.raises(aiohttp.ClientError):
        await openai.send("GET", "/v1/models")


async def test_streaming_is_refused_where_results_come_when_they_are_complete(
    openai: Through, raw: RawProvider
) -> None:
    told = await openai.submit(json={"model": "gpt-5", "input": "x", "stream": True})
    assert (told.status, told.body["code"]) == (422, "streaming_not_supported")
    assert told.body["errors"][0]["pointer"] == "#/stream"
    assert raw.heard == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"text"', b"prompt=x"])
async def test_a_body_that_nothing_can_be_put_into_is_refused(behind: Through, raw: RawProvider, body: bytes) -> None:
    told = await behind.submit(json=None, data=body, headers={"content-type": "application/json"})
    assert (told.status, told.body["code"]) == (422, "not_a_json_object")
    assert raw.heard == [] and await behind.caller.page("/v1/jobs") == []


async def test_a_callback_of_the_callers_own_is_refused(behind: Through, raw: RawProvider) -> None:
    told = await behind.submit(json={"prompt": "x", "callback_url": "https://mine.example/hook"})
    assert (told.status, told.body["code"]) == (422, "taken")
    assert told.body["errors"][0]["pointer"] == "#/callback_url"
    assert raw.heard == []
    own = await behind.submit(json={"prompt": "x", "callback_url": behind.webhook["callback_url"]})
    assert own.status == 200


async def test_a_coded_body_is_refused_where_something_must_be_put_in(behind: Through, raw: RawProvider) -> None:
    coded = {"content-type": "application/json", "content-encoding": "gzip"}
    told = await behind.submit(json=None, data=gzip.compress(orjson.dumps(PROMPT)), headers=coded)
    assert (told.status, told.body["code"]) == (415, "unsupported_content_encoding")
    assert raw.heard == []


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"a": 1e999}', '{"a": "\\u0000"}', '{"a":"' + "x" * 8200 + '"}'])
async def test_metadata_that_cannot_be_kept_is_refused_by_the_headers_name(
    behind: Through, raw: RawProvider, text: str
) -> None:
    told = await behind.submit(headers={"relay-metadata": text})
    assert (told.status, told.body["code"]) == (400, "invalid_header")
    assert told.body["errors"][0]["parameter"] == "Relay-Metadata"
    assert raw.heard == []


async def test_only_a_key_that_may_write_sends_anything_on(behind: Through, raw: RawProvider) -> None:
    made = await behind.caller.post("/v1/keys", {"name": "reader", "scope": "read"})
    told = await behind.submit(headers={"authorization": f"Bearer {made['key']}"})
    assert (told.status, told.body["code"]) == (403, "insufficient_scope")
    made = await behind.caller.post("/v1/keys", {"name": "writer", "scope": "write"})
    assert (await behind.submit(headers={"authorization": f"Bearer {made['key']}"})).status == 200
    assert made["key"] not in only(raw).everything


async def test_a_webhook_that_is_not_there_is_a_404_for_who_has_a_key_alone(behind: Through, raw: RawProvider) -> None:
    for id in ("wh_" + "0" * 32, "wh_x", "nothing"):
        url = f"{behind.caller.url}/submit/{id}/search"
        async with behind.caller.session.post(url, json=PROMPT) as told:
            assert told.status == 401
        async with behind.caller.session.post(url, json=PROMPT, headers={"x-api-key": ADMIN_KEY}) as told:
            assert told.status == 401
        headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        async with behind.caller.session.post(url, json=PROMPT, headers=headers) as told:
            assert (told.status, (await told.json(content_type=None))["code"]) == (404, "not_found")
    await behind.caller.post(f"/v1/webhooks/{behind.webhook['id']}/disable")
    assert (await behind.submit()).body["code"] == "webhook_disabled"
    await behind.caller.call("DELETE", f"/v1/webhooks/{behind.webhook['id']}")
    assert (await behind.submit()).status == 404
    assert raw.heard == []


async def test_a_document_is_uploaded_through_the_relay(sqlite_stage_url: str, tmp_path: Path) -> None:
    async with through(sqlite_stage_url, tmp_path, "pulse", hurry=10) as opened:
        form, document = aiohttp.FormData(), io.BytesIO(b"%PDF" + b"\x00\xff" * 2_000_000)
        form.add_field("file", document, filename="a.pdf", content_type="application/pdf")
        told = await opened.submit(json=None, data=form)
        assert told.status == 202, told.raw
        await opened.caller.ended(told.headers["relay-job-id"])


async def test_an_answer_that_is_too_large_is_not_passed_on(
    sqlite_stage_url: str, tmp_path: Path, raw: RawProvider
) -> None:
    raw.says = answer(200, b'{"x": "' + b"y" * 4000 + b'"}')
    limit = {"max_result_bytes": 1024}
    async with through(sqlite_stage_url, tmp_path, "netnut", webhook={"origins": [raw.url]}, **limit) as opened:
        told = await opened.submit()
        assert (told.status, told.body["code"]) == (502, "submit_outcome_unknown")
        assert (await opened.job(told))["last_error"] == "submit unclear: body_too_large"


async def test_urls_in_the_answer_are_used_on_the_webhooks_origins_alone(behind: Through, raw: RawProvider) -> None:
    async with RawProvider() as foreign:
        urls = {"traceId": "t-1", "response_url": f"{foreign.url}/r/1"}
        raw.says = answer(202, orjson.dumps(urls))
        told = await behind.submit()
        job = await behind.job(told)
        assert (job["provider_job_id"], job["response_url"]) == ("t-1", None)
        fetched = await behind.caller.call("POST", f"/v1/jobs/{job['id']}/fetch", {})
        assert fetched.status == 202
        await behind.caller.until(f"/v1/jobs/{job['id']}", lambda job: job["last_error"] is not None)
        assert foreign.heard == []
        assert PASSWORD not in str(raw.heard)


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
async def test_no_other_origin_hears_of_a_job_or_sees_credentials(
    sqlite_stage_url: str, tmp_path: Path, raw: RawProvider, provider: str
) -> None:
    async with RawProvider() as foreign:
        places = ("response_url", "responseUrl", "url", "status_url", "cancel_url", "next", "result_url")
        ids = dict.fromkeys(("id", "job_id", "request_id", "snapshot_id", "traceId"), "p-1")
        urls = dict.fromkeys(places, f"{foreign.url}/x")
        nested = {"data": {"id": "p-1"}, "urls": {"get": f"{foreign.url}/x", "cancel": f"{foreign.url}/x"}}
        raw.says = answer(200, orjson.dumps({**ids, **urls, **nested, "status": "queued"}))
        webhook = {"origins": [raw.url]}
        async with through(sqlite_stage_url, tmp_path, provider, hurry=10, webhook=webhook) as opened:
            told = await opened.submit()
            assert told.status == 200, told.raw
            path = f"/v1/jobs/{told.headers['relay-job-id']}"
            assert not (await opened.caller.get(path))["response_url"]
            await opened.caller.call("DELETE", path)
            await opened.caller.call("POST", f"{path}/fetch", {})
            await opened.caller.until(path, lambda job: job["attempts"] > 0 or job["last_error"] is not None)
        assert foreign.heard == []
        assert raw.heard and all(KEY in heard.everything or "Basic" in heard.everything for heard in raw.heard)
