"""The route in front of the submitter: bodies under two caps, where it is served, what its document says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from relay.web.metadata_header import metadata_of
from relay.web.problems import Problem, ProblemMiddleware, handle
from relay.web.submit import PATH, SubmitEndpoint
from tests.support.clock import FakeClock
from tests.support.journey import ADMIN_KEY, running, settings_of
from tests.support.management import ADMIN_KEY as KEY
from tests.support.management import Management, client_of
from tests.support.ports import free_port


@pytest.fixture
async def narrow(management: Management, clock: FakeClock) -> AsyncIterator[httpx2.AsyncClient]:
    """The route with small caps."""
    endpoint = SubmitEndpoint(management.services, max_body_bytes=100, budget_bytes=150)
    app = Starlette(
        routes=[Route(PATH, endpoint)],
        middleware=[Middleware(ProblemMiddleware, clock=clock)],
        exception_handlers={HTTPException: handle, Problem: handle},
    )
    async with client_of(app, KEY) as client:
        yield client


async def test_a_body_has_a_cap_announced_or_not(management: Management, narrow: httpx2.AsyncClient) -> None:
    webhook = await management.webhook()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 10

    for content in (b"x" * 101, pieces()):
        told = await narrow.post(f"/submit/{webhook['id']}/search", content=content)
        assert (told.status_code, told.json()["code"]) == (413, "body_too_large")


async def test_bodies_have_a_cap_together(management: Management, narrow: httpx2.AsyncClient) -> None:
    webhook = await management.webhook()
    held, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 80
        held.set()
        await go_on.wait()

    path = f"/submit/{webhook['id']}/search"
    first = asyncio.create_task(narrow.post(path, content=slow()))
    await held.wait()
    told = await narrow.post(path, content=b"x" * 90)
    assert (told.status_code, told.json()["code"], told.headers["retry-after"]) == (503, "over_budget", "5")
    go_on.set()
    assert (await first).status_code == 422
    assert (await narrow.post(path, content=b"x" * 90)).status_code == 422


async def test_it_is_served_where_the_management_api_is(sqlite_file: str, tmp_path: Path) -> None:
    settings = settings_of(sqlite_file, tmp_path, management_port=(port := free_port()))
    path = f"/submit/wh_{'0' * 32}/search"
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    async with running(settings), aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"http://127.0.0.1:{port}{path}") as told:
            assert (await told.json(content_type=None))["detail"] == "There is no such webhook."
        async with session.post(f"http://127.0.0.1:{settings.port}{path}") as told:
            assert (told.status, await told.text()) == (404, "Not Found")


@pytest.fixture
def sqlite_file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'relay.db'}"


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], {}), (["{}"], {}), (['{"tenant": "acme", "n": [1, null]}'], {"tenant": "acme", "n": [1, None]})],
)
def test_metadata_comes_in_a_header(values: list[str], expected: dict[str, Any]) -> None:
    assert metadata_of(values) == expected
    assert metadata_of(['{"name": "caf\u00e9"}'.encode().decode("latin-1")]) == {"name": "caf\u00e9"}


@pytest.mark.parametrize("values", [["{}", "{}"], ["\xff"], [""], ["1"], ['{"a": NaN}'], ["[" * 5000]])
def test_metadata_that_is_none_is_refused(values: list[str]) -> None:
    with pytest.raises(Problem) as refused:
        metadata_of(values)
    assert (refused.value.status, refused.value.code) == (400, "invalid_header")


async def test_the_document_describes_it(management: Management) -> None:
    document = (await management.client.get("/openapi.json")).json()
    operation = document["paths"]["/submit/{webhook_id}/{path}"]["post"]
    assert "Relay-Job-Id" in operation["responses"]["default"]["headers"]
    assert {item["name"] for item in operation["parameters"]} >= {"Idempotency-Key", "Relay-Metadata"}
