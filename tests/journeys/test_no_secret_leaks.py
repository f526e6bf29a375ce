"""Known secrets are taken through a whole life, faults and all; then everything Relay wrote is searched for them."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import pytest

from tests.support.outbound import raw_server
from tests.support.secret_life import Life, echo, made_up, secret_life, stored

MIB: Final = 1024 * 1024
# Where an excerpt is cut, a secret may stand half inside it.
ECHOES: Final = (
    "500/0/json",
    "400/0/html",
    "200/0/json",
    "200/960/html",
    "400/1000/json",
    "500/900/html",
    "400/930/html",
)
NOUNS: Final = ("webhooks", "subscriptions", "notifications", "jobs", "results", "deliveries", "replays", "keys")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.acceptance)])
def secret_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("sqlite_stage_url" if request.param == "sqlite" else "stage_postgres_url")
    return url


async def test_no_planted_secret_is_found_anywhere(secret_url: str, tmp_path: Path) -> None:
    async with secret_life(secret_url, tmp_path) as life, raw_server(echo) as echoing:
        webhook = await _round_trip(life)
        await _echo(life, f"http://127.0.0.1:{echoing.port}/echo")
        await _knock(life, f"http://127.0.0.1:{echoing.port}/echo")
        await _crash(life, webhook)
        await _mistake(life, webhook)
        await _read_everything(life)
        places = {f"{name} of the running relay": data for name, data in (await stored(secret_url)).items()}
        assert await asyncio.to_thread(life.relay.stop) == 0
        places |= await stored(secret_url)
        places["log"] = (tmp_path / "relay.log").read_bytes()
        places |= dict(life.answers)
        places |= {f"message {number}": _less_its_link(m.body) for number, m in enumerate(life.world.sink.messages)}
    assert places["log"].count(b"a planted fault") >= 4, "not every stage crashed, or the log does not say so"
    leaks = [found for place, data in places.items() for found in life.needles.found_in(place, data)]
    assert not leaks, "\n".join(leaks)


def _less_its_link(body: bytes) -> bytes:
    """A message without the address of its payload, which is a secret between Relay and the subscriber."""
    envelope = orjson.loads(body)
    envelope["data"].pop("payload_url", None)
    return orjson.dumps(envelope)


async def _round_trip(life: Life) -> dict[str, Any]:
    """Wrong credentials, then right ones; deliveries with a header of the subscriber's; rotations; a replay."""
    world, planted = life.world, life.planted
    wrong = {"username": planted["username"], "password": planted["wrong password"]}
    webhook = await life.say(
        "POST",
        "/v1/webhooks",
        {"name": "netnut", "provider": "netnut", "credentials": wrong, "origins": [world.netnut.url]},
    )
    headers = {"authorization": f"Bearer {planted['header value']}"}
    wanted = {"name": "billing", "url": f"{world.sink.url}/billing", "headers": headers}
    for _ in range(2):  # the second time it is told what was kept
        await life.say("POST", "/v1/subscriptions", wanted, **{"idempotency-key": "once"})
    own = f"whsec_{base64.b64encode(life.needles.plant('own secret', made_up()).encode()[:48]).decode()}"
    (subscription,) = (await life.say("GET", "/v1/subscriptions"))["data"]
    for secret in (own, None):
        body = {"overlap_seconds": 60} | ({"secret": secret} if secret else {})
        await life.say("POST", f"/v1/subscriptions/{subscription['id']}/rotate-secret", body)
    await world.finished_trace(webhook)
    path = f"/v1/webhooks/{webhook['id']}"
    await world.until(path, lambda found: found["status"] == "credentials_rejected")
    await life.say("PATCH", path, {"credentials": wrong | {"password": planted["password"]}})
    world.netnut.knobs.padding = 2 * MIB
    await world.finished_trace(webhook)
    messages = await world.sink.wait_for(2)
    large = next(message for message in messages if b"payload_url" in message.body)
    link = orjson.loads(large.body)["data"]["payload_url"]
    life.needles.plant("payload link", link.rpartition(".")[2])
    async with world.session.get(link) as answer:
        assert answer.status == 200
    await life.say("POST", f"{path}/rotate", {"overlap_seconds": 60})
    await life.say("POST", "/v1/replays", {"filter": {"webhook_id": webhook["id"]}, "mode": "all"})
    await world.sink.wait_for(4)
    return webhook


async def _echo(life: Life, echoing: str) -> None:
    """A provider and a subscriber whose error pages hold everything that they were sent."""
    world, origin = life.world, echoing.removesuffix("/echo")
    credentials = {"username": life.planted["username"], "password": life.planted["password"]}
    for name, pages in (("echo", ECHOES), ("refusing", ("401/0/json",))):
        wanted = {"name": name, "provider": "netnut", "credentials": credentials, "origins": [origin]}
        webhook = await life.say("POST", "/v1/webhooks", wanted)
        for page in pages:
            told = await world.notify(webhook["callback_url"], {"response_url": f"{echoing}/{page}"})
            await world.until(f"/v1/jobs/{told.body['job_id']}", lambda job: job["attempts"] > 0)
    for number, page in enumerate(("500/0/html", "429/0/json", "500/950/html")):
        headers = {"x-key": life.planted["header value"]}
        wanted = {"name": f"echo-{number}", "url": f"{echoing}/{page}", "headers": headers}
        made = await life.say("POST", "/v1/subscriptions", wanted)
        await life.say("POST", f"/v1/subscriptions/{made['id']}/test")
        await life.say("POST", "/v1/replays", {"filter": {"types": ["result.completed"]}})
    await world.until("/v1/deliveries?status=exhausted", lambda page: len(page["data"]) >= 2)


async def _knock(life: Life, echoing: str) -> None:
    """A provider with a shared header, which is right, wrong and missing."""
    wanted = {
        "name": "knocks",
        "provider": "knocks",
        "credentials": {"api_key": life.planted["api key"]},
        "verification": {"secret": life.planted["knock"]},
        "origins": [echoing.removesuffix("/echo")],
    }
    webhook = await life.say("POST", "/v1/webhooks", wanted)
    body = {"id": "1", "url": f"{echoing}/400/0/json"}
    nearly = life.planted["knock"][:-1]
    told = [await life.world.notify(webhook["callback_url"], body, x_knock=knock) for knock in ("", nearly)]
    told.append(await life.world.notify(webhook["callback_url"], body, x_knock=life.planted["knock"]))
    assert [answer.status for answer in told] == [401, 401, 200]
    await life.world.until(f"/v1/jobs/{told[2].body['job_id']}", lambda job: job["attempts"] > 0)


async def _crash(life: Life, webhook: dict[str, Any]) -> None:
    """Every stage raises once, with secrets in its local variables."""
    world, planted = life.world, life.planted
    told = await world.notify(f"{webhook['callback_url']}/crash", {}, authorization=f"Bearer {planted['api key']}")
    assert told.status == 503
    url = f"{world.netnut.url}/results/crash"
    job = await life.say(
        "POST", "/v1/jobs", {"webhook_id": webhook["id"], "provider_job_id": "crash", "response_url": url}
    )
    await life.say("POST", f"/v1/jobs/{job['id']}/fetch")
    await world.until(f"/v1/jobs/{job['id']}", lambda found: found["last_error"] == "internal_error")
    headers = {"x-key": planted["header value"]}
    made = await life.say(
        "POST", "/v1/subscriptions", {"name": "crash", "url": f"{world.sink.url}/c", "headers": headers}
    )
    await life.say("POST", "/v1/replays", {"filter": {"types": ["result.completed"]}, "subscription_ids": [made["id"]]})
    await world.until(
        f"/v1/deliveries?subscription_id={made['id']}",
        lambda page: any(found["last_error"] == "internal_error" for found in page["data"]),
    )
    credentials = {"username": planted["username"], "password": planted["password"]}
    crashed = await life.say(
        "POST", "/v1/webhooks", {"name": "crash", "provider": "netnut", "credentials": credentials}
    )
    assert crashed["code"] == "internal_error"


async def _mistake(life: Life, webhook: dict[str, Any]) -> None:
    """Secrets where they do not belong: refused without being repeated."""
    password, key = life.planted["password"], life.planted["admin key"]
    credentials = {"username": life.planted["username"], "password": password}
    for wrong in (
        {"name": "netnut", "provider": "netnut", "credentials": credentials},
        {"name": [password], "provider": "netnut", "credentials": credentials | {"token": password}},
        {"name": "n", "provider": password, "credentials": password},
        {"name": "n", "provider": "netnut", "pasword": password, "verification": {"secret": password}},
        {"name": "n", "provider": "netnut", "credentials": credentials, "origins": [f"https://u:{password}@a.test"]},
        {"name": "n", "provider": "netnut", "credentials": credentials, "base_url": f"https://a.test/?key={key}"},
        [password],
    ):
        assert "code" in await life.say("POST", "/v1/webhooks", wrong)
    for wrong in (
        {"name": "s", "url": f"https://u:{password}@a.test/"},
        {"name": "s", "url": f"{life.world.sink.url}/s", "secret": f"whsec_{password}!"},
        {"name": "s", "url": f"{life.world.sink.url}/s", "headers": {"x-key": f"{password}\n"}},
    ):
        assert "code" in await life.say("POST", "/v1/subscriptions", wrong)
    token = urlsplit(webhook["callback_url"]).path
    for path in (f"/v1/jobs/{key}", f"/v1/jobs?api_key={key}", f"/v1{token}", f"/x{token}", f"/v1/jobs?cursor={key}"):
        assert "code" in await life.say("GET", path)
    for header in (f"Basic {key}", f"Bearer {key}x", key):
        await life.say("GET", "/v1/jobs", authorization=header)
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(life.world.url).port)
    writer.write(f"POST {token} HTTP/1.1\r\nauthorization: Bearer {key}\r\nnot a header\r\n\r\n".encode())
    life.answers.append(("the answer to what is not HTTP", await reader.read()))
    writer.close()


async def _read_everything(life: Life) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/v1/stats", "/v1/providers"):
        await life.say("GET", path)
    for noun in NOUNS:
        if noun != "keys":
            await life.read(f"/v1/{noun}?limit=200")
        for item in (await life.say("GET", f"/v1/{noun}?limit=200")).get("data", []):
            if noun in ("replays", "keys"):
                continue
            await life.read(f"/v1/{noun}/{item['id']}")
            if noun == "jobs":
                await life.read(f"/v1/jobs/{item['id']}/attempts")
