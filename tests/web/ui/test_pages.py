"""What the pages show and do, without JavaScript."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from relay.clock import Instant, after
from relay.model import DeliveryStatus, JobStatus, Result, Secret
from relay.settings import Settings
from relay.store import breakers
from relay.store.breakers import Breaker
from relay.web.ui.settings_page import shown
from tests.support.clock import FakeClock
from tests.support.dashboard import HOSTILE, Dashboard, dashboard_of, elements
from tests.support.dashboard_rows import Filled
from tests.support.management import open_management
from tests.support.noun_rows import (
    delivery,
    job,
    put_delivery,
    put_job,
    put_result,
    result,
)


@pytest.fixture
async def filled(dashboard: Dashboard, clock: FakeClock) -> Filled:
    return Filled(dashboard, clock)


async def test_every_page_is_there_on_both_databases(on_both_databases: Dashboard, clock: FakeClock) -> None:
    for path in await Filled(on_both_databases, clock).fill():
        page = await on_both_databases.get(path)
        assert elements(page).running == [], path
        assert page.count("<h1") == 1 and 'lang="en"' in page, path
        for table in re.findall(r"<table.*?</table>", page, re.S):
            assert "<caption" in table and 'scope="' in table, path


async def test_what_strangers_write_makes_no_element_and_no_attribute(
    filled: Filled, clock: FakeClock, tmp_path: Path, empty_file: Path
) -> None:
    benign = await open_management(f"sqlite:///{shutil.copy(empty_file, tmp_path / 'benign.db')}", clock, migrate=False)
    plain = Filled(dashboard_of(benign, tmp_path), clock)
    await plain.dashboard.sign_in()
    text, payload = "\n".join(HOSTILE), "\n".join(HOSTILE).encode()
    hostile_paths = await filled.fill(text, payload)
    plain_paths = await plain.fill("x" * len(text), b"x" * len(payload))
    for hostile_path, plain_path in zip(hostile_paths, plain_paths, strict=True):
        page = await filled.dashboard.get(hostile_path)
        read = elements(page)
        assert read.running == [], hostile_path
        assert read.found == elements(await plain.dashboard.get(plain_path)).found, hostile_path
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e\u2066-\u2069]", page), hostile_path
    assert "{{7*7}} ${7*7} {%raw%}" in await filled.dashboard.get(f"/ui/jobs/{filled.job.id}")
    await plain.dashboard.client.aclose()
    await benign.close()


async def test_a_payload_is_shown_as_it_is_stored_and_saved_byte_for_byte(filled: Filled) -> None:
    payload = b'{"big":12345678901234567890,"b":1.10,"a":[],"c":"\\u00e9 , : {"}'
    await filled.fill(payload=payload)
    page = await filled.dashboard.get(f"/ui/jobs/{filled.job.id}")
    assert "&#34;big&#34;: 12345678901234567890,\n  &#34;b&#34;: 1.10,\n  &#34;a&#34;: [],\n  &#34;c&#34;" in page
    raw = await filled.dashboard.get(f"/ui/jobs/{filled.job.id}?payload=raw")
    assert "{&#34;big&#34;:12345678901234567890,&#34;b&#34;:1.10" in raw
    saved = await filled.dashboard.client.get(f"/ui/results/{filled.result.id}/payload")
    assert saved.content == payload
    assert saved.headers["content-disposition"].startswith("attachment")
    assert saved.headers["content-security-policy"].startswith("sandbox")


async def test_what_should_have_been_sent_by_now_is_due_and_no_longer_next(filled: Filled, clock: FakeClock) -> None:
    await filled.fill()
    job, subscription = f"/ui/jobs/{filled.job.id}", f"/ui/subscriptions/{filled.subscription}"
    assert "next <time" in await filled.dashboard.get(job) and ">next</text>" in await filled.dashboard.get(job)
    clock.advance(700)
    late = await filled.dashboard.get(job)
    assert "due <time" in late and ">due</text>" in late
    assert "next <time" not in late and ">next</text>" not in late
    assert "due <time" in await filled.dashboard.get(subscription)
    assert "due <time" in await filled.dashboard.get("/ui/jobs")


async def test_a_webhook_says_where_its_provider_takes_the_address(dashboard: Dashboard) -> None:
    key = {"credentials": {"api_key": "a-planted-key"}}
    told = {}
    for provider, more in (("netnut", {}), ("pulse", {**key, "verification": {"secret": "whsec_" + "Y" * 32}})):
        webhook = await dashboard.management.webhook(provider, provider=provider, **more)
        told[provider] = await dashboard.get(f"/ui/webhooks/{webhook['id']}")
    freddy = await dashboard.management.webhook("freddy", provider="freddy", **key)
    told["freddy"] = await dashboard.get(f"/ui/webhooks/{freddy['id']}")
    assert "put it into the request" in told["netnut"] and "its own settings" not in told["netnut"]
    assert "In its own settings" in told["pulse"] and "put this into the request" in told["pulse"]
    assert "calls nobody back" in told["freddy"] and "its own settings" not in told["freddy"]


async def test_a_large_payload_is_shown_in_part(filled: Filled) -> None:
    await filled.fill(payload=b"x" * 5_000_000)
    page = await filled.dashboard.get(f"/ui/jobs/{filled.job.id}")
    assert "the first 64 KiB of 5.0 MB" in page
    assert 64 * 1024 <= page.count("x") < 80 * 1024


async def test_jobs_are_filtered_by_the_names_of_the_api(filled: Filled) -> None:
    await filled.fill()
    page = await filled.dashboard.get("/ui/jobs?status=waiting&status=fetching&webhook_id=&provider_job_id=")
    assert filled.waiting.id in page and f'href="/ui/jobs/{filled.job.id}"' not in page
    assert "/v1/jobs?status=waiting&amp;status=fetching" in page
    wrong = await filled.dashboard.get("/ui/jobs?created_after=yesterday", 400)
    assert "created_after" in wrong and "RFC 3339" in wrong


async def test_pages_are_keyset_pages(filled: Filled) -> None:
    await filled.fill()
    first = await filled.dashboard.get("/ui/jobs?limit=1&status=waiting&status=completed")
    older = re.search(r'href="(/ui/jobs\?[^"]+)" rel="next"', first)
    assert older is not None
    second = await filled.dashboard.get(older[1].replace("&amp;", "&"))
    assert f'href="/ui/jobs/{filled.waiting.id}"' in first and f'href="/ui/jobs/{filled.job.id}"' in second
    assert "« newest" in second and "older »" not in second


async def test_anything_is_found_by_its_id(filled: Filled) -> None:
    await filled.fill()
    where = {
        filled.job.id: f"/ui/jobs/{filled.job.id}",
        filled.result.id: f"/ui/jobs/{filled.job.id}",
        filled.delivery.id: f"/ui/jobs/{filled.job.id}",
        filled.subscription: f"/ui/subscriptions/{filled.subscription}",
        "req_8812": "/ui/jobs?provider_job_id=req_8812",
        "": "/ui/jobs",
    }
    for text, target in where.items():
        answer = await filled.dashboard.client.get("/ui/find", params={"q": text})
        assert unquote(answer.headers["location"]) == target


async def test_a_delivery_is_retried_and_the_page_says_queued(filled: Filled) -> None:
    await filled.fill()
    answer = await filled.dashboard.post(f"/ui/deliveries/{filled.delivery.id}/retry")
    assert answer.headers["location"] == f"/ui/jobs/{filled.job.id}?done=queued"
    assert "Queued: it is due now" in await filled.dashboard.get(answer.headers["location"])
    stored = (await filled.dashboard.management.client.get(f"/v1/deliveries/{filled.delivery.id}")).json()
    assert stored["next_attempt_at"] == "2026-11-21T19:00:00.000Z"
    assert "deliveries" in filled.dashboard.management.outside.hints


async def test_pause_resume_and_what_the_api_refuses(dashboard: Dashboard) -> None:
    subscription = await dashboard.management.subscription()
    place = f"/ui/subscriptions/{subscription['id']}"
    for action, done, status in (("pause", "paused", "paused"), ("resume", "resumed", "active")):
        answer = await dashboard.post(f"{place}/{action}")
        assert answer.headers["location"] == f"{place}?done={done}"
        stored = (await dashboard.management.client.get(f"/v1/subscriptions/{subscription['id']}")).json()
        assert stored["status"] == status
    assert (await dashboard.post(f"/ui/subscriptions/sub_{'0' * 32}/pause")).status_code == 404


@pytest.mark.parametrize("path", ["jobs", "jobs?status=failed&limit=5", "deliveries?status=exhausted"])
async def test_the_command_beside_a_list_asks_the_relay_that_the_shell_knows(dashboard: Dashboard, path: str) -> None:
    command = re.search('data-copy="(curl[^"]*)"', await dashboard.get(f"/ui/{path}"))
    assert command
    shell = 'curl() { printf "%s\\n" "$@"; }; ' + unescape(command[1])
    given = {"RELAY_URL": "https://relay.example", "RELAY_API_KEY": "rk_1"}
    said = await asyncio.to_thread(subprocess.check_output, ["sh", "-c", shell], env=given, text=True)
    assert said.splitlines() == ["-H", "authorization: Bearer rk_1", f"https://relay.example/v1/{path}"]


async def test_a_filter_is_tried_on_stored_results(filled: Filled) -> None:
    await filled.fill(payload=b'{"score": 3}')
    place = f"/ui/subscriptions/{filled.subscription}/filter"
    assert "1 of the latest 1 match" in await filled.dashboard.get(place)
    tried = await filled.dashboard.client.get(place, params={"filter": '{"data.payload.score": {"$gte": 5}}'})
    assert "0 of the latest 1 match" in tried.text and "filter.data.payload.score.$gte" in tried.text
    for wrong, told in (
        ('{"a": "\\ud800"}', "lone surrogate"),
        ('{"a": NaN}', "not valid JSON"),
        ("{", "not valid JSON"),
        ('{"data.score": {"$much": 1}}', "$much"),
        ("[1]", "filter"),
    ):
        answer = await filled.dashboard.client.get(place, params={"filter": wrong})
        assert answer.status_code in (400, 422) and told in answer.text, wrong


async def test_a_wrong_filter_is_told_where_no_result_is_stored_yet(dashboard: Dashboard) -> None:
    subscription = await dashboard.management.subscription()
    place = f"/ui/subscriptions/{subscription['id']}/filter"
    answer = await dashboard.client.get(place, params={"filter": '{"data.payload.score": {"$much": 1}}'})
    assert answer.status_code == 422 and "$much" in answer.text
    answer = await dashboard.client.get(place, params={"filter": '{"data.payload.score": {"$gte": 1}}'})
    assert answer.status_code == 200 and "No result is stored yet" in answer.text


async def test_a_test_message_is_sent_and_what_came_back_is_shown(filled: Filled) -> None:
    await filled.fill()
    filled.dashboard.management.outside.test_answer = (503, None)
    answer = await filled.dashboard.post(f"/ui/subscriptions/{filled.subscription}/test")
    assert "Test message failed" in answer.text and "503" in answer.text


async def test_a_new_secret_is_shown_once(dashboard: Dashboard) -> None:
    subscription = await dashboard.management.subscription()
    place = f"/ui/subscriptions/{subscription['id']}"
    assert "Rotate the signing secret" in await dashboard.get(f"{place}/rotate-secret")
    answer = await dashboard.post(f"{place}/rotate-secret", {"overlap_seconds": "3600"})
    found = re.search(r"whsec_[A-Za-z0-9+/=]+", answer.text)
    assert found and answer.headers["cache-control"] == "no-store"
    assert "whsec_" not in await dashboard.get(place)
    known = dashboard.management.services.configuration.current.subscriptions[subscription["id"]]
    assert known.secrets[0] == Secret(found[0]) and len(known.secrets) == 2


async def test_what_the_flow_leaves_out_is_counted_in_words(dashboard: Dashboard) -> None:
    for number in range(9):
        await dashboard.management.webhook(f"netnut-{number}")
    assert "One quieter one is left out." in await dashboard.get("/ui/")
    await dashboard.management.webhook("netnut-9")
    assert "2 quieter ones are left out." in await dashboard.get("/ui/")


async def test_a_webhook_is_rotated_after_a_question(dashboard: Dashboard) -> None:
    webhook = await dashboard.management.webhook()
    place = f"/ui/webhooks/{webhook['id']}"
    assert webhook["callback_url"] in await dashboard.get(place)
    assert "The old one is taken until it ends; notifications to it get 410 from then on" in await dashboard.get(
        f"{place}/rotate"
    )
    await dashboard.post(f"{place}/rotate", {"overlap_seconds": "0"})
    page = await dashboard.get(place)
    assert webhook["callback_url"] not in page and "https://relay.example/in/" in page


async def test_a_number_that_is_none_is_named_and_nothing_is_rotated(dashboard: Dashboard) -> None:
    webhook = await dashboard.management.webhook()
    subscription = await dashboard.management.subscription()
    for text in ("²", "9" * 30, "soon", "nan"):
        for path in (f"webhooks/{webhook['id']}/rotate", f"subscriptions/{subscription['id']}/rotate-secret"):
            answer = await dashboard.post(f"/ui/{path}", {"overlap_seconds": text})
            assert (answer.status_code, "overlap_seconds" in answer.text) == (422, True), (path, text)
        replay = {"created_after": "2026-01-01T00:00:00Z", "rate_per_second": text}
        assert "rate_per_second" in (await dashboard.post("/ui/replays", replay)).text, text
    still = (await dashboard.management.client.get(f"/v1/webhooks/{webhook['id']}")).json()
    assert still["callback_url"] == webhook["callback_url"]


async def test_failures_are_grouped_and_replayed_after_the_count(dashboard: Dashboard, clock: FakeClock) -> None:
    webhook, subscription = await dashboard.management.webhook(), await dashboard.management.subscription()
    spent: list[Result] = []

    def store(conn: Any) -> None:
        for number in range(4):
            one = job(webhook["id"], clock.now(), status=JobStatus.COMPLETED, due_at=None)
            made = result(one.id, webhook["id"], Instant(clock.now() - 1000 + number), b"{}")
            spent.append(made)
            put_job(conn, one)
            put_result(conn, made, b"{}")
            error = "http_503" if number else "timeout"
            put_delivery(conn, delivery(made.id, subscription["id"], clock.now(), attempts=10, last_error=error,
                                        status=DeliveryStatus.EXHAUSTED, due_at=None))  # fmt: skip

    await dashboard.management.database.write(store)
    page = await dashboard.get("/ui/problems")
    link = re.search(r'href="(/ui/replays/new[^"]+error=http_503)"[^>]*>replay all 3…', page)
    assert link and "replay it…" in page
    sure = await dashboard.get(link[1].replace("&amp;", "&"))
    assert "Replay 3 results?" in sure and '<button class="danger">Replay 3</button>' in sure
    fields = {
        "result_ids": re.findall(r'name="result_ids" value="([^"]+)"', sure),
        "subscription_ids": subscription["id"],
    }
    assert set(fields["result_ids"]) == {made.id for made in spent[1:]}
    answer = await dashboard.post("/ui/replays", fields)
    replay = (await dashboard.management.client.get(answer.headers["location"].replace("/ui/", "/v1/"))).json()
    assert replay["subscription_ids"] == [subscription["id"]]
    assert set(replay["filter"]["result_ids"]) == set(fields["result_ids"])


async def test_counting_without_a_word_of_which_results_says_what_is_missing(dashboard: Dashboard) -> None:
    assert "Say which results" not in await dashboard.get("/ui/replays/new?subscription_ids=")
    page = await dashboard.get("/ui/replays/new?webhook_id=&created_after=&mode=undelivered", 422)
    assert "Say which results" in page and "Count</button>" in page


async def test_a_replay_is_paused_resumed_and_cancelled(filled: Filled) -> None:
    replay = (await filled.fill())[-4].rpartition("/")[2]
    assert replay.startswith("rpl_")
    for action, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        answer = await filled.dashboard.post(f"/ui/replays/{replay}/{action}")
        assert answer.status_code == 303, answer.text
        stored = (await filled.dashboard.management.client.get(f"/v1/replays/{replay}")).json()
        assert stored["status"] == status
        await filled.dashboard.get(answer.headers["location"])


async def test_an_open_breaker_is_said_where_health_is(filled: Filled, clock: FakeClock) -> None:
    await filled.fill()
    down = Breaker(subscription_id=filled.subscription, failing_since=clock.now(), opened_at=clock.now(),
                   next_probe_at=after(clock.now(), 30), last_error="http_503")  # fmt: skip
    await filled.dashboard.management.database.write(lambda conn: breakers.put(conn, down))
    for path in ("/ui/", "/ui/subscriptions", f"/ui/subscriptions/{filled.subscription}"):
        page = await filled.dashboard.get(path)
        assert "breaker open" in page and "in 30 s" in page, path
    assert "Last error: http_503." in page  # on its own page


async def test_a_key_is_made_shown_once_and_revoked(dashboard: Dashboard) -> None:
    answer = await dashboard.post("/ui/keys", {"name": "grafana", "scope": "read"})
    found = re.search(r"rk_[0-9a-f]{32}_[0-9A-Za-z]+", answer.text)
    assert found
    page = await dashboard.get("/ui/settings")
    assert found[0] not in page and "grafana" in page
    revoke = re.search(r'action="(/ui/keys/key_[0-9a-f]+/revoke)"', page)
    assert revoke
    await dashboard.post(revoke[1])
    assert (await dashboard.management.client.get("/v1/keys")).json()["data"][0]["revoked_at"] is not None


def test_no_secret_is_shown_with_the_settings(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "data_dir": tmp_path,
            "database_url": "postgresql://relay:planted-pw@db/relay?password=planted-too",
            "secret_keys": ("planted-secret-key-of-32-characters-or-more",),
            "admin_key": "planted-admin-key-of-32-characters-or-more",
            "api_key": "planted-api-key",
        }
    )
    rows = shown(settings)
    assert len(rows) == len(Settings.model_fields)
    assert "planted" not in str([row[1] for row in rows])
    assert {row[0]: row[2] for row in rows}["RELAY_LOG_LEVEL"] is True


async def test_numbers_come_from_the_rollups(filled: Filled, clock: FakeClock) -> None:
    await filled.fill()
    page = await filled.dashboard.get("/ui/")
    assert "<dt>notified, 24 h</dt><dd>3</dd>" in page
    assert "3 notified" in page and "netnut-prod to billing: 2 deliveries" in page


async def test_the_wheel_holds_the_templates_and_the_static_files() -> None:
    from importlib import resources

    here = resources.files("relay.web.ui")
    project = Path(__file__).parents[3] / "pyproject.toml"
    assert "web/ui/templates/*" in project.read_text() and "web/ui/static/*" in project.read_text()
    assert here.joinpath("templates", "layout.html").is_file() and here.joinpath("static", "app.js").is_file()
