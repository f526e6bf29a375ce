"""Subscriptions: how they fare, pausing and resuming, a test message, a new secret."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from relay.pipeline import counters
from relay.store import rollups
from relay.store.rollups import MINUTE
from relay.store.rows import Connection
from relay.web.api import deliveries as delivery_api
from relay.web.api import subscriptions as api
from relay.web.api.subscription_matching import TestAnswer
from relay.web.api.subscription_views import NewSubscriptionView, SubscriptionView
from relay.web.fields import Paged
from relay.web.ui import bulk, numbers
from relay.web.ui.overview import MINUTES, Health, health
from relay.web.ui.visit import Visit

DELIVERIES: Final = "25"
QUERY: Final = ("status", "cursor", "limit")
OVERLAPS: Final = (("0", "at once"), ("3600", "in one hour"), ("86400", "in one day"), ("604800", "in one week"))


async def page(visit: Visit) -> Response:
    """All of them, with their health."""
    listed = await visit.ask(api.page, Paged, query=visit.given_query("cursor", "limit"))
    known = {item.id: item for item in visit.subscriptions()}

    def read(conn: Connection) -> list[Health]:
        minutes = _minutes(conn, visit)
        return [health(conn, known[item.id], minutes, visit.now) for item in listed.data if item.id in known]

    rows = await visit.services.database.read(read)
    return visit.page("subscriptions.html", "Subscriptions", rows=rows, next_cursor=listed.next_cursor)


def _minutes(conn: Connection, visit: Visit) -> list[rollups.Sum]:
    wanted = (counters.DELIVERED, counters.FAILED)
    return rollups.since(conn, numbers.first_step(visit.now, MINUTES, MINUTE), MINUTE, wanted)


async def show(visit: Visit) -> Response:
    """One subscription and its deliveries."""
    return await _page(visit)


async def _page(visit: Visit, **more: Any) -> Response:
    found = await visit.ask(api.show, SubscriptionView, id=visit.id)
    query = [("subscription_id", visit.id), *visit.given_query(*QUERY)]
    if not any(name == "limit" for name, _ in query):
        query.append(("limit", DELIVERIES))
    sent = await visit.ask(delivery_api.page, Paged, query=query)
    await visit.services.configuration.refresh()
    subscription = visit.services.configuration.current.subscriptions[visit.id]

    def read(conn: Connection) -> Health:
        return health(conn, subscription, _minutes(conn, visit), visit.now)

    values = {"secret": None, "tested": None} | more
    filter = [(name, value) for name, value in query if name in ("subscription_id", "status")]
    chosen = [value for name, given in query if name == "status" for value in given.split(",")]
    return visit.page(
        "subscription.html", found.name, subscription=found, health=await visit.services.database.read(read),
        deliveries=sent.data, next_cursor=sent.next_cursor, chosen=chosen, filter=filter,
        all_link=bulk.all_deliveries(filter), **values,
    )  # fmt: skip


async def pause(visit: Visit) -> Response:
    """Keep deliveries waiting."""
    await visit.do(api.pause, id=visit.id)
    return visit.go(f"/ui/subscriptions/{visit.id}", "paused")


async def resume(visit: Visit) -> Response:
    """Send what waited."""
    await visit.do(api.resume, id=visit.id)
    return visit.go(f"/ui/subscriptions/{visit.id}", "resumed")


async def enable(visit: Visit) -> Response:
    """Take it up again after the subscriber said 410."""
    await visit.do(api.enable, id=visit.id)
    return visit.go(f"/ui/subscriptions/{visit.id}", "enabled")


async def test(visit: Visit) -> Response:
    """Send a test message and show what came back: it is stored nowhere, so this very answer tells it."""
    answer = await visit.ask(api.test, TestAnswer, id=visit.id)
    return await _page(visit, tested=answer.root)


async def confirm_rotation(visit: Visit) -> Response:
    """What rotating means, and the button."""
    found = await visit.ask(api.show, SubscriptionView, id=visit.id)
    return visit.page("rotate_secret.html", f"Rotate the secret of {found.name}", subscription=found, overlaps=OVERLAPS)


async def rotate_secret(visit: Visit) -> Response:
    """A new signing secret, shown in this very answer: it is in no address and no page ever again."""
    body = {"overlap_seconds": visit.number("overlap_seconds")} if visit.field("overlap_seconds") else {}
    made = await visit.ask(api.rotate_secret, NewSubscriptionView, id=visit.id, body=body)
    return await _page(visit, secret=made.secret)
