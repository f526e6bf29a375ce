"""Webhooks: the callback URL to copy, where to put it, and rotating it."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from relay.providers.profile import Profile
from relay.store import rollups
from relay.store.rollups import HOUR, Sum
from relay.store.rows import Connection
from relay.web.api import captures as capture_api
from relay.web.api import notifications as notification_api
from relay.web.api import webhooks as api
from relay.web.api.captures import CapturesView
from relay.web.api.webhook_views import WebhookView
from relay.web.fields import Paged
from relay.web.ui import numbers
from relay.web.ui.snippets import snippets
from relay.web.ui.visit import Visit

HOURS: Final = 24
OVERLAPS: Final = (("0", "at once"), ("3600", "in one hour"), ("86400", "in one day"), ("604800", "in one week"))


async def page(visit: Visit) -> Response:
    """All of them."""
    listed = await visit.ask(api.page, Paged, query=visit.given_query("cursor", "limit"))
    hours = await _hours(visit)
    rows = [(item, _totals(item.id, hours)) for item in listed.data]
    return visit.page("webhooks.html", "Webhooks", rows=rows, next_cursor=listed.next_cursor)


async def _hours(visit: Visit) -> list[Sum]:
    def read(conn: Connection) -> list[Sum]:
        return rollups.since(conn, numbers.first_step(visit.now, HOURS, HOUR), HOUR)

    return await visit.services.database.read(read)


def _totals(webhook_id: str, hours: list[Sum]) -> numbers.Totals:
    return numbers.totals(item for item in hours if item.webhook_id == webhook_id and not item.subscription_id)


async def show(visit: Visit) -> Response:
    """One webhook."""
    webhook = await visit.ask(api.show, WebhookView, id=visit.id)
    profile = visit.services.profiles.get(webhook.provider)
    notified = await visit.ask(notification_api.page, Paged, query=[("webhook_id", visit.id), ("limit", "15")])
    captured = (await visit.ask(capture_api.list_captures, CapturesView, id=visit.id)).data if visit.may_write else []
    return visit.page(
        "webhook.html", webhook.name, webhook=webhook, profile=profile, notified=notified.data, captured=captured,
        totals=_totals(visit.id, await _hours(visit)), places=_places(profile), in_requests=_in_requests(profile),
        relay_url=visit.services.public_url, snippets=snippets(profile, webhook, visit.services.public_url),
    )  # fmt: skip


def _places(profile: Profile | None) -> list[dict[str, Any]]:
    """Where a provider takes the callback URL, as its profile puts it in: the calls and the names of fields."""
    if profile is None or profile.submit is None:
        return []
    made: list[dict[str, Any]] = []
    for job in profile.submit.jobs:
        fields = [
            {"into": insert.into, "name": ".".join(insert.at), "value": _example(insert.value)}
            for insert in job.inserts
        ]
        made.append({"calls": [f"{call.method} {call.pattern}" for call in job.calls], "fields": fields})
    return made


def _in_requests(profile: Profile | None) -> bool:
    """Whether some request of the provider takes the callback URL."""
    jobs = profile.submit.jobs if profile is not None and profile.submit is not None else ()
    return any("{callback_url}" in str(insert.value) for job in jobs for insert in job.inserts)


def _example(value: Any) -> str:
    return "the callback URL" if "{callback_url}" in str(value) else str(value).lower() if value is True else str(value)


async def confirm_rotation(visit: Visit) -> Response:
    """What rotating means, and the button."""
    webhook = await visit.ask(api.show, WebhookView, id=visit.id)
    return visit.page("rotate_webhook.html", f"Rotate {webhook.name}", webhook=webhook, overlaps=OVERLAPS)


async def rotate(visit: Visit) -> Response:
    """A new callback URL."""
    body = {"overlap_seconds": visit.number("overlap_seconds")} if visit.field("overlap_seconds") else {}
    await visit.do(api.rotate, id=visit.id, body=body)
    return visit.go(f"/ui/webhooks/{visit.id}", "rotated")


async def disable(visit: Visit) -> Response:
    """Take no callbacks."""
    await visit.do(api.disable, id=visit.id)
    return visit.go(f"/ui/webhooks/{visit.id}", "disabled")


async def enable(visit: Visit) -> Response:
    """Take callbacks again."""
    await visit.do(api.enable, id=visit.id)
    return visit.go(f"/ui/webhooks/{visit.id}", "enabled")


async def test(visit: Visit) -> Response:
    """Send a test notification through the intake."""
    await visit.do(api.test, id=visit.id)
    return visit.go(f"/ui/webhooks/{visit.id}", "tested")
