from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.rules import MAY_IMPORT, TOOLS, offences, room_of

TOP = Path(__file__).parents[2]
FILES = sorted(path.relative_to(TOP) for path in (TOP / "relay").rglob("*.py"))


def test_every_file_keeps_the_rules_of_the_house() -> None:
    assert len(FILES) > 10
    assert [offence for path in FILES for offence in offences(path, (TOP / path).read_text("utf-8"))] == []


def test_every_room_has_a_rule() -> None:
    assert {room_of(path) for path in FILES} <= set(MAY_IMPORT)


def test_no_room_may_import_a_room_that_may_import_it() -> None:
    def reach(room: str, seen: frozenset[str] = frozenset()) -> frozenset[str]:
        for other in MAY_IMPORT[room] - seen - _peers(room):
            seen = reach(other, seen | {other})
        return seen

    assert [room for room in MAY_IMPORT if room in reach(room)] == []


def _peers(room: str) -> frozenset[str]:
    """The rooms of one's own floor: the vocabulary and the settings are several files each."""
    return frozenset(other for other, may in MAY_IMPORT.items() if may == MAY_IMPORT[room] and other in may)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("relay/store/jobs.py", "from relay.outbound import engine"),
        ("relay/outbound/engine.py", "import relay.store.database"),
        ("relay/signing/vault.py", "from relay import store"),
        ("relay/providers/loader.py", "from ..signing import vault"),
        ("relay/pipeline/fetch.py", "from relay.web.app import build"),
        ("relay/pipeline/fetch.py", "def later():\n    from relay.workers import loop"),
        ("relay/workers/loop.py", "from relay.pipeline import fetch"),
        ("relay/web/api.py", "from relay.app import Relay"),
        ("relay/app.py", "from relay.cli.main import main"),
        ("relay/model.py", "from relay.settings import Settings"),
        ("relay/store/jobs.py", "from relay.settings import Settings"),
        ("relay/somewhere/new.py", "from relay.model import Job"),
        ("relay/pipeline/fetch.py", "import sqlalchemy"),
        ("relay/web/api.py", "from sqlalchemy.engine import Connection"),
        ("relay/app.py", "import alembic.command"),
        ("relay/pipeline/fetch.py", "import httpx2"),
        ("relay/pipeline/fetch.py", "from aiohttp import ClientSession"),
        ("relay/cli/webhook.py", "from urllib import request"),
        ("relay/web/api.py", "import http.client"),
        ("relay/pipeline/receive.py", "from starlette.requests import Request"),
        ("relay/app.py", "import starlette.applications"),
        ("relay/store/database.py", "import time"),
        ("relay/pipeline/fetch.py", "from random import random"),
        ("relay/pipeline/fetch.py", "now = datetime.now(UTC)"),
        ("relay/pipeline/fetch.py", "import datetime\nnow = datetime.datetime.utcnow()"),
        ("relay/pipeline/fetch.py", "from datetime import date\ntoday = date.today()"),
        ("relay/workers/loop.py", "await asyncio.sleep(1)"),
        ("relay/workers/loop.py", "from asyncio import sleep"),
        ("relay/app.py", "import os\nport = os.environ['PORT']"),
        ("relay/cli/main.py", "import os\nport = os.getenv('PORT')"),
        ("relay/setting_sources.py", "from os import environ"),
        ("relay/client/aio/api.py", "import os\nos.environ"),
        ("relay/client/aio/relay.py", "from relay.settings import load"),
        ("relay/store/database.py", "import socket\nsocket.create_connection(('h', 1))"),
        ("relay/web/api.py", "await asyncio.open_connection('h', 1)"),
        ("relay/pipeline/deliver.py", "await loop.sock_connect(s, a)"),
    ],
)
def test_a_broken_rule_is_found(path: str, source: str) -> None:
    assert len(offences(Path(path), source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "relay/store/jobs.py",
            "from sqlalchemy import select\nfrom relay import model\nfrom relay.store import rows",
        ),
        ("relay/outbound/engine.py", "import aiohttp, httpx2\nfrom relay.errors import TimedOut"),
        ("relay/web/api.py", "from starlette.routing import Route\nfrom relay.pipeline import receive"),
        ("relay/app.py", "from relay.workers import loop\nfrom relay.web import api\nfrom relay.store import database"),
        ("relay/workers/loop.py", "from relay.store import queue\nawait asyncio.sleep(0)"),
        (
            "relay/clock.py",
            "import time, random\nfrom datetime import date\ndate.today()\nawait asyncio.sleep(1)",
        ),
        ("relay/settings.py", "import os\nos.environ\nfrom relay import keyfiles"),
        ("relay/client/environment.py", "import os\nos.environ"),
        ("relay/pipeline/fetch.py", "from relay import __version__\nfrom datetime import datetime\nnow = clock.now()"),
    ],
)
def test_what_the_rules_allow_is_no_offence(path: str, source: str) -> None:
    assert offences(Path(path), source) == []


def test_the_tools_are_siblings() -> None:
    assert all(not MAY_IMPORT[tool] & TOOLS for tool in TOOLS)
