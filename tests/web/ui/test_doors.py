"""Closed by default: keys, links, sessions, scopes, and forms of other origins."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from relay.app.edge import sites
from relay.model import Secret
from relay.settings import Settings
from relay.signing.browser import LINK_SECONDS, SESSION_SECONDS, Sessions, SignInLinks, sign_in_url
from relay.web.ui.guard import COOKIE, HEADERS
from relay.web.ui.routes import OPEN, PAGES
from tests.support.clock import FakeClock
from tests.support.dashboard import SAME_ORIGIN, Dashboard
from tests.support.management import ADMIN_KEY, KEYS, client_of

ID = "0" * 32
PREFIXES = {"jobs": "job", "results": "res", "deliveries": "dlv", "webhooks": "wh", "keys": "key"} | {
    "subscriptions": "sub", "replays": "rpl",
}  # fmt: skip


def _path(pattern: str) -> str:
    for noun, prefix in PREFIXES.items():
        pattern = pattern.replace(f"{noun}/{{id}}", f"{noun}/{prefix}_{ID}")
    return pattern


async def test_nobody_sees_or_does_anything_without_a_session(outside: Dashboard) -> None:
    for method, pattern in PAGES:
        answer = await outside.client.request(method, _path(pattern), headers=SAME_ORIGIN)
        assert answer.status_code == 303, pattern
        assert answer.headers["location"].startswith("/ui/sign-in")
        assert {name: answer.headers[name] for name in HEADERS} == dict(HEADERS)


async def test_the_sign_in_page_and_its_files_are_open_and_guarded(outside: Dashboard) -> None:
    assert {path for _, path in OPEN} == {"/ui/sign-in", "/ui/sign-out", "/ui/static/{name}"}
    for path in ("/ui/sign-in", "/ui/static/app.css", "/ui/static/app.js", "/ui/static/icon.svg", "/ui/none"):
        answer = await outside.client.get(path)
        assert answer.headers["content-security-policy"] == HEADERS["content-security-policy"], path
        assert answer.status_code == (404 if path == "/ui/none" else 200)
    assert (await outside.client.get("/ui/static/../routes.py")).status_code == 404
    for path in ("/", "/ui"):
        assert (await outside.client.get(path)).headers["location"] == "/ui/"


async def test_a_key_signs_in_and_leads_to_where_one_was_going(outside: Dashboard) -> None:
    wanted = (await outside.client.get("/ui/jobs?status=failed")).headers["location"]
    assert wanted == "/ui/sign-in?next=/ui/jobs%3Fstatus%3Dfailed"
    answer = await outside.client.post(
        "/ui/sign-in", data={"key": f" {ADMIN_KEY} ", "next": "/ui/jobs?status=failed"}, headers=SAME_ORIGIN
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/jobs?status=failed")
    assert ADMIN_KEY not in str(answer.headers)
    assert "Overview" in await outside.get("/ui/")


async def test_sign_in_leads_nowhere_else(outside: Dashboard) -> None:
    for target in ("https://evil.example/", "//evil.example", "/ui//evil", "/ui/\\evil", "/v1/keys", "/ui/\r\nx: y"):
        answer = await outside.client.post("/ui/sign-in", data={"key": ADMIN_KEY, "next": target}, headers=SAME_ORIGIN)
        assert answer.headers["location"] == "/ui/", target


async def test_a_wrong_key_is_refused_and_not_repeated(outside: Dashboard) -> None:
    answer = await outside.sign_in("rk_planted-wrong-key")
    assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
    assert "unknown, expired or revoked" in answer.text
    assert "planted" not in answer.text


async def test_the_cookie_is_kept_from_scripts_and_other_sites(outside: Dashboard) -> None:
    cookie = (await outside.sign_in()).headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/ui"} <= {part.strip() for part in cookie.split(";")}
    plain = {"origin": "http://relay.example", "sec-fetch-site": "same-origin"}  # a management port of its own
    answer = await outside.client.post("/ui/sign-in", data={"key": ADMIN_KEY}, headers=plain)
    assert "Secure" not in answer.headers["set-cookie"]


async def test_a_session_ends_with_its_time(dashboard: Dashboard, clock: FakeClock) -> None:
    clock.advance(SESSION_SECONDS - 1)
    await dashboard.get("/ui/")
    clock.advance(2)
    await dashboard.get("/ui/", 303)


async def test_a_session_ends_with_its_key(outside: Dashboard) -> None:
    key = await outside.management.make("/v1/keys", {"name": "someone", "scope": "read"})
    await outside.sign_in(key["key"])
    await outside.get("/ui/")
    assert (await outside.management.client.delete(f"/v1/keys/{key['id']}")).status_code == 204
    await outside.get("/ui/", 303)


async def test_a_session_of_another_admin_key_is_none(outside: Dashboard, clock: FakeClock) -> None:
    text = Sessions(KEYS).mint("admin", "f" * 64, clock.now())
    outside.client.cookies.set(COOKIE, text)
    await outside.get("/ui/", 303)


async def test_a_changed_session_is_none(dashboard: Dashboard) -> None:
    text = dashboard.client.cookies[COOKIE]
    for place in (0, 10, 30, -1):
        changed = list(text)
        changed[place] = "b" if text[place] != "b" else "c"
        dashboard.client.cookies.clear()
        dashboard.client.cookies.set(COOKIE, "".join(changed))
        await dashboard.get("/ui/", 303)


async def test_signing_out_takes_the_cookie(dashboard: Dashboard) -> None:
    assert (await dashboard.client.post("/ui/sign-out")).status_code == 403
    answer = await dashboard.client.post("/ui/sign-out", headers=SAME_ORIGIN)
    assert answer.headers["location"] == "/ui/sign-in"
    await dashboard.get("/ui/", 303)


# --- links ---


async def test_a_link_signs_in_once_and_looking_at_it_is_no_use_of_it(outside: Dashboard, clock: FakeClock) -> None:
    url = sign_in_url("", KEYS, clock.now())
    for _ in range(2):
        assert "signs you in" in await outside.get(url)
    link = url.partition("link=")[2]
    answer = await outside.client.post("/ui/sign-in", data={"link": link}, headers=SAME_ORIGIN)
    assert answer.status_code == 303
    await outside.get("/ui/settings")
    again = await outside.client.post("/ui/sign-in", data={"link": link}, headers=SAME_ORIGIN)
    assert (again.status_code, "set-cookie" in again.headers) == (401, False)


async def test_a_link_is_good_for_ten_minutes_and_only_if_it_is_ours(outside: Dashboard, clock: FakeClock) -> None:
    old = SignInLinks(KEYS).mint(clock.now())
    clock.advance(LINK_SECONDS)
    foreign = SignInLinks((Secret("x" * 40),)).mint(clock.now())
    session = Sessions(KEYS).mint("admin", "f" * 64, clock.now())
    for link in (old, foreign, session, "", "a" * 5000):
        answer = await outside.client.post("/ui/sign-in", data={"link": link or "."}, headers=SAME_ORIGIN)
        assert answer.status_code == 401, link[:40]


# --- forms of other origins ---

SITES = ("same-origin", "same-site", "cross-site", "none", None)
ORIGINS = ("https://relay.example", "null", "https://evil.example", "https://relay.example.evil.example", None)
TYPES = ("application/x-www-form-urlencoded", "application/json", "text/plain", "multipart/form-data", None)


async def test_only_a_form_of_this_origin_with_the_token_of_this_session_acts(dashboard: Dashboard) -> None:
    """The whole of A7: method x content type x Origin x Sec-Fetch-Site x cookie x token."""
    subscription = await dashboard.management.subscription()
    path, token = f"/ui/subscriptions/{subscription['id']}/pause", await dashboard.token()
    cookie = dashboard.client.cookies[COOKIE]
    dashboard.client.cookies.clear()
    passed = []
    for kind, origin, site, signed_in, with_token in itertools.product(
        TYPES, ORIGINS, SITES, (True, False), (True, False)
    ):
        given = {"content-type": kind, "origin": origin, "sec-fetch-site": site}
        headers = {name: value for name, value in given.items() if value is not None}
        if signed_in:
            headers["cookie"] = f"{COOKIE}={cookie}"
        content = f"token={token}" if with_token else "token="
        answer = await dashboard.client.post(path, content=content, headers=headers)
        if "done=paused" in answer.headers.get("location", ""):
            passed.append((kind, origin, site, signed_in, with_token))
    assert sorted(passed, key=str) == sorted(
        [
            (TYPES[0], "https://relay.example", "same-origin", True, True),
            (TYPES[0], "https://relay.example", None, True, True),  # a browser that does not know Sec-Fetch-Site
            (TYPES[0], None, "same-origin", True, True),
        ],
        key=str,
    )


async def test_every_form_is_refused_from_elsewhere_and_without_the_token_of_the_session(dashboard: Dashboard) -> None:
    token = await dashboard.token()
    foreign = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
    for method, pattern in PAGES:
        if method != "POST":
            continue
        for fields, headers, words in (
            ({"token": token}, foreign, "Another site"),
            ({"token": token}, {}, "did not say"),
            ({"token": ""}, SAME_ORIGIN, "another session"),
            ({"token": token[:-1]}, SAME_ORIGIN, "another session"),
        ):
            answer = await dashboard.client.post(_path(pattern), data=fields, headers=headers)
            assert answer.status_code == 403 and words in answer.text, f"{pattern}: {answer.status_code}"


async def test_nothing_but_a_post_acts(dashboard: Dashboard) -> None:
    subscription = await dashboard.management.subscription()
    path = f"/ui/subscriptions/{subscription['id']}/pause"
    for method in ("GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"):
        answer = await dashboard.client.request(method, path, headers=SAME_ORIGIN)
        assert answer.status_code in (404, 405)
    after = (await dashboard.management.client.get(f"/v1/subscriptions/{subscription['id']}")).json()
    assert after["status"] == "active"


async def test_a_strange_host_makes_nobody_an_own_origin(dashboard: Dashboard) -> None:
    subscription, token = await dashboard.management.subscription(), await dashboard.token()
    path = f"/ui/subscriptions/{subscription['id']}/pause"
    for host in ("example.com/abc?bar=", "a@b", "evil.example", "[::1", "relay.example\t", "h" * 300):
        headers = {"host": host, "origin": "https://elsewhere.example", "sec-fetch-site": "same-origin"}
        answer = await dashboard.client.post(path, data={"token": token}, headers=headers)
        assert answer.status_code == 403, host


async def test_a_token_of_another_session_is_refused(dashboard: Dashboard) -> None:
    subscription = await dashboard.management.subscription()
    old = await dashboard.token()
    await dashboard.sign_in()
    answer = await dashboard.client.post(
        f"/ui/subscriptions/{subscription['id']}/pause", data={"token": old}, headers=SAME_ORIGIN
    )
    assert (answer.status_code, "another session" in answer.text) == (403, True)


# --- scopes ---


async def test_a_read_key_sees_no_callback_url_and_no_button(outside: Dashboard) -> None:
    webhook = await outside.management.webhook()
    subscription = await outside.management.subscription()
    key = await outside.management.make("/v1/keys", {"name": "someone", "scope": "read"})
    await outside.sign_in(key["key"])
    secret = webhook["callback_url"].rpartition("/in/")[2]
    places = (f"webhooks/{webhook['id']}", f"subscriptions/{subscription['id']}", f"webhooks/{webhook['id']}/rotate")
    for path in (f"/ui/{place}" for place in ("", "webhooks", "subscriptions", "settings", "problems", *places)):
        page = await outside.get(path)
        assert secret not in page, path
        assert 'method="post"' not in page.replace('method="post" action="/ui/sign-out"', ""), path
    assert "RELAY_SECRET_KEYS" not in await outside.get("/ui/settings")


async def test_a_read_key_that_sends_the_forms_anyway_is_refused(outside: Dashboard, clock: FakeClock) -> None:
    subscription = await outside.management.subscription()
    key = await outside.management.make("/v1/keys", {"name": "someone", "scope": "read"})
    await outside.sign_in(key["key"])
    sessions = Sessions(KEYS)
    session = sessions.read(outside.client.cookies[COOKIE], clock.now())
    assert session is not None
    fields = {
        "token": sessions.form_token(session),
        "name": "x",
        "scope": "admin",
        "created_after": "2020-01-01T00:00:00Z",
    }
    for method, pattern in PAGES:
        path = _path(pattern).replace(f"sub_{ID}", subscription["id"])
        if method == "POST":
            answer = await outside.client.post(path, data=fields, headers=SAME_ORIGIN)
            assert answer.status_code == 403, path
    assert (await outside.management.client.get("/v1/keys")).json()["data"][0]["id"] == key["id"]


# --- where it is served ---


async def test_what_faces_providers_has_no_dashboard(outside: Dashboard, tmp_path: Path) -> None:
    services = outside.management.services
    given = {"data_dir": tmp_path, "secret_keys": KEYS, "admin_key": ADMIN_KEY, "management_port": 8001}

    async def components() -> dict[str, str | bool]:
        return {}

    receiver: Any = services.receiver
    observer: Any = SimpleNamespace(registry=None, refresh=components, metrics=None)
    public, management = sites(Settings.model_validate(given), services, receiver, components, observer)
    for site, status in ((public, 404), (management, 200)):
        app: Any = site.app
        assert (await client_of(app, None).get("/ui/sign-in")).status_code == status
