"""Making and changing webhooks and subscriptions from the pages: by the API's own rules, and no secret twice."""

from __future__ import annotations

import base64
import re
import secrets
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from relay.model import Secret
from relay.web.ui import forms
from relay.web.ui.forms import Field
from tests.support.clock import FakeClock
from tests.support.dashboard import SAME_ORIGIN, Dashboard
from tests.support.dashboard_rows import Filled
from tests.support.html_forms import Form, form_to
from tests.support.management import FORBIDDEN_URL

PLANTED = "planted-secret-Zx9"


async def _opened(dashboard: Dashboard, path: str, action: str) -> Form:
    return form_to(await dashboard.get(path), action)


async def _sent(dashboard: Dashboard, form: Form, **typed: Any) -> httpx2.Response:
    """As a browser sends it, with what was typed into it."""
    data = form.fields | {name.replace("__", "."): value for name, value in typed.items()}
    return await dashboard.client.post(form.action, data=data, headers=SAME_ORIGIN)


async def _webhook_form(dashboard: Dashboard, provider: str = "netnut") -> Form:
    return await _opened(dashboard, f"/ui/webhooks/new?provider={provider}", "/ui/webhooks")


def _beside(page: str, field: str) -> str:
    """What is said to be wrong beside a field."""
    found = re.search(rf'id="{re.escape(field)}-wrong">(.*?)</p>', page, re.S)
    assert found, f"nothing is said beside {field}"
    described = re.search(rf'id="{re.escape(field)}"[^>]*aria-describedby="([^"]*)"', page)
    assert described and f"{field}-wrong" in described[1]
    return re.sub("<[^>]+>", "", found[1]).replace("&#34;", '"').replace("&#39;", "'").strip()


# --- webhooks ---


async def test_the_first_question_is_which_provider_and_what_it_needs_is_said(dashboard: Dashboard) -> None:
    page = await dashboard.get("/ui/webhooks/new")
    loaded = (await dashboard.management.client.get("/v1/providers")).json()["data"]
    for one in loaded:
        assert f'href="/ui/webhooks/new?provider={one["name"]}"' in page, one["name"]
    assert "Needs username and password" in page and "Needs api key, webhook_id" in page
    for name in sorted(one["name"] for one in loaded):
        form = await _webhook_form(dashboard, name)
        wanted = {f"credentials.{each}" for one in loaded if one["name"] == name for each in one["credentials"]}
        wanted |= {f"parameters.{each['name']}" for one in loaded if one["name"] == name for each in one["parameters"]}
        assert wanted <= set(form.fields), name
    assert (await dashboard.client.get("/ui/webhooks/new?provider=none")).status_code == 404


async def test_what_is_known_of_a_provider_is_prose_that_the_browser_wraps(dashboard: Dashboard) -> None:
    page = await dashboard.get("/ui/webhooks/new?provider=netnut")
    found = re.search(r'<div class="notes">(.*?)</div>', page, re.S)
    assert found is not None
    assert found[1].count("<p>") == found[1].count("</p>") == 3
    assert "<code>response</code> object" in found[1] and "`" not in found[1]
    style = (await dashboard.client.get("/ui/static/app.css")).text
    assert not re.search(r"\.notes \{[^}]*pre", style)


async def test_a_webhook_is_made_and_its_page_says_where_the_provider_takes_the_url(dashboard: Dashboard) -> None:
    form = await _webhook_form(dashboard)
    answer = await _sent(
        dashboard, form, name="prod", credentials__username="u", credentials__password=f" {PLANTED} ",
        poll_seconds="5, 10 30", fetch_rate_per_second="2.5", metadata='{"team": "a", "n": [1, 2.50]}',
    )  # fmt: skip
    assert answer.status_code == 303, answer.text
    assert PLANTED not in str(answer.headers)
    page = await dashboard.get(answer.headers["location"])
    (made,) = (await dashboard.management.client.get("/v1/webhooks")).json()["data"]
    assert answer.headers["location"] == f"/ui/webhooks/{made['id']}?done=webhook_made"
    assert f'data-copy="{made["callback_url"]}"' in page and PLANTED not in page
    assert "&#34;async&#34;: true, &#34;callback_url&#34;: &#34;https://relay.example/in/" in page  # the snippet
    assert f"https://relay.example/submit/{made['id']}/search" in page
    known = dashboard.management.services.configuration.current.webhooks[made["id"]]
    assert known.credentials == {"username": Secret("u"), "password": Secret(f" {PLANTED} ")}
    assert not known.origins  # the form showed the profile's, and nobody changed them
    assert list(known.poll_seconds or ()) == [5, 10, 30] and known.fetch_rate_per_second == 2.5
    assert known.metadata == {"team": "a", "n": [1, 2.5]} and known.fetch_max_in_flight == 8


async def test_what_the_api_refuses_stands_beside_its_field_and_the_rest_stays(dashboard: Dashboard) -> None:
    form = await _webhook_form(dashboard)
    answer = await _sent(
        dashboard, form, name="kept-name", credentials__password=PLANTED, origins="https://ok.example\r\nnonsense",
        fetch_max_in_flight="many", metadata='{"kept": ', retention_seconds="nan",
    )  # fmt: skip
    assert answer.status_code == 422
    assert "is not JSON" in _beside(answer.text, "metadata")  # first what cannot be read at all
    again = form_to(answer.text, "/ui/webhooks")
    assert again.fields["name"] == ["kept-name"] and again.fields["metadata"] == ['{"kept":']
    answer = await _sent(dashboard, again, metadata='{"kept": 1}', credentials__password=PLANTED)
    assert answer.status_code == 422 and PLANTED not in answer.text
    assert "integer" in _beside(answer.text, "fetch_max_in_flight")
    assert "number" in _beside(answer.text, "retention_seconds")
    assert "please type secrets anew" in answer.text
    again = form_to(answer.text, "/ui/webhooks")
    assert again.fields["credentials.password"] == [""] and again.fields["name"] == ["kept-name"]
    assert again.fields["origins"] == ["https://ok.example\r\nnonsense"]
    answer = await _sent(dashboard, again, fetch_max_in_flight="", retention_seconds="", credentials__password="p")
    assert "is needed for netnut" in _beside(answer.text, "credentials.username")
    answer = await _sent(dashboard, again, fetch_max_in_flight="", retention_seconds="",
                         credentials__username="u", credentials__password="p")  # fmt: skip
    assert _beside(answer.text, "origins").startswith("✕ line 2: ")
    assert (await dashboard.management.client.get("/v1/webhooks")).json()["data"] == []


async def test_a_taken_name_is_said_beside_the_name(dashboard: Dashboard) -> None:
    await dashboard.management.webhook("taken")
    await dashboard.management.subscription("taken")
    typed = {"name": "taken", "credentials.username": "u", "credentials.password": PLANTED}
    answer = await _sent(dashboard, await _webhook_form(dashboard), **typed)
    assert answer.status_code == 409 and "already taken" in _beside(answer.text, "name")
    assert PLANTED not in answer.text
    form = await _opened(dashboard, "/ui/subscriptions/new", "/ui/subscriptions")
    answer = await _sent(dashboard, form, name="taken", url="https://a.example", headers=f"x-a: {PLANTED}")
    assert answer.status_code == 409 and "already taken" in _beside(answer.text, "name")
    assert PLANTED not in answer.text


async def test_a_form_changes_what_was_changed_in_it_and_undoes_nothing_of_others(dashboard: Dashboard) -> None:
    management = dashboard.management
    webhook = await management.webhook("before", verification={"secret": PLANTED}, metadata={"a": 1})
    place = f"/ui/webhooks/{webhook['id']}/edit"
    form = await _opened(dashboard, place, place)
    assert PLANTED not in str(form.fields) and "planted-password" not in await dashboard.get(place)
    theirs = {"fetch_max_in_flight": 3, "untracked": "ignore", "credentials": {"username": "new", "password": "new"}}
    await management.client.patch(f"/v1/webhooks/{webhook['id']}", json=theirs)
    answer = await _sent(dashboard, form, name="after", origins="", metadata="")
    assert answer.headers["location"] == f"/ui/webhooks/{webhook['id']}?done=changed", answer.text
    known = management.services.configuration.current.webhooks[webhook["id"]]
    assert (known.name, known.origins, known.metadata) == ("after", (), {})
    assert (known.fetch_max_in_flight, known.untracked) == (3, "ignore")
    assert known.credentials["username"] == Secret("new") and known.verification == {"secret": Secret(PLANTED)}
    form = await _opened(dashboard, place, place)
    answer = await _sent(dashboard, form, credentials__username="mine")
    assert "is needed for netnut" in _beside(answer.text, "credentials.password")
    form = await _opened(dashboard, place, place)
    await _sent(dashboard, form, credentials__username="mine", credentials__password="p", clear__verification="yes")
    known = management.services.configuration.current.webhooks[webhook["id"]]
    assert known.credentials["username"] == Secret("mine") and known.verification == {}


async def test_an_error_in_a_change_keeps_what_was_typed_and_what_is_not_changed(dashboard: Dashboard) -> None:
    webhook = await dashboard.management.webhook("one", metadata={"a": 1})
    place = f"/ui/webhooks/{webhook['id']}/edit"
    form = await _opened(dashboard, place, place)
    answer = await _sent(dashboard, form, name="two", retention_days="-1")
    assert "greater than 0" in _beside(answer.text, "retention_days")
    answer = await _sent(dashboard, form_to(answer.text, place), retention_days="2")
    assert answer.status_code == 303, answer.text
    known = dashboard.management.services.configuration.current.webhooks[webhook["id"]]
    assert (known.name, known.retention_days, known.metadata) == ("two", 2, {"a": 1})


async def test_deleting_asks_first(dashboard: Dashboard) -> None:
    webhook, subscription = await dashboard.management.webhook(), await dashboard.management.subscription()
    for noun, made, words in (("webhooks", webhook, "gets 410"), ("subscriptions", subscription, "is cancelled")):
        place = f"/ui/{noun}/{made['id']}"
        assert f'href="{place}/delete"' in await dashboard.get(place)
        page = await dashboard.get(f"{place}/delete")
        assert words in page and made["name"] in page
        assert (await dashboard.management.client.get(f"/v1/{noun}/{made['id']}")).status_code == 200
        answer = await _sent(dashboard, form_to(page, f"{place}/delete"))
        assert answer.status_code == 303 and answer.headers["location"].startswith(f"/ui/{noun}?done=")
        assert (await dashboard.management.client.get(f"/v1/{noun}/{made['id']}")).status_code == 404


# --- subscriptions ---


async def test_a_subscription_is_made_and_its_secret_is_in_that_answer_only(dashboard: Dashboard) -> None:
    webhook = await dashboard.management.webhook()
    form = await _opened(dashboard, "/ui/subscriptions/new", "/ui/subscriptions")
    answer = await _sent(
        dashboard, form, name="billing", url="https://billing.example/hooks", webhook_ids=[webhook["id"]],
        event_types=["result.completed", "job.expiring"], providers=["netnut"], format="thin",
        filter='{"data.status": {"$eq": "completed"}}', headers=f"x-team: {PLANTED}\r\nx-more: a:b", max_in_flight="3",
        schedule_seconds="0, 5",
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store" and PLANTED not in answer.text
    secret = re.search(r"whsec_[A-Za-z0-9+/=]+", answer.text)
    (made,) = (await dashboard.management.client.get("/v1/subscriptions")).json()["data"]
    known = dashboard.management.services.configuration.current.subscriptions[made["id"]]
    assert secret and list(known.secrets) == [Secret(secret[0])]
    assert known.headers == {"x-team": PLANTED, "x-more": "a:b"} and known.webhook_ids == (webhook["id"],)
    assert known.filter == {"data.provider": {"$in": ["netnut"]}, "data.status": {"$eq": "completed"}}
    assert known.event_types == ("result.completed", "job.expiring") and list(known.schedule_seconds or ()) == [0, 5]
    assert (known.format, known.max_in_flight) == ("thin", 3)
    for path in ("", "/edit", "/filter", "/rotate-secret", "/delete"):
        page = await dashboard.get(f"/ui/subscriptions/{made['id']}{path}")
        assert "whsec_" not in page and PLANTED not in page, path


async def test_nothing_secret_is_in_the_log_or_in_an_address(dashboard: Dashboard) -> None:
    with capture_logs() as lines:
        form = await _webhook_form(dashboard)
        typed = {"name": "w", "credentials.username": PLANTED, "verification.secret": PLANTED, "origins": "nonsense"}
        answers = [await _sent(dashboard, form, **typed, **{"credentials.password": PLANTED})]
        answers += [await _sent(dashboard, form, **typed | {"origins": ""}, **{"credentials.password": PLANTED})]
        form = await _opened(dashboard, "/ui/subscriptions/new", "/ui/subscriptions")
        own = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        answers += [
            await _sent(dashboard, form, name="s", url="https://a.example", headers=f"a: {PLANTED}", secret=own)
        ]
        answers += [await _sent(dashboard, await _opened(dashboard, "/ui/settings", "/ui/keys"), name="k")]
    assert [answer.status_code for answer in answers] == [422, 303, 200, 200]
    key = re.search(r"rk_[0-9a-f]{32}_[0-9A-Za-z]+", answers[-1].text)
    assert key and lines
    for secret in (PLANTED, own, key[0]):
        assert secret not in str(lines) and secret not in str([answer.headers for answer in answers])
        assert secret not in "".join(str(answer.request.url) for answer in answers)
    assert PLANTED not in "".join(answer.text for answer in answers)


async def test_a_blocked_address_is_told_with_the_setting_that_would_allow_it(dashboard: Dashboard) -> None:
    form = await _opened(dashboard, "/ui/subscriptions/new", "/ui/subscriptions")
    answer = await _sent(dashboard, form, name="inside", url=FORBIDDEN_URL, headers=f"x-team: {PLANTED}")
    assert "RELAY_EGRESS_ALLOW=10.0.0.5/32:443" in _beside(answer.text, "url")
    assert form_to(answer.text, "/ui/subscriptions").fields["url"] == [FORBIDDEN_URL] and PLANTED not in answer.text


WRONG = [
    ({"url": ""}, "url", "needed unless kind is pull"),
    ({"kind": "pull"}, "url", "not for a pull subscription"),
    ({"headers": "x-team"}, "headers", "line 1 is not of the form"),
    ({"headers": "host: a"}, "headers", "host: is set by Relay itself"),
    ({"headers": "a: 1\r\nA: 2"}, "headers", "given twice"),
    ({"filter": '{"data.status": {"$much": 1}}'}, "filter", "data.status $much: "),
    ({"filter": "[1]"}, "filter", "object"),
    ({"filter": '{"a": "\\u0000"}'}, "filter", "U+0000"),
    ({"filter": '{"a": "\\ud800"}'}, "filter", "surrogate"),
    ({"filter": '{"²": "\\u0000"}'}, "filter", "U+0000"),
    ({"filter": '{"a": 99999999999999999999}'}, "filter", "64 bit"),
    ({"filter": "[" * 5000}, "filter", "is not JSON"),
    ({"filter": '{"data.provider": {"$eq": "a"}}', "providers": ["netnut"]}, "providers", "already"),
    ({"secret": "short"}, "secret", "bytes"),
    ({"max_in_flight": "0"}, "max_in_flight", "greater than or equal to 1"),
    ({"rate_per_second": "inf"}, "rate_per_second", "number"),
    ({"schedule_seconds": "5, 10"}, "schedule_seconds", "must be 0"),
    ({"schedule_seconds": "0, soon"}, "schedule_seconds", "line 2: "),
    ({"timeout_seconds": "1e9"}, "timeout_seconds", "number"),
    ({"webhook_ids": ["wh_" + "0" * 32]}, "webhook_ids", "is not a webhook"),
    ({"event_types": ["result.lost"]}, "event_types", "result.completed"),
]


@pytest.mark.parametrize(
    ("typed", "field", "words"), WRONG, ids=[f"{field}-{n}" for n, (_, field, _) in enumerate(WRONG)]
)
async def test_whatever_is_wrong_is_said_beside_its_field(
    dashboard: Dashboard, typed: dict[str, Any], field: str, words: str
) -> None:
    form = await _opened(dashboard, "/ui/subscriptions/new", "/ui/subscriptions")
    answer = await _sent(dashboard, form, **({"name": "one", "url": "https://a.example"} | typed))
    assert answer.status_code == 422, answer.text
    assert words in _beside(answer.text, field)
    assert f'<a href="#{field}">' in answer.text  # the list above the form leads to it
    assert form_to(answer.text, "/ui/subscriptions").fields["name"] == ["one"]


async def test_a_subscription_is_changed_and_a_tried_filter_comes_into_its_form(filled: Filled) -> None:
    await filled.fill()
    dashboard, place = filled.dashboard, f"/ui/subscriptions/{filled.subscription}/edit"
    page = await dashboard.get(
        f"/ui/subscriptions/{filled.subscription}/filter?filter=%7B%22data.status%22%3A%22a%22%7D"
    )
    link = re.search(rf'href="({place}\?filter=[^"]+)"', page)
    assert link
    form = form_to(await dashboard.get(link[1]), place)
    assert form.fields["filter"] == ['{"data.status":"a"}']
    answer = await _sent(dashboard, form, headers=f"x-team: {PLANTED}", rate_per_second="5")
    assert answer.status_code == 303, answer.text
    known = dashboard.management.services.configuration.current.subscriptions[filled.subscription]
    assert known.filter == {"data.status": "a"} and known.rate_per_second == 5 and known.headers == {"x-team": PLANTED}
    form = await _opened(dashboard, place, place)
    assert form.fields["rate_per_second"] == ["5"] and form.fields["max_in_flight"] == ["8"]
    await _sent(dashboard, form, rate_per_second="", filter="", clear__headers="yes")
    known = dashboard.management.services.configuration.current.subscriptions[filled.subscription]
    assert (known.filter, known.rate_per_second, dict(known.headers)) == (None, None, {})


async def test_a_deleted_webhook_does_not_turn_into_all_of_them(dashboard: Dashboard) -> None:
    webhook = await dashboard.management.webhook()
    subscription = await dashboard.management.subscription(webhook_ids=[webhook["id"]])
    assert (await dashboard.management.client.delete(f"/v1/webhooks/{webhook['id']}")).status_code == 204
    place = f"/ui/subscriptions/{subscription['id']}/edit"
    assert "netnut-prod (deleted)" in await dashboard.get(place)
    answer = await _sent(dashboard, await _opened(dashboard, place, place), name="renamed")
    assert answer.status_code == 303, answer.text
    known = dashboard.management.services.configuration.current.subscriptions[subscription["id"]]
    assert (known.name, list(known.webhook_ids or ())) == ("renamed", [webhook["id"]])


async def test_a_pull_subscription_and_one_with_a_key_pair(dashboard: Dashboard) -> None:
    form = await _opened(dashboard, "/ui/subscriptions/new", "/ui/subscriptions")
    answer = await _sent(dashboard, form, name="taker", kind="pull")
    assert "/messages" in answer.text and "whsec_" in answer.text and "/test" not in answer.text
    answer = await _sent(dashboard, form, name="pair", url="https://a.example", signing="ed25519")
    assert "whpk_" in answer.text and "whsec_" not in answer.text and "whsk_" not in answer.text


@pytest.fixture
async def filled(dashboard: Dashboard, clock: FakeClock) -> Filled:
    return Filled(dashboard, clock)


# --- keys ---


async def test_a_key_ends_when_it_was_said_to_and_what_is_wrong_is_said(dashboard: Dashboard) -> None:
    form = await _opened(dashboard, "/ui/settings", "/ui/keys")
    answer = await _sent(dashboard, form, name="\x01", scope="write")
    assert answer.status_code == 422 and "pattern" in _beside(answer.text, "name")
    for days in ("²", "soon", "9" * 5000):
        assert (await _sent(dashboard, form, name="ends", days=days)).status_code == 422, "never is not what was said"
    answer = await _sent(dashboard, form_to(answer.text, "/ui/keys"), name="ends", days="30")
    assert answer.status_code == 200 and re.search("rk_[0-9a-f]{32}_", answer.text)
    (key,) = (await dashboard.management.client.get("/v1/keys")).json()["data"]
    assert (key["scope"], key["expires_at"]) == ("write", "2026-12-21T19:00:00.000Z")


# --- texts and values ---


def test_numbers_are_numbers_and_nothing_else_becomes_null() -> None:
    assert [forms.number(text) for text in ("8", "-1", "2.50")] == [8, -1, 2.5]
    for text in ("nan", "inf", "1e9", "0x1", "1_0", "٣", "", "1" * 16):
        assert forms.number(text) == text


def test_what_is_shown_and_sent_back_unchanged_changes_nothing() -> None:
    fields = (
        Field(name="a", label="a", kind="number"), Field(name="b.c", label="c"),
        Field(name="d", label="d", kind="lines"),
        Field(name="e", label="e", kind="json"), Field(name="f", label="f", kind="numbers"),
        Field(name="g", label="g", kind="several"), Field(name="h", label="h", secret=True),
    )  # fmt: skip
    view = {
        "a": 2.0,
        "b": {"c": "x\ny"},
        "d": ["1", "2"],
        "e": {"k": [1.10, "é\u202e"]},
        "f": [0.0, 5.5],
        "g": ["p", "q"],
    }
    shown = forms.filled(fields, view)
    back = {
        name: list(value) if isinstance(value, list) else [str(value).replace("\n", "\r\n")]
        for name, value in shown.items()
    }
    back |= {"before": [forms.kept(shown)], "h": [""]}
    assert forms.changes(fields, back, {}) == ({}, [])
    assert forms.changes(fields, back | {"d": ["1"], "h": [" s "]}, {}) == ({"d": ["1"], "h": " s "}, [])
    assert forms.changes(fields, back | {"e": ["{"], "before": ["junk"]}, {})[1]
