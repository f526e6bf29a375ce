"""The dashboard on a real store, and somebody in front of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette

from relay.settings import Settings
from relay.web.management import build_management_app
from relay.web.ui.routes import ui_routes
from tests.support.management import ADMIN_KEY, KEYS, Management, client_of

SAME_ORIGIN = {"sec-fetch-site": "same-origin", "origin": "https://relay.example"}

# What a stranger may have written: never an element, never an attribute, always to be read (trust.md A5).
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>",
    "</pre></table></section><h1>owned</h1>",
    "<!--<script>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "{{7*7}} ${7*7} {%raw%}",
    "<svg/onload=alert(1)>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "a\u2028b\u2029c\u202egnp.exe\u202c \u2066x\u2069",
    "\x1b[2J\x1b]8;;http://evil.example\x07link\x1b]8;;\x07\x1b]52;c;AAAA\x07",
    "'-alert(1)-' onmouseover=alert(1) x=",
    "=cmd|' /C calc'!A0",
)


@dataclass
class Dashboard:
    """A browser without JavaScript: cookies, forms, nothing else."""

    management: Management
    app: Starlette
    client: httpx2.AsyncClient

    async def sign_in(self, key: str = ADMIN_KEY) -> httpx2.Response:
        """Begin a session."""
        return await self.client.post("/ui/sign-in", data={"key": key}, headers=SAME_ORIGIN)

    async def get(self, path: str, status: int = 200) -> str:
        """A page."""
        answer = await self.client.get(path)
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.headers.get('location')}"
        return answer.text

    async def token(self) -> str:
        """What forms of this session carry."""
        page = await self.get("/ui/replays/new?created_after=2020-01-01T00:00:00Z&mode=all")
        found = re.search(r'name="token" value="([^"]+)"', page + await self.get("/ui/settings"))
        assert found, "no page has a form"
        return found[1]

    async def post(self, path: str, fields: Mapping[str, Any] | None = None, **headers: str) -> httpx2.Response:
        """Send a form as a page of ours would."""
        data = {"token": await self.token(), **(fields or {})}
        return await self.client.post(path, data=data, headers=SAME_ORIGIN | headers)


def dashboard_of(management: Management, directory: Path) -> Dashboard:
    """The dashboard of a management API."""
    settings = Settings.model_validate(
        {"data_dir": directory, "secret_keys": KEYS, "admin_key": ADMIN_KEY, "public_url": "https://relay.example"}
    )
    app = build_management_app(management.services, ui_routes(management.services, settings))
    return Dashboard(management, app, client_of(app, None))


class Elements(HTMLParser):
    """Every element of a page with the names of its attributes, and what could run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.running: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = tuple(name for name, _ in attrs)
        self.found.append((tag, names))
        given = dict(attrs)
        self.running += [f"{tag} {name}" for name in names if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and not (given.get("src") or "").startswith("/ui/static/")):
            self.running.append(tag)
        for name in ("href", "action", "src", "formaction"):
            address = given.get(name)
            if address is not None and not address.startswith(("/", "#")):
                self.running.append(f"{tag} {name}={address}")


def elements(page: str) -> Elements:
    """Read a page."""
    read = Elements()
    read.feed(page)
    read.close()
    return read
