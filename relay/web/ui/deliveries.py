"""Deliveries as a list, by the names of the API's own query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.responses import Response

from relay.model import DeliveryStatus
from relay.web.api import deliveries as api
from relay.web.api.deliveries import DeliveryView
from relay.web.fields import Paged
from relay.web.problems import Problem
from relay.web.ui import bulk
from relay.web.ui.visit import Visit

FILTER: Final = (
    "subscription_id", "status", "result_id", "event_id", "job_id", "replay_id", "created_after", "created_before",
)  # fmt: skip
STATES: Final = tuple(str(status) for status in DeliveryStatus)


async def page(visit: Visit) -> Response:
    """The deliveries, newest first."""
    query = visit.given_query(*FILTER, "limit", "cursor")
    chosen = {name: [v for n, value in query if n == name for v in value.split(",")] for name in FILTER}
    problem, found, more = None, list[DeliveryView](), None
    try:
        listed = await visit.ask(api.page, Paged, query=query)
        found, more = listed.data, listed.next_cursor
    except Problem as error:
        if error.status != 400:
            raise
        problem = error
    filter: Sequence[tuple[str, str]] = [item for item in query if item[0] in FILTER]
    return visit.page(
        "deliveries.html", "Deliveries", status=200 if problem is None else 400, deliveries=found, next_cursor=more,
        chosen=chosen, states=STATES, subscriptions=visit.subscriptions(), problem=problem, filter=filter,
        all_link=bulk.all_deliveries(filter),
    )  # fmt: skip
