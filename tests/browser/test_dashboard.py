"""The dashboard in a real Chromium: watched live, used by mouse and keyboard, hostile to nobody but hostile content."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from relay.clock import SystemClock
from relay.model import Secret
from relay.signing.browser import sign_in_url
from tests.browser.accessible import axe
from tests.browser.conftest import PATIENCE_MS, Person, Running, somebody
from tests.support.dashboard import HOSTILE
from tests.support.journey import SECRET_KEY
from tests.support.later import later

if TYPE_CHECKING:
    from playwright.sync_api import Browser

playwright = later("playwright.sync_api")

# Every element with the names of its attributes; each kind once of the waterfall, whose ruler depends on the moment.
NAMES = """
() => {
  const name = (one) => one.tagName + ":" + one.getAttributeNames();
  const drawn = new Set([...document.querySelectorAll("#waterfall *")].map(name));
  const others = [...document.querySelectorAll("*")].filter((one) => !one.closest("#waterfall")).map(name);
  return [[...drawn].sort().join("\\n"), others.sort().join("\\n")];
}
"""


pytestmark = pytest.mark.acceptance

# In `make proofs` all of them, in `make acceptance` one of a kind.
SOME_OR_ALL = pytest.mark.parametrize(
    "all_of_them", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["one-a-kind", "all"]
)


def expect(what: Any) -> Any:
    """Playwright's assertions, which wait."""
    return playwright.expect(what)


class Stage:
    """A webhook with two subscriptions, one of which cannot be reached."""

    def __init__(self, running: Running) -> None:
        self.running = running
        do, world = running.do, running.world
        self.webhook = do(world.webhook())
        self.billing = do(world.subscribe("billing"))
        self.away = do(world.post("/v1/subscriptions", {"name": "away", "url": "http://127.0.0.1:9/hooks"}))

    def ask(self, prompt: str = "tea") -> dict[str, Any]:
        """A job, once it is complete and delivered."""
        return self.running.do(self._ask(prompt))

    async def _ask(self, prompt: str) -> dict[str, Any]:
        world = self.running.world
        known = {job["id"] for job in await world.page("/v1/jobs")}
        await world.ask(self.webhook, prompt)
        listed = await world.until(
            "/v1/jobs", lambda page: any(job["id"] not in known and job["result_id"] for job in page["data"])
        )
        job: dict[str, Any] = next(job for job in listed["data"] if job["id"] not in known)
        path = f"/v1/deliveries?job_id={job['id']}"
        await world.until(path, lambda page: any(one["status"] == "delivered" for one in page["data"]))
        return job

    def pages(self, job: dict[str, Any]) -> list[str]:
        """Every page."""
        return [
            "/ui/", "/ui/jobs", f"/ui/jobs/{job['id']}", "/ui/webhooks", f"/ui/webhooks/{self.webhook['id']}",
            f"/ui/webhooks/{self.webhook['id']}/rotate", "/ui/webhooks/new", "/ui/webhooks/new?provider=inference-net",
            f"/ui/webhooks/{self.webhook['id']}/edit", f"/ui/webhooks/{self.webhook['id']}/delete",
            "/ui/deliveries", "/ui/subscriptions/new", f"/ui/subscriptions/{self.away['id']}/edit",
            f"/ui/subscriptions/{self.away['id']}/delete", "/ui/subscriptions", f"/ui/subscriptions/{self.away['id']}",
            f"/ui/subscriptions/{self.billing['id']}/rotate-secret", f"/ui/subscriptions/{self.billing['id']}/filter",
            "/ui/problems", "/ui/replays",
            "/ui/replays/new?created_after=2020-01-01T00:00:00Z&mode=all", "/ui/metrics", "/ui/settings",
            "/ui/playground",
        ]  # fmt: skip

    def one_a_kind(self, job: dict[str, Any]) -> list[str]:
        """A list, a job, a registration, a form, a question, and what is like no other page."""
        return [
            "/ui/", "/ui/jobs", f"/ui/jobs/{job['id']}", f"/ui/subscriptions/{self.away['id']}",
            f"/ui/webhooks/{self.webhook['id']}/edit", f"/ui/webhooks/{self.webhook['id']}/delete",
            "/ui/metrics", "/ui/settings", "/ui/playground",
        ]  # fmt: skip


@pytest.fixture(scope="module")
def stage(running: Running) -> Stage:
    return Stage(running)


def test_a_round_trip_is_watched_live_and_sent_again(person: Person, stage: Stage) -> None:
    page = person.sign_in()
    page.goto(person.url + "/ui/jobs")
    job = stage.ask()
    row = page.locator(f"tr[data-open='/ui/jobs/{job['id']}']")
    expect(row).to_contain_text("completed", timeout=PATIENCE_MS)  # nobody reloaded the page
    page.keyboard.press("j")
    expect(row).to_have_class("here")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/ui/jobs/{job['id']}")
    expect(page.locator("#waterfall svg")).to_contain_text("→ billing")
    expect(page.locator("pre.payload")).to_contain_text('"prompt": "tea"')
    billing = page.locator("#deliveries tr", has_text="billing").first
    expect(billing).to_contain_text("delivered")
    billing.get_by_role("button", name="retry").click()
    expect(page.locator(".note.ok")).to_contain_text("Queued")
    expect(page.locator("#deliveries tr", has_text="billing").first.locator("td").nth(2)).to_have_text("2")
    assert person.violations == []


def test_pausing_the_updates_holds_over_pages_and_focus(person: Person, stage: Stage) -> None:
    page = person.sign_in()
    page.click("#pause")
    page.goto(person.url + "/ui/jobs")
    expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
    before = page.locator("#jobs").inner_html()
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    stage.ask("unseen")
    page.wait_for_timeout(2500)  # longer than from one update to the next
    assert page.locator("#jobs").inner_html() == before
    page.click("#pause")
    expect(page.locator("#jobs tbody tr")).not_to_have_count(before.count("<tr data-open"))


def test_on_a_telephone_in_the_dark_long_texts_have_room_and_empty_bars_are_dark(
    chromium: Browser, running: Running, stage: Stage
) -> None:
    stage.ask("for the telephone")
    everything = {"filter": {"created_after": "2020-01-01T00:00:00Z"}, "subscription_ids": [stage.billing["id"]]}
    running.do(running.world.post("/v1/replays", everything))
    with somebody(chromium, running, viewport={"width": 390, "height": 800}, color_scheme="dark") as person:
        page = person.sign_in()
        page.goto(person.url + "/ui/problems")
        room = page.locator("td.break").first.bounding_box()
        assert room is not None and room["width"] > 120
        page.goto(person.url + "/ui/jobs")
        state = page.locator("#jobs tbody .state").first.bounding_box()
        assert state is not None and state["x"] + state["width"] <= 390
        page.goto(person.url + "/ui/replays")
        assert page.evaluate("getComputedStyle(document.querySelector('progress')).appearance") == "none"
        person.is_content()


def test_names_of_a_hundred_letters_make_no_page_wider_than_a_telephone(
    chromium: Browser, running: Running, stage: Stage
) -> None:
    do, world = running.do, running.world
    known = {"credentials": {"api_key": "k"}, "verification": {"secret": "s" * 24}}
    webhook = do(world.post("/v1/webhooks", {"name": "n" * 120, "provider": "pulse", **known}))
    subscription = do(world.post("/v1/subscriptions", {"name": "s" * 120, "kind": "pull"}))
    with somebody(chromium, running, viewport={"width": 390, "height": 800}) as person:
        page = person.sign_in()
        for path in ("jobs", "deliveries", "replays/new", f"subscriptions/{subscription['id']}/edit"):
            person.go(f"/ui/{path}")
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, f"{path} is too wide"
        ends = set()
        for path in ("jobs", "settings"):  # with and without live updates
            box = person.go(f"/ui/{path}").get_by_role("button", name="sign out").bounding_box()
            ends.add(box and box["x"])
        assert len(ends) == 1
        person.is_content()
    do(world.call("DELETE", f"/v1/subscriptions/{subscription['id']}"))
    do(world.call("DELETE", f"/v1/webhooks/{webhook['id']}"))


def test_the_header_is_one_line_and_on_smaller_screens_nothing_of_it_is_cut_off(
    chromium: Browser, running: Running
) -> None:
    lines = "new Set([...document.querySelectorAll('header > *, header nav a')].map((one) => { const box ="
    lines += " one.getBoundingClientRect(); return Math.round((box.top + box.bottom) / 12); })).size"
    with somebody(chromium, running, timezone_id="Asia/Tehran") as person:
        page = person.sign_in()
        page.click("#zone")  # its longest word
        for width, most in ((1280, 1), (1265, 1), (1024, 2), (390, 5)):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(person.url + "/ui/subscriptions")  # the longest name, in bold
            expect(page.locator("#zone")).to_have_text("local time")
            assert page.evaluate(lines) <= most, width
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        person.is_content()


def test_filter_find_and_help(person: Person, stage: Stage) -> None:
    job = stage.ask("to be found")
    page = person.sign_in()
    page.goto(person.url + "/ui/jobs")
    page.check("input[value=completed]")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(f"a[href='/ui/jobs/{job['id']}']")).to_be_visible()
    page.uncheck("input[value=completed]")
    page.check("input[value=expired]")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#jobs")).to_contain_text("No job matches")
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("/")
    page.keyboard.type(str(job["provider_job_id"]))
    page.keyboard.press("Enter")
    expect(page.locator("#jobs tbody tr")).to_have_count(1)
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()


def test_pause_rotate_and_replay_from_the_pages(person: Person, stage: Stage) -> None:
    stage.ask()
    page = person.sign_in()
    page.goto(f"{person.url}/ui/subscriptions/{stage.billing['id']}")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator(".head .state")).to_contain_text("paused")
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.locator(".head .state")).to_contain_text("active")
    page.get_by_role("link", name="Rotate the secret…").click()
    page.get_by_role("button", name="Rotate").click()
    secret = page.locator(".note.warn code").inner_text()
    assert secret.startswith("whsec_") and secret != stage.billing["secret"]
    stage.running.world.sink.trust("/billing", Secret(secret))
    page.goto(f"{person.url}/ui/webhooks/{stage.webhook['id']}")
    old = page.locator("code", has_text="/in/").inner_text()
    page.get_by_role("link", name="Rotate the URL…").click()
    page.get_by_role("button", name="Rotate").click()
    expect(page.locator("code", has_text="/in/")).not_to_have_text(old)
    stage.webhook = stage.running.do(stage.running.world.get(f"/v1/webhooks/{stage.webhook['id']}"))
    page.goto(
        f"{person.url}/ui/replays/new?created_after=2020-01-01T00:00:00Z&mode=all&subscription_ids={stage.billing['id']}"
    )
    count = re.search(r"Replay (\d+) result", page.locator("h1").inner_text())
    assert count
    page.get_by_role("button", name=f"Replay {count[1]}").click()
    expect(page.locator("#replay")).to_contain_text("done")
    expect(page.locator("#replay")).to_contain_text(f"{count[1]} delivered")


def test_a_link_signs_in_once(person: Person, running: Running) -> None:
    link = sign_in_url(person.url, (Secret(SECRET_KEY),), SystemClock().now())
    person.page.goto(link)
    person.page.wait_for_selector("header nav")
    person.page.goto(link)
    expect(person.page.locator(".note.bad")).to_contain_text("used before")
    person.wrong = [line for line in person.wrong if "401" not in line]  # that answer is no surprise


@SOME_OR_ALL
def test_axe_finds_nothing_on_any_page_in_either_theme(
    chromium: Browser, running: Running, stage: Stage, all_of_them: bool
) -> None:
    job = stage.ask()
    with somebody(chromium, running, viewport={"width": 1280, "height": 800}) as person:
        person.go("/ui/sign-in")
        found = axe(person.page, "sign-in")
        person.sign_in()
        person.page.click("#pause")
        for path in stage.pages(job) if all_of_them else stage.one_a_kind(job):
            found += axe(person.go(path), path)
        person.is_content()
    assert found == []


def test_hostile_payloads_change_no_element(person: Person, stage: Stage) -> None:
    page = person.sign_in()
    page.click("#pause")
    do, world = stage.running.do, stage.running.world
    do(world.post(f"/v1/subscriptions/{stage.away['id']}/pause"))  # or its retries would make rows in their own time
    seen = []
    for prompt in ("\n".join(HOSTILE), "plain " * 2 * len(HOSTILE)):
        job = stage.ask(prompt)
        page.goto(f"{person.url}/ui/jobs/{job['id']}?payload=raw")
        seen.append(page.evaluate(NAMES))
        assert prompt[:20] in page.locator("pre.payload").inner_text()
    do(world.post(f"/v1/subscriptions/{stage.away['id']}/resume"))
    assert seen[0] == seen[1]
    assert person.violations == []


@SOME_OR_ALL
def test_every_page_is_of_use_without_javascript_on_a_telephone(
    chromium: Browser, running: Running, stage: Stage, all_of_them: bool
) -> None:
    job = stage.ask()
    with somebody(chromium, running, java_script_enabled=False, viewport={"width": 390, "height": 800}) as person:
        page = person.sign_in()
        for path in stage.pages(job) if all_of_them else stage.one_a_kind(job):
            person.go(path)
            assert page.locator("h1").count() == 1 and page.locator("main").inner_text().strip(), path
            assert page.locator("#live, .copy").filter(visible=True).count() == 0, path
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, f"{path} is too wide"
        person.go(f"/ui/subscriptions/{stage.away['id']}")
        page.get_by_role("button", name="Pause", exact=True).click()
        expect(page.locator(".note.ok")).to_contain_text("Paused")
        page.get_by_role("button", name="Resume", exact=True).click()
        expect(page.locator(".note.ok")).to_contain_text("Resumed")
        person.is_content()
