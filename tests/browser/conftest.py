"""One relay with its stand-ins, in a thread of its own, and one Chromium, for all tests of this room."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tests.support.journey import ADMIN_KEY, World, travelling
from tests.support.later import later

if TYPE_CHECKING:
    from playwright import sync_api
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request
else:
    sync_api = later("playwright.sync_api")

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--process-per-site", "--renderer-process-limit=1", "--in-process-gpu",  # all pages are ours, and a process costs
    "--disable-features=IsolateOrigins,site-per-process,SpareRendererForSitePerProcess",
]  # fmt: skip
PATIENCE_MS = 10_000
WATCH = """
window.violated = [];
document.addEventListener("securitypolicyviolation", (event) => window.violated.push(event.violatedDirective));
"""

T = TypeVar("T")


class Running:
    """The world of the journeys, for tests that are not asynchronous: a browser is driven from outside any loop."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._ready, self._done = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self.cookies: list[Any] = []  # of whoever signed in first
        self.world: World

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Have something done on the relay's loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(30)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._live())

    async def _live(self) -> None:
        database = f"sqlite:///{self._directory / 'relay.db'}"
        async with travelling(database, self._directory, plays=True, log_level="error") as self.world:
            self._ready.set()
            await self._done.wait()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The system's Chromium with an empty profile, for the room.

    Not for the session: while it is there an event loop runs in this thread, and asynchronous tests cannot have theirs.
    """
    if not CHROMIUM.exists():
        reason = f"NO CHROMIUM: there is no {CHROMIUM}; apt-get install chromium"
        if os.environ.get("RELAY_REQUIRE_CHROMIUM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def running(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A relay, a provider, a subscriber."""
    with Running(tmp_path_factory.mktemp("browser")) as made:
        yield made


class Person:
    """Somebody at a browser, and everything that went wrong in it."""

    def __init__(self, page: Page, running: Running) -> None:
        self.page, self.running, self.wrong = page, running, list[str]()
        self.url = running.world.url
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script(WATCH)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))
        page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.wrong.append(f"request: {request.url}")

    def go(self, path: str) -> Page:
        """A page."""
        answer = self.page.goto(self.url + path)
        assert answer is not None and answer.status == 200, path
        return self.page

    def sign_in(self) -> Page:
        """With the admin key; whoever comes later to the same relay has the session of the first."""
        if self.running.cookies:
            self.page.context.add_cookies(self.running.cookies)
            return self.go("/ui/")
        self.go("/ui/")
        self.page.fill("#key", ADMIN_KEY)
        self.page.click("button.main")
        self.page.wait_for_selector("header nav")
        self.running.cookies = list(self.page.context.cookies())
        return self.page

    def is_content(self) -> None:
        """Nothing went wrong, on no page that was seen."""
        assert self.wrong == []

    @property
    def violations(self) -> list[str]:
        found: list[str] = self.page.evaluate("window.violated")
        return found


@contextmanager
def somebody(browser: Browser, running: Running, **options: Any) -> Iterator[Person]:
    """A browser's window with a history of its own."""
    context = browser.new_context(**options)
    try:
        yield Person(context.new_page(), running)
    finally:
        context.close()


@pytest.fixture
def person(chromium: Browser, running: Running) -> Iterator[Person]:
    """Somebody who is not signed in yet; the test fails if anything went wrong in their browser."""
    with somebody(chromium, running, viewport={"width": 1280, "height": 800}) as made:
        yield made
        made.is_content()
