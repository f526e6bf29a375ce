"""Forms in a real Chromium: a webhook and a subscription from nothing, and a notification that goes through them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from relay.model import Secret
from tests.browser.accessible import axe
from tests.browser.conftest import Person, Running, somebody
from tests.support.journey import PASSWORD, World


def _make_webhook(page: Page, world: World, name: str) -> str:
    """By the forms; the callback URL that the page prints."""
    page.goto(f"{world.url}/ui/webhooks")
    page.get_by_role("link", name="New webhook…").click()
    page.get_by_role("link", name="NetNut LLM Scraper").click()
    page.get_by_label("name (needed)", exact=True).fill(name)
    page.get_by_label("username").fill(world.netnut.username)
    page.get_by_label("password").fill(PASSWORD)
    page.get_by_label("origins").fill(world.netnut.url)
    page.get_by_role("button", name="Make the webhook").click()
    expect(page.locator(".note.ok")).to_contain_text("The webhook is made")
    return page.locator("code", has_text="/in/").first.inner_text()


def _make_subscription(page: Page, world: World, name: str) -> None:
    page.goto(f"{world.url}/ui/subscriptions")
    page.get_by_role("link", name="New subscription…").click()
    page.get_by_label("name (needed)", exact=True).fill(name)
    page.get_by_label("URL", exact=True).fill(f"{world.sink.url}/{name}")
    page.get_by_label("result.completed").check()
    page.get_by_role("button", name="Make the subscription").click()
    expect(page.locator("h1")).to_have_text(f"{name} is made")
    world.sink.trust(f"/{name}", Secret(page.locator(".note.warn code").inner_text()))


async def _round_trip(world: World, callback_url: str, name: str) -> Mapping[str, Any]:
    webhook = {"callback_url": callback_url}
    trace = await world.finished_trace(webhook)
    await world.until(f"/v1/jobs?provider_job_id={trace}", lambda found: bool(found["data"]))
    job = await world.job_of(trace)
    await world.ended(job["id"])
    path = f"/v1/deliveries?job_id={job['id']}"
    sent = await world.until(path, lambda found: any(one["status"] == "delivered" for one in found["data"]))
    return {"job": job["id"], "to": [one["subscription_id"] for one in sent["data"]]}


# What the forms send is tests/web/ui's, which has no script either.
@pytest.mark.parametrize("script", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["script", "no-script"])
def test_what_is_made_by_the_forms_takes_a_notification_and_delivers_it(
    chromium: Browser, running: Running, script: bool
) -> None:
    world, name = running.world, f"by-form-{script}".lower()
    with somebody(chromium, running, viewport={"width": 1280, "height": 800}, java_script_enabled=script) as person:
        page = person.sign_in()
        callback_url = _make_webhook(page, world, name)
        expect(page.locator("button.copy").first).to_be_visible(visible=script)
        _make_subscription(page, world, name)
        done = running.do(_round_trip(world, callback_url, name))
        message = next(one for one in world.sink.messages if one.path == f"/{name}")
        assert message.verified, message
        page.goto(f"{world.url}/ui/jobs/{done['job']}")
        expect(page.locator("#deliveries")).to_contain_text(name)
        for path in ("/ui/webhooks", "/ui/subscriptions", "/ui/settings"):
            page.goto(world.url + path)
            assert PASSWORD not in page.content() and "whsec_" not in page.content(), path
        person.is_content()
        _delete(page, world, name)
        person.is_content()


def _delete(page: Page, world: World, name: str) -> None:
    for noun in ("subscriptions", "webhooks"):
        page.goto(f"{world.url}/ui/{noun}")
        page.get_by_role("link", name=name, exact=True).click()
        page.get_by_role("link", name="Delete…").click()
        page.get_by_role("button", name=f"Delete {name}").click()
        expect(page.locator(".note.ok")).to_contain_text("is deleted")
        expect(page.locator("main table").get_by_role("link", name=name, exact=True)).to_have_count(0)


def test_what_is_wrong_is_told_to_eyes_keyboard_and_screen_reader(person: Person, running: Running) -> None:
    page = person.sign_in()
    page.goto(f"{person.url}/ui/subscriptions/new")
    page.get_by_label("name (needed)", exact=True).fill("kept")
    page.get_by_label("URL", exact=True).fill("http://10.0.0.1:8080/hooks")
    page.get_by_label("headers sent along").fill("x-key: planted-header-value")
    page.get_by_role("button", name="Make the subscription").click()
    expect(page.get_by_role("alert")).to_contain_text("1 field to mend")
    url = page.get_by_label("URL", exact=True)
    expect(url).to_have_attribute("aria-invalid", "true")
    expect(url).to_have_accessible_description(re.compile("RELAY_EGRESS_ALLOW=10.0.0.1/32:8080"))
    page.get_by_role("alert").get_by_role("link", name="URL").click()
    expect(url).to_be_focused()
    expect(page.get_by_label("name (needed)", exact=True)).to_have_value("kept")
    assert "planted-header-value" not in page.content()
    assert axe(page, "a form with something to mend") == []
    assert person.violations == []
    person.wrong = [line for line in person.wrong if "422" not in line]  # that answer is no surprise
