"""`python -m tests.browser.pictures [directory]`: the dashboard's pictures for README and the guide, taken anew.

A real relay with its stand-ins, on a clock that begins at the same minute in every run, before the system's Chromium.
One job's life and one play really happen; the day around them is `tests.support.believable_day`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
from playwright.async_api import Page, async_playwright

from relay.app import Relay
from relay.clock import Instant, SystemClock, parse_rfc3339
from relay.demo.knobs import Knobs
from relay.demo.netnut import NetNut
from relay.demo.playground import Playground
from relay.demo.sink import Knobs as SinkKnobs
from relay.demo.sink import Sink
from relay.demo.stand_in import SIGNING_SECRET
from relay.logs import configure
from relay.model import Secret
from tests.architecture.tree import TOP
from tests.browser.conftest import ARGUMENTS, CHROMIUM, PATIENCE_MS
from tests.support.believable_day import FAILING, PAUSED, WANTED, Day
from tests.support.journey import ADMIN_KEY, PASSWORD, World, running, settings_of
from tests.support.png import with_palette

PICTURES: Final = TOP / "relay/web/ui/pictures"
BEGINS: Final = parse_rfc3339("2026-11-27T15:48:00Z")
WIDTH: Final = 1280
MARGIN: Final = 20
ROOM_SECONDS: Final = 4.0  # between the last attempt and the line that says "now": for its label
PROMPT: Final = "the coffee market"
OTHERS: Final = {"pulse-invoices": "pulse", "llm-summaries": "openai"}  # webhooks that nobody calls


class SameMinute(SystemClock):
    """The machine's time, moved so that it begins at BEGINS."""

    def __init__(self) -> None:
        self._moved = BEGINS - super().now()

    def now(self) -> Instant:
        return Instant(super().now() + self._moved)


class Scene:
    """A team's relay: who provides, who subscribes, and one of these is down."""

    def __init__(self, relay: Relay, world: World, down: Sink) -> None:
        self._relay, self._world, self._down, self.url = relay, world, down, world.url
        self._ids: dict[str, str] = {}

    async def open(self) -> str:
        """Register everything; the callback URL of the provider that is there."""
        world = self._world
        search = await world.webhook("netnut-search")
        made = [search, *[await world.post("/v1/webhooks", wanted) for wanted in self._others()]]
        self._ids = {webhook["name"]: webhook["id"] for webhook in made}
        for name, wanted in WANTED.items():
            sink = self._down if name == FAILING else world.sink
            wish = {"name": name, "url": f"{sink.url}/{name}", "webhook_ids": [self._ids[one] for one in wanted]}
            subscription = await world.post("/v1/subscriptions", wish)
            sink.trust(f"/{name}", Secret(subscription["secret"]))
            self._ids[name] = subscription["id"]
        return str(search["callback_url"])

    def _others(self) -> list[dict[str, Any]]:
        known = {"credentials": {"api_key": PASSWORD}, "verification": {"secret": SIGNING_SECRET.reveal()}}
        return [known | {"name": name, "provider": provider} for name, provider in OTHERS.items()]

    async def live(self, callback_url: str) -> str:
        """One job's life until only the subscriber that is down has still to get it; the job's id."""
        await self._world.ask({"callback_url": callback_url}, PROMPT)
        page = await self._world.until("/v1/jobs", lambda page: bool(page["data"]) and page["data"][0]["result_id"])
        (job,) = page["data"]

        def failed_twice(page: dict[str, Any]) -> bool:
            return sorted(one["attempt_count"] for one in page["data"]) == [1, 1, 2]

        await self._world.until(f"/v1/deliveries?job_id={job['id']}", failed_twice)
        await self._relay.clock.sleep(ROOM_SECONDS)
        return str(job["id"])

    async def remember(self) -> None:
        """The day before, and what follows from it."""
        await self._relay.database.write(Day(self._ids, self._relay.clock.now()).write)
        await self._world.post(f"/v1/subscriptions/{self._ids[PAUSED]}/pause")


@asynccontextmanager
async def scene(directory: Path) -> AsyncIterator[Scene]:
    """Everything runs."""
    clock = SameMinute()
    settings = settings_of(f"sqlite:///{directory / 'relay.db'}", directory, log_level="error")
    patient = Knobs(work_seconds=0.6, pending_answers=2)
    async with (
        NetNut(password=Secret(PASSWORD), clock=clock, knobs=patient) as netnut,
        Sink(clock=clock) as sink,
        Sink(clock=clock, knobs=SinkKnobs(status=503)) as down,
        Playground(clock) as playground,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        running(settings, clock, playground=playground) as relay,
    ):
        yield Scene(relay, World(session, settings.public_url, netnut, sink), down)


class Camera:
    """A signed-in browser that saves what it sees from the top of a page on."""

    def __init__(self, page: Page, url: str, directory: Path) -> None:
        page.set_default_timeout(PATIENCE_MS)
        self._page, self._url, self._directory = page, url, directory

    async def sign_in(self) -> None:
        page = await self.go("/ui/")
        await page.fill("#key", ADMIN_KEY)
        await page.click("button.main")
        await page.wait_for_selector("header nav")

    async def go(self, path: str) -> Page:
        await self._page.goto(self._url + path)
        return self._page

    async def take(self, name: str, down_to: str, scheme: Any = "light") -> None:
        """Save the page down to the end of an element."""
        page = self._page
        await page.emulate_media(color_scheme=scheme)
        box = await page.locator(down_to).bounding_box()
        assert box is not None, f"{name}: there is no {down_to}"
        clip: Any = {"x": 0, "y": 0, "width": WIDTH, "height": round(box["y"] + box["height"] + MARGIN)}
        picture = with_palette(await page.screenshot(full_page=True, clip=clip))
        (self._directory / name).write_bytes(picture)
        print(f"{name}: {clip['width']} x {clip['height']}, {len(picture) / 1000:.0f} kB")


async def play(page: Page) -> None:
    """Press a card of the playground, and see it through."""
    await page.get_by_role("button", name="Subscriber is down").click()
    await page.wait_for_url("**/ui/playground?job=job_*")
    await page.locator("#play-said", has_text="the signature verifies").wait_for()
    await page.locator("[data-every]").wait_for(state="detached")


async def take_job(stage: Scene, camera: Camera) -> None:
    """One job's life, half-way through."""
    job_id = await stage.live(await stage.open())
    await camera.go(f"/ui/jobs/{job_id}")
    await camera.take("job.png", "#waterfall")


async def take_day(stage: Scene, camera: Camera) -> None:
    """A day at a glance, and a play."""
    await stage.open()
    await stage.remember()
    await camera.go("/ui/")
    await camera.take("overview.png", "#health")
    await camera.take("overview-dark.png", "#health", "dark")
    page = await camera.go("/ui/playground?provider=pulse")
    await play(page)
    await page.locator("#received pre").evaluate(
        "one => { one.style.maxHeight = 'none'; }"
    )  # a picture does not scroll
    await camera.take("playground.png", "#received")


async def take_all(directory: Path) -> None:
    """Every picture, into this directory."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for take in (take_job, take_day):
            with tempfile.TemporaryDirectory() as place:
                async with scene(Path(place)) as stage:
                    context = await browser.new_context(viewport={"width": WIDTH, "height": 800})
                    camera = Camera(await context.new_page(), stage.url, directory)
                    await camera.sign_in()
                    await take(stage, camera)
                    await context.close()
        await browser.close()


def main(arguments: list[str]) -> None:
    """Take them, in silence but for what was taken."""
    configure(format="auto", level="error", clock=SystemClock())
    asyncio.run(take_all(Path(arguments[0]) if arguments else PICTURES))


if __name__ == "__main__":
    main(sys.argv[1:])
