"""Lists in a real Chromium: rows selected by keyboard and mouse, files that are saved, times in UTC or in a zone."""

from __future__ import annotations

import csv
import re

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.accessible import axe
from tests.browser.conftest import Person, Running, somebody
from tests.browser.test_dashboard import Stage

pytestmark = pytest.mark.acceptance

WINDOW = {"width": 1280, "height": 800}
OTHER_ZONE = "Asia/Tehran"  # half an hour off: no whole hours will do


def test_rows_are_selected_by_keyboard_held_while_they_are_and_replayed(person: Person, running: Running) -> None:
    stage = Stage(running)
    jobs = [stage.ask(f"cup {number}") for number in range(3)]
    page = person.sign_in()
    page.goto(f"{person.url}/ui/jobs")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("#picked")).to_have_text("1 selected")
    page.locator("#pick-all").check()
    expect(page.locator("#picked")).to_have_text(f"{len(jobs)} selected")
    page.locator("#pick-all").uncheck()
    page.locator("tr.here input").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")  # neither opens the row nor sends the form
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.locator("h1").click()  # what is selected is held, not what has the focus
    stage.ask("unseen")
    expect(page.locator("#said")).to_contain_text("Updates wait")
    assert page.locator("#jobs tbody tr").count() == 3 and page.locator("#jobs input:checked").count() == 2
    page.get_by_role("button", name="Replay the selected…").click()
    expect(page.locator("h1")).to_have_text("Replay 2 results?")
    assert axe(page, "a replay to be confirmed") == []
    page.get_by_role("button", name="Replay 2").click()
    page.wait_for_url("**/ui/replays/rpl_*")
    expect(page.locator("#replay")).to_contain_text("2 delivered")  # to billing; the other one is away
    assert person.violations == []


@pytest.mark.slow  # tests/web/ui/test_bulk.py does the same without a browser
def test_selected_deliveries_are_retried_and_a_list_is_saved_without_a_script(
    chromium: Browser, running: Running
) -> None:
    stage = Stage2(running)
    with somebody(chromium, running, java_script_enabled=False, viewport=WINDOW, accept_downloads=True) as person:
        page = person.sign_in()
        page.goto(f"{person.url}/ui/deliveries?subscription_id={stage.tea}")
        assert page.locator("#pick-all, #zone").filter(visible=True).count() == 0
        expect(page.locator("footer")).to_contain_text("Times are UTC")
        page.locator("input[name=delivery_ids]").first.check()
        page.get_by_role("button", name="Retry the selected…").click()
        expect(page.locator("h1")).to_have_text("Retry 1 delivery?")
        page.get_by_role("button", name="Retry 1").click()
        expect(page.locator(".note.ok")).to_contain_text("Queued")
        page.goto(f"{person.url}/ui/jobs?status=completed")
        with page.expect_download() as saved:
            page.get_by_role("link", name="CSV").click()
        assert saved.value.suggested_filename == "jobs.csv"
        with open(saved.value.path(), newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        listed = page.locator("#jobs tbody tr").count()
        assert len(rows) == listed and {row["status"] for row in rows} == {"completed"}
        person.is_content()


def test_times_are_utc_until_somebody_wants_their_own_zone_and_that_is_remembered(
    chromium: Browser, running: Running
) -> None:
    stage = Stage2(running)
    with somebody(chromium, running, viewport=WINDOW, timezone_id=OTHER_ZONE) as person:
        page = person.sign_in()
        page.goto(f"{person.url}/ui/jobs/{stage.job['id']}")
        shown = page.locator("#fetches time").first
        stamp = shown.get_attribute("datetime") or ""
        expect(page.locator("footer")).to_contain_text("Times are UTC")
        assert shown.inner_text() == stamp[11:23] and shown.get_attribute("title") == stamp
        page.get_by_role("button", name=f"Times are UTC: show {OTHER_ZONE}").click()
        expect(page.locator("footer")).to_contain_text(f"Times are {OTHER_ZONE}")
        local = shown.get_attribute("title") or ""
        assert local.endswith("+03:30") and shown.inner_text() == local[11:23] != stamp[11:23]
        same = page.evaluate("([a, b]) => new Date(a).getTime() === new Date(b).getTime()", [stamp, local])
        assert same and shown.get_attribute("datetime") == stamp
        assert "+03:30" in page.locator("#waterfall svg g title").first.text_content()  # type: ignore[operator]
        page.goto(f"{person.url}/ui/metrics")
        expect(page.locator("footer")).to_contain_text(OTHER_ZONE)
        page.wait_for_timeout(2500)  # longer than from one update to the next: what is exchanged is local too
        assert re.fullmatch(r".*\+03:30", page.locator(".axis time").first.get_attribute("title") or "")
        assert page.locator("time[title$=Z]").count() == 0
        assert axe(page, "figures in a zone") == []
        page.click("#zone")
        expect(page.locator("footer")).to_contain_text("Times are UTC")
        assert page.locator("time[title$='+03:30']").count() == 0
        person.is_content()


class Stage2:
    """A webhook with one subscription, and a job that was delivered to it; made once."""

    made: dict[int, tuple[str, dict[str, str]]] = {}

    def __init__(self, running: Running) -> None:
        if id(running) not in self.made:
            self.made[id(running)] = running.do(self._make(running))
        self.tea, self.job = self.made[id(running)]

    @staticmethod
    async def _make(running: Running) -> tuple[str, dict[str, str]]:
        world = running.world
        webhook = await world.webhook("tea-house")
        tea = await world.subscribe("tea", webhook_ids=[webhook["id"]])
        trace = await world.finished_trace(webhook)
        job = await world.ended((await world.job_of(trace))["id"])
        path = f"/v1/deliveries?subscription_id={tea['id']}&status=delivered"
        await world.until(path, lambda page: bool(page["data"]))
        return tea["id"], job
