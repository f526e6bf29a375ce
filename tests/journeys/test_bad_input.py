"""Whatever comes to a callback URL gets a clear answer over a real socket, and what is authentic is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from tests.support.journey import World, travelling
from tests.support.outbound import always, raw_server, response

KIB = 1024
LARGEST = 200 * KIB
UNREADABLE = {
    "malformed": (b'{"traceID": "1", ', "not_json"),
    "two documents": (b"{}{}", "not_json"),
    "100 kB of nesting, open": (b"[" * 100_000, "not_json"),
    "100 kB of nesting in an object": (b'{"response_url":' * 7_000, "not_json"),
    "not UTF-8": (b"\xff\xfe\xfd", "not_json"),
    "not UTF-8 in a string": (b'{"response_url": "https://a.test/\xff"}', "foreign_response_url"),
    "UTF-16": ('{"response_url": "https://a.test/"}'.encode("utf-16"), "not_json"),
    "a form": (b"response_url=https%3A%2F%2Fa.test%2F", "not_json"),
    "HTML": (b"<html><body>done</body></html>", "not_json"),
    "empty": (b"", "empty_body"),
    "blank": (b" \r\n", "empty_body"),
    "an empty object": (b"{}", "no_id_and_no_url"),
    "null": (b"null", "no_id_and_no_url"),
    "a list": (b"[1, 2]", "no_id_and_no_url"),
    "100 kB of nesting, closed": (b"[" * 50_000 + b"]" * 50_000, "no_id_and_no_url"),
    "a response_url of null": (b'{"response_url": null, "traceID": null}', "no_id_and_no_url"),
}


@pytest.fixture
async def world(sqlite_stage_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with travelling(sqlite_stage_url, tmp_path, max_notification_bytes=LARGEST) as opened:
        yield opened


async def test_what_cannot_be_read_is_stored_and_said(world: World) -> None:
    webhook = await world.webhook()
    told: dict[str, Any] = {}
    for name, (body, _) in UNREADABLE.items():
        answer = await world.notify(webhook["callback_url"], body)
        assert answer.status == 200, name
        told[name] = answer.body
    assert {name: (body["status"], body["reason"], body["job_id"]) for name, body in told.items()} == {
        name: ("unprocessable", reason, None) for name, (_, reason) in UNREADABLE.items()
    }
    stored = {item["id"]: item for item in await world.page("/v1/notifications?status=unprocessable&limit=200")}
    assert stored.keys() == {body["notification_id"] for body in told.values()}
    assert {item["reason"] for item in stored.values()} == {reason for _, reason in UNREADABLE.values()}
    assert await world.page("/v1/jobs") == []


async def test_a_wrong_content_type_does_not_lose_a_readable_notification(world: World) -> None:
    webhook = await world.webhook()
    trace = world.netnut.open()
    body = orjson.dumps({"traceID": trace.id, "response_url": world.netnut.response_url(trace.id)})
    told = await world.notify(webhook["callback_url"], body, content_type="text/plain; charset=nonsense")
    assert told.body["status"] == "accepted"
    await world.ended(told.body["job_id"])


def _foreign(url: str) -> list[str]:
    host = urlsplit(url).netloc
    return [
        "https://elsewhere.example/results/1",
        f"https://{host}/results/1",
        f"http://{host}.elsewhere.example/results/1",
        f"http://user:secret@{host}/results/1",
        f"http://{host}@elsewhere.example/results/1",
        f"http://elsewhere.example\\@{host}/results/1",
        f"http://{host}/results/1#fragment",
        f"http://{host}/results/ 1",
        f"http://{host}/results/1\\n",
        "http://127.0.0.1:1/results/1",
        "http://localhost/results/1",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/results/1",
        f"http://0x7f.1:{urlsplit(url).port}/results/1",
        "file:///etc/passwd",
        "//elsewhere.example/results/1",
        "results/1",
        "javascript:alert(1)",
    ]


async def test_a_foreign_response_url_is_stored_and_never_asked(world: World) -> None:
    webhook = await world.webhook()
    for url in _foreign(world.netnut.url):
        told = await world.notify(webhook["callback_url"], {"traceID": "1", "response_url": url})
        assert (told.status, told.body["status"], told.body["reason"]) == (200, "unprocessable", "foreign_response_url")
        refused = await world.call("POST", "/v1/jobs", {"webhook_id": webhook["id"], "response_url": url})
        assert refused.status == 422, url
        assert refused.body["errors"][0]["pointer"] == "#/response_url"
    secure = await world.webhook("secure", origins=["https://llm-scraper.netnut.io"])
    told = await world.notify(secure["callback_url"], {"response_url": "http://llm-scraper.netnut.io/results/1"})
    assert told.body["reason"] == "foreign_response_url"
    assert await world.page("/v1/jobs") == []
    assert not world.netnut.requests


async def test_once_the_origin_is_allowed_a_refused_notification_is_taken_after_all(world: World) -> None:
    webhook = await world.webhook(origins=["https://llm-scraper.netnut.io"])
    trace = world.netnut.open()
    body = {"traceID": trace.id, "response_url": world.netnut.response_url(trace.id)}
    told = await world.notify(webhook["callback_url"], body)
    assert told.body["reason"] == "foreign_response_url"
    await world.patch(f"/v1/webhooks/{webhook['id']}", {"origins": [world.netnut.url]})
    taken = await world.post(f"/v1/notifications/{told.body['notification_id']}/reprocess")
    assert taken["status"] == "accepted"
    await world.ended(taken["job_id"])


async def test_a_redirecting_response_url_is_not_followed(world: World) -> None:
    async def elsewhere(*_: object) -> None:
        pytest.fail("the redirect was followed")

    async with raw_server(elsewhere) as trap:
        away = response(b"", status="302 Found", headers=[f"Location: http://127.0.0.1:{trap.port}/results/1"])
        async with raw_server(always(away)) as provider:
            origin = f"http://127.0.0.1:{provider.port}"
            webhook = await world.webhook(origins=[origin, f"http://127.0.0.1:{trap.port}"])
            told = await world.notify(webhook["callback_url"], {"response_url": f"{origin}/results/1"})
            job = await world.until(f"/v1/jobs/{told.body['job_id']}", lambda job: job["attempts"] > 0)
            assert job["status"] == "fetching"
            assert (await world.attempts(job["id"]))[0]["http_status"] == 302
            assert trap.connections == 0


async def test_wrong_tokens_are_all_told_the_same(world: World) -> None:
    webhook = await world.webhook()
    base, token = webhook["callback_url"].rsplit("/", 1)
    identity, generation, signature = token.split(".")
    forged = [
        "nonsense",
        "%00",
        "x" * 20_000,
        f"{identity}.{generation}.{signature[:-1]}",
        f"{identity}.{generation}.{signature[:-4]}AAAA",
        f"{identity}.1.{signature}",
        f"{'0' * 32}.{generation}.{signature}",
        f"{identity}.{generation}",
    ]
    bodies = set()
    for wrong in forged:
        told = await world.notify(f"{base}/{wrong}", {"response_url": f"{world.netnut.url}/results/1"})
        assert told.status == 404, wrong
        problem = told.body
        del problem["request_id"]
        bodies.add(orjson.dumps(problem))
    assert len(bodies) == 1
    assert await world.page("/v1/notifications") == []


async def test_a_body_over_the_limit_is_413_and_one_at_the_limit_is_taken(world: World) -> None:
    webhook = await world.webhook()
    told = await world.notify(webhook["callback_url"], b" " * (LARGEST + 1))
    assert (told.status, told.body["code"]) == (413, "too_large")
    assert (await world.notify(webhook["callback_url"], b" " * LARGEST)).status == 200
    (kept,) = await world.page("/v1/notifications")
    assert kept["reason"] == "empty_body"


async def test_over_its_rate_a_webhook_says_503_and_the_same_notification_is_taken_later(world: World) -> None:
    webhook = await world.webhook(notification_rate_per_second=0.5)
    sent = {"response_url": f"{world.netnut.url}/results/1"}
    assert (await world.notify(webhook["callback_url"], {"traceID": "before"})).status == 200
    refused = [await world.notify(webhook["callback_url"], body) for body in (sent, b" " * 100_000)]  # on either way in
    assert [(told.status, told.headers["Retry-After"]) for told in refused] == [(503, "2"), (503, "2")]
    await world.patch(f"/v1/webhooks/{webhook['id']}", {"notification_rate_per_second": None})
    assert (await world.notify(webhook["callback_url"], sent)).body["status"] == "accepted"


async def test_the_wrong_method_is_405_and_a_browser_sees_a_page(world: World) -> None:
    webhook = await world.webhook()
    put = await world.call("PUT", urlsplit(webhook["callback_url"]).path, {"a": 1})
    assert (put.status, put.headers["allow"]) == (405, "POST")
    browser = await world.call("GET", urlsplit(webhook["callback_url"]).path, headers={"accept": "text/html"})
    assert b"callback address" in browser.raw


BOMBS = {
    "one long header": b"x-bomb: " + b"a" * 300_000 + b"\r\n",
    "many headers": b"".join(b"x-%d: 1\r\n" % number for number in range(5_000)),
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_header_bombs_are_431(world: World, bomb: str) -> None:
    webhook = await world.webhook()
    split = urlsplit(webhook["callback_url"])
    reader, writer = await asyncio.open_connection(split.hostname, split.port)
    writer.write(
        b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n" % split.path.encode() + BOMBS[bomb] + b"\r\n{}"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 431 ")
    assert (await world.notify(webhook["callback_url"], b"")).status == 200
    assert len(await world.page("/v1/notifications")) == 1
