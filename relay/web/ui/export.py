"""A list as a file: everything that matches its filter, not only the page in view.

Streamed page by page, so that a million rows need no more memory than two hundred. What goes wrong half-way breaks the
connection: a file that ends early must not look like a whole one.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from relay.csvtext import inert
from relay.errors import Torn
from relay.web.api import deliveries, jobs, replays
from relay.web.api.deliveries import DeliveryView
from relay.web.api.jobs import JobView
from relay.web.api.replays import ReplayView
from relay.web.endpoint import Endpoint
from relay.web.fields import Paged
from relay.web.problems import not_found
from relay.web.ui.guard import caller_of, guarded
from relay.web.ui.visit import Visit

AT_ONCE: Final = "200"
PLACE: Final = ("limit", "cursor")
LISTS: Final[Mapping[str, tuple[Endpoint, type[BaseModel]]]] = {
    "jobs": (jobs.page, JobView),
    "deliveries": (deliveries.page, DeliveryView),
    "replays": (replays.page, ReplayView),
}
TYPES: Final = {"csv": "text/csv; charset=utf-8; header=present", "ndjson": "application/x-ndjson"}

Write = Callable[[Sequence[BaseModel]], bytes]


async def send(visit: Visit) -> Response:
    """`{list}.{csv|ndjson}` by the query of the list. Raises Problem 400 for a wrong one, before anything is sent."""
    noun, _, kind = visit.request.path_params["name"].partition(".")
    if noun not in LISTS or kind not in TYPES:
        raise not_found("file")
    endpoint, view = LISTS[noun]
    query = visit.given_query(*(name for name in endpoint.query.model_fields if name not in PLACE))
    first = await visit.ask(endpoint, Paged, query=[*query, ("limit", AT_ONCE)])
    columns = list(view.model_fields)
    head = _row(columns) if kind == "csv" else b""
    write: Write = (lambda items: b"".join(_cells(item, columns) for item in items)) if kind == "csv" else _lines
    disposition = {"content-disposition": f'attachment; filename="{noun}.{kind}"'}
    return guarded(StreamingResponse(_parts(visit, endpoint, query, first, head, write), 200, disposition, TYPES[kind]))


async def _parts(
    visit: Visit, endpoint: Endpoint, query: Sequence[tuple[str, str]], listed: Paged[Any], head: bytes, write: Write
) -> AsyncIterator[bytes]:
    yield head
    while True:
        yield write(listed.data)
        if listed.next_cursor is None:
            return
        if visit.services.stopping.is_set():
            raise Torn("the relay stops")
        if await caller_of(visit.services, visit.session, visit.services.clock.now()) is None:
            raise Torn("the key is good no longer")
        rest = [*query, ("limit", AT_ONCE), ("cursor", listed.next_cursor)]
        listed = await visit.ask(endpoint, Paged, query=rest)


def _lines(items: Sequence[BaseModel]) -> bytes:
    return b"".join(item.model_dump_json().encode() + b"\n" for item in items)


def _cells(item: BaseModel, columns: Sequence[str]) -> bytes:
    values = item.model_dump(mode="json")
    return _row([_cell(values[name]) for name in columns])


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _row(cells: Sequence[str]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerow([inert(cell) for cell in cells])
    return written.getvalue().encode("utf-8", "replace")
