"""Replays: first how many, then the button, then how far it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response

from relay.store import glance
from relay.web.api import replays as api
from relay.web.api.replays import DryRunView, ReplayView
from relay.web.fields import Paged
from relay.web.problems import Problem
from relay.web.ui.forms import number
from relay.web.ui.visit import Visit

TIMES: Final = ("job_created_after", "job_created_before", "delivery_created_after", "delivery_created_before")
ONE: Final = ("webhook_id", "created_after", "created_before", *TIMES)
SEVERAL: Final = ("result_ids", "types", "delivery_status", "job_status")
TO: Final = "subscription_ids"
SAY_WHICH: Final = (
    "Say which results: of a webhook, stored after or before a time, or whose delivery is in a state. For all of them"
    " give a time before the oldest."
)
HOW: Final = ("mode", "rate_per_second", "new_message_id")


async def page(visit: Visit) -> Response:
    """The replays, newest first."""
    listed = await visit.ask(api.page, Paged, query=visit.given_query("cursor", "limit"))
    return visit.page("replays.html", "Replays", replays=listed.data, next_cursor=listed.next_cursor)


async def show(visit: Visit) -> Response:
    """One replay and how far it is."""
    replay = await visit.ask(api.show, ReplayView, id=visit.id)
    return visit.page("replay.html", "Replay", replay=replay)


async def pause(visit: Visit) -> Response:
    """Send nothing of it until it is resumed."""
    await visit.do(api.pause, id=visit.id)
    return visit.go(f"/ui/replays/{visit.id}", "replay_paused")


async def resume(visit: Visit) -> Response:
    """Go on."""
    await visit.do(api.resume, id=visit.id)
    return visit.go(f"/ui/replays/{visit.id}", "replay_resumed")


async def cancel(visit: Visit) -> Response:
    """Stop it."""
    await visit.do(api.cancel, id=visit.id)
    return visit.go(f"/ui/replays/{visit.id}", "cancelled")


async def confirm(visit: Visit) -> Response:
    """What would be delivered, counted before anything is: the form for it, and the button."""
    query = visit.request.query_params
    if visit.form:  # too many ids for an address
        return await confirmation(visit, visit.form)
    fields = {name: query.getlist(name) for name in query}
    if query.get("error") is not None and query.get("subscription_ids"):
        fields["result_ids"] = await _of_group(visit, query["subscription_ids"], query["error"])
    return await confirmation(visit, fields)


async def confirmation(visit: Visit, fields: Mapping[str, Sequence[str]]) -> Response:
    """The page that says how many these fields mean."""
    given = {name: [value for value in fields.get(name, ()) if value] for name in (*ONE, *SEVERAL, *HOW, TO)}
    tried, problem = None, None
    if any(given[name] for name in (*ONE, *SEVERAL)):
        try:
            tried = await visit.ask(api.start, DryRunView, body=_body(given) | {"dry_run": True})
        except Problem as error:
            problem = error
    elif given["mode"]:  # counted without a word of which: a link that only opens the form says no mode
        problem = Problem(422, "validation_error", SAY_WHICH)
    return visit.page(
        "replay_new.html", "New replay", status=200 if problem is None else problem.status, given=given, tried=tried,
        problem=problem, webhooks=visit.webhooks(), subscriptions=visit.subscriptions(),
    )  # fmt: skip


async def _of_group(visit: Visit, subscription_id: str, error: str) -> list[str]:
    """The results of one group of the problems page. Raises Problem when it is gone."""
    found, _ = await visit.services.database.read(glance.troubles)
    for item in found:
        if (item.kind, item.target_id, item.error) == ("delivery", subscription_id, error):
            return list(item.result_ids)
    raise Problem(404, "not_found", "These failures are gone: somebody was faster, or they were delivered meanwhile.")


async def start(visit: Visit) -> Response:
    """Start it."""
    made = await visit.ask(api.start, ReplayView, body=_body(visit.form))
    return visit.go(f"/ui/replays/{made.id}")


def _body(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A form's fields as the API takes them; empty ones are left out. The API judges them."""

    def given(name: str) -> list[str]:
        return [value.strip() for value in fields.get(name, ()) if value.strip()]

    filter: dict[str, Any] = {name: given(name)[0] for name in ONE if given(name)}
    filter |= {name: given(name) for name in SEVERAL if given(name)}
    body: dict[str, Any] = {"filter": filter}
    if given("subscription_ids"):
        body["subscription_ids"] = given("subscription_ids")
    if given("mode"):
        body["mode"] = given("mode")[0]
    if given("new_message_id"):
        body["new_message_id"] = True
    rate = given("rate_per_second")
    if rate:
        body["rate_per_second"] = number(rate[0])
    return body
