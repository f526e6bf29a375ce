"""Failures that look alike, each group with what can be done about it."""

from __future__ import annotations

from starlette.responses import Response

from relay.ids import instant_of
from relay.store import glance
from relay.web.ui.visit import Visit

KINDS = {
    "delivery": "delivery exhausted",
    "retrying": "delivery retrying",
    "result": "result",
    "fetch": "fetch failing",
    "notification": "notification",
}


async def page(visit: Visit) -> Response:
    """The newest failures in groups."""
    found, complete = await visit.services.database.read(glance.troubles)
    rows = [(item, KINDS[item.kind], instant_of(item.first_id), instant_of(item.last_id)) for item in found]
    return visit.page("problems.html", "Problems", rows=rows, complete=complete, latest=glance.LATEST)
