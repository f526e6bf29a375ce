"""Lists as files: the whole filter, page by page, and no cell that a spreadsheet would run."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import Any

import pytest

from relay.clock import after
from relay.csvtext import inert
from relay.errors import Torn
from relay.model import JobStatus
from relay.web.api.jobs import JobView
from relay.web.endpoint import Endpoint
from relay.web.ui import export
from tests.support.clock import FakeClock
from tests.support.dashboard import HOSTILE, Dashboard
from tests.support.dashboard_rows import Filled
from tests.support.noun_rows import job, put_job

BEGINNINGS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\uff1d1", "=cmd|' /C calc'!A0")


def _table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def _jobs(dashboard: Dashboard, clock: FakeClock, count: int, **more: Any) -> list[str]:
    webhook = (await dashboard.management.webhook())["id"]
    made = [job(webhook, after(clock.now(), number / 1000), due_at=None, **more) for number in range(count)]

    def store(conn: Any) -> None:
        for one in made:
            put_job(conn, one)

    await dashboard.management.database.write(store)
    return [one.id for one in reversed(made)]


async def test_everything_that_matches_is_in_the_file_and_nothing_twice(
    dashboard: Dashboard, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "AT_ONCE", "7")
    ids = await _jobs(dashboard, clock, 23)
    told = await dashboard.client.get("/ui/export/jobs.csv?limit=2&cursor=ignored")
    assert told.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert told.headers["content-disposition"] == 'attachment; filename="jobs.csv"'
    assert told.headers["cache-control"] == "no-store" and "sandbox" not in told.headers["content-security-policy"]
    table = _table(told.text)
    assert [row["id"] for row in table] == ids and list(table[0]) == list(JobView.model_fields)
    told = await dashboard.client.get("/ui/export/jobs.ndjson?status=waiting&webhook_id=")
    rows = [json.loads(line) for line in told.text.splitlines()]
    api = (await dashboard.management.client.get("/v1/jobs?limit=200&status=waiting")).json()["data"]
    assert rows == api and (told.headers["content-type"], len(rows)) == ("application/x-ndjson", len(ids))
    told = await dashboard.client.get("/ui/export/jobs.csv?status=failed")
    assert told.text.count("\r\n") == 1  # the head, and no row


async def test_the_list_links_to_the_file_of_its_own_filter(dashboard: Dashboard, clock: FakeClock) -> None:
    await Filled(dashboard, clock).fill()
    page = await dashboard.get("/ui/jobs?status=waiting&limit=1&provider_job_id=")
    assert 'href="/ui/export/jobs.csv?status=waiting"' in page
    page = await dashboard.get("/ui/deliveries?status=exhausted&status=pending")
    assert 'href="/ui/export/deliveries.ndjson?status=exhausted&amp;status=pending"' in page
    for noun in export.LISTS:
        for kind in export.TYPES:
            assert (await dashboard.client.get(f"/ui/export/{noun}.{kind}")).text.count("\n") >= 1, noun
    for name, status in (("jobs.xls", 404), ("keys.csv", 404), ("jobs.csv?status=x", 400), ("jobs", 404)):
        assert (await dashboard.client.get(f"/ui/export/{name}")).status_code == status, name


async def test_no_cell_is_a_formula_and_every_other_is_as_it_is(dashboard: Dashboard, clock: FakeClock) -> None:
    texts = [*BEGINNINGS, *HOSTILE]
    webhook = (await dashboard.management.webhook())["id"]
    made = [
        job(webhook, after(clock.now(), -place), due_at=None, provider_job_id=text, last_error=text,
            status=JobStatus.FAILED, metadata={"a": text})
        for place, text in enumerate(texts)
    ]  # fmt: skip

    def store(conn: Any) -> None:
        for one in made:
            put_job(conn, one)

    await dashboard.management.database.write(store)
    table = _table((await dashboard.client.get("/ui/export/jobs.csv")).text)
    lines = (await dashboard.client.get("/ui/export/jobs.ndjson")).text.removesuffix("\n").split("\n")
    for text, row, line in zip(texts, table, lines, strict=True):
        for name in ("provider_job_id", "last_error"):
            assert row[name] == inert(text) and row[name].removeprefix("'") in (text, text[1:]), name
            assert not row[name].lstrip(" ").startswith(tuple("=+-@\t\r\n")), name
        assert json.loads(row["metadata"]) == {"a": text}
        assert json.loads(line)["last_error"] == text
    assert inert("plain - text") == "plain - text" and inert("") == ""


async def test_a_file_is_read_as_it_is_taken_and_ends_with_its_key(
    outside: Dashboard, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who takes a page at a time has no more than that read for them."""
    monkeypatch.setattr(export, "AT_ONCE", "5")
    await outside.sign_in()
    await _jobs(outside, clock, 40)
    key = await outside.management.make("/v1/keys", {"name": "reader", "scope": "read"})
    await outside.sign_in(key["key"])
    asked: list[int] = []
    ask = Endpoint.ask

    async def counting(self: Endpoint, *args: Any, **more: Any) -> Any:
        asked.append(len(asked))
        return await ask(self, *args, **more)

    monkeypatch.setattr(Endpoint, "ask", counting)
    taken: list[bytes] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()  # they stay
        return {}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            taken.append(message["body"])
            assert len(asked) <= max(1, len(taken) - 1)
            if len(taken) == 4:
                await outside.management.client.delete(f"/v1/keys/{key['id']}")

    cookies = "; ".join(f"{name}={value}" for name, value in outside.client.cookies.items())
    scope = {
        "type": "http", "method": "GET", "path": "/ui/export/jobs.csv", "raw_path": b"/ui/export/jobs.csv",
        "query_string": b"", "headers": [(b"host", b"relay.example"), (b"cookie", cookies.encode())], "scheme": "https",
        "server": ("relay.example", 443), "client": ("127.0.0.1", 1), "http_version": "1.1", "root_path": "",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
    }  # fmt: skip
    with pytest.raises(Torn, match="good no longer"):
        await outside.app(scope, receive, send)  # type: ignore[arg-type]
    assert len(taken) == 4 and len(asked) == 3
