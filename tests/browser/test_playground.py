"""The playground in a real Chromium: a whole life cycle at the press of a button, live and without a script."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.accessible import axe
from tests.browser.conftest import PATIENCE_MS, Person, Running, somebody
from tests.browser.test_dashboard import NAMES
from tests.support.dashboard import HOSTILE

pytestmark = pytest.mark.acceptance

STEPS = ["asked", "notified", "verified", "fetched", "stored", "delivered"]


# The page is tests/web/ui's and the plays are tests/journeys' too: here `make acceptance` watches one whole life.
other_lives = pytest.mark.slow


def play(page: Page, url: str, provider: str, card: str) -> None:
    """Press a card."""
    page.goto(f"{url}/ui/playground?provider={provider}")
    page.get_by_role("button", name=card).click()
    page.wait_for_url("**/ui/playground?job=job_*")


def step(page: Page, name: str) -> str:
    """What one of the steps says."""
    return page.locator("#play-steps li", has=page.locator(".name", has_text=name)).inner_text()


def is_delivered(page: Page) -> None:
    """The subscriber has it, and has checked the signature."""
    expect(page.locator("#play-said")).to_contain_text("the signature verifies", timeout=PATIENCE_MS)
    assert page.locator("#play-steps .name").all_inner_texts() == STEPS
    assert "signature verified" in step(page, "delivered")
    received = page.locator("#received")
    expect(received).to_contain_text("● verified")
    expect(received).to_contain_text(re.compile(r"webhook-signature\s*v1,"))
    expect(received.locator("pre.payload")).to_contain_text('"type": "result.completed"')


def test_a_whole_life_is_watched_without_a_reload(person: Person) -> None:
    page = person.sign_in()
    page.goto(person.url + "/ui/")
    page.locator("header nav").get_by_role("link", name="Playground").click()
    page.get_by_role("link", name="Pulse").click()
    page.get_by_role("button", name="Not ready yet").click()
    page.wait_for_url("**/ui/playground?job=job_*")
    page.evaluate("window.stayed = true")
    assert "to come" in step(page, "delivered")  # it takes four seconds
    is_delivered(page)
    assert "Standard Webhooks signature" in step(page, "verified") and "3 attempts" in step(page, "fetched")
    assert page.evaluate("window.stayed") is True
    assert page.locator("[data-every]").count() == 0  # it looks as seldom as other pages now
    page.get_by_text("remove…").click()
    page.get_by_role("button", name="Remove its webhooks").click()
    expect(page.locator(".note.ok")).to_contain_text("Removed")
    assert person.violations == []


@other_lives
def test_a_subscriber_that_is_down_gets_the_same_message_again(person: Person) -> None:
    page = person.sign_in()
    play(page, person.url, "netnut", "Subscriber is down")
    is_delivered(page)
    assert "answered 503, then 200" in step(page, "delivered")
    rows = page.locator("#received table").first.locator("tbody tr")
    assert [row.locator("td").nth(4).inner_text() for row in rows.all()] == ["503", "200"]
    assert len({row.locator("td").nth(5).inner_text() for row in rows.all()}) == 1  # one message id


@other_lives
def test_it_is_read_and_played_without_javascript_on_a_telephone(chromium: Browser, running: Running) -> None:
    with somebody(chromium, running, java_script_enabled=False, viewport={"width": 390, "height": 800}) as person:
        page = person.sign_in()
        play(page, person.url, "inference-net", "All goes well")
        expect(page.get_by_role("link", name="Look again")).to_be_visible()
        for _ in range(50):
            if "signature verifies" in page.locator("#play-said").inner_text():
                break
            page.wait_for_timeout(200)
            page.reload()
        is_delivered(page)
        assert page.get_by_role("link", name="Look again").count() == 0
        assert page.locator("#live, .copy").filter(visible=True).count() == 0
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        person.is_content()


@other_lives
def test_hostile_answers_change_no_element(person: Person) -> None:
    page, seen = person.sign_in(), []
    for prompt in ("\n".join(HOSTILE), "plain " * len(HOSTILE)):
        page.goto(f"{person.url}/ui/playground?provider=netnut")
        page.fill("#prompt", prompt)
        page.get_by_role("button", name="All goes well").click()
        is_delivered(page)
        assert prompt[:20] in page.locator("pre.payload").inner_text()
        page.locator("#earlier").evaluate("one => one.remove()")  # a row more with every play
        seen.append(page.evaluate(NAMES))
    assert seen[0] == seen[1]
    assert person.violations == []


@other_lives
def test_axe_finds_nothing_in_either_theme(chromium: Browser, running: Running) -> None:
    with somebody(chromium, running, viewport={"width": 1280, "height": 800}) as person:
        page, found = person.sign_in(), []
        for provider, card in (("freddy", "Job fails"), ("pulse", "Wrong signature")):
            play(page, person.url, provider, card)
            found += axe(page, f"{card}, at its beginning")
            expect(page.locator("[data-every]")).to_have_count(0, timeout=PATIENCE_MS)
            found += axe(page, card)
        person.is_content()
    assert found == []
