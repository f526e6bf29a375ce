"""Jobs as a list, what can be done to one and to its deliveries, and finding anything by its id."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Final

from starlette.responses import Response

from relay.ids import is_id
from relay.model import DELIVERY, JOB, REPLAY, RESULT, SUBSCRIPTION, WEBHOOK, Delivery, JobStatus, Scope
from relay.store import deliveries as delivery_rows
from relay.store import glance, results
from relay.store.rows import Connection
from relay.web.api import deliveries as delivery_api
from relay.web.api import jobs as api
from relay.web.api.payloads import serve
from relay.web.auth import demand
from relay.web.fields import Paged
from relay.web.problems import Problem, not_found
from relay.web.ui import bulk
from relay.web.ui.guard import guarded
from relay.web.ui.visit import Visit

QUERY: Final = ("status", "webhook_id", "provider_job_id", "created_after", "created_before", "limit", "cursor")
STATES: Final = tuple(str(status) for status in JobStatus)


async def page(visit: Visit) -> Response:
    """The jobs, newest first, by the names of the API's own query."""
    query = visit.given_query(*QUERY)
    chosen = {name: [v for n, value in query if n == name for v in value.split(",")] for name in QUERY}
    problem, found, more = None, [], None
    try:
        listed = await visit.ask(api.page, Paged, query=query)
        found, more = listed.data, listed.next_cursor
    except Problem as error:
        if error.status != 400:
            raise
        problem = error
    ids = [job.result_id for job in found if job.result_id]
    filter = [(name, value) for name, value in query if name not in ("limit", "cursor")]
    is_whole = more is None and not chosen["cursor"]
    sent = await visit.services.database.read(partial(glance.of_results, result_ids=ids))
    by_result: defaultdict[str, list[Delivery]] = defaultdict(list)
    for delivery in sent:
        by_result[delivery.result_id].append(delivery)
    return visit.page(
        "jobs.html", "Jobs", status=200 if problem is None else 400, jobs=found, next_cursor=more, chosen=chosen,
        states=STATES, webhooks=visit.webhooks(), deliveries=by_result, problem=problem,
        api_query=[(name, value) for name, value in query if name != "cursor"],
        filter=filter, all_link=bulk.all_jobs(filter, ids if is_whole else None),
    )  # fmt: skip


async def find(visit: Visit) -> Response:
    """Go to whatever has this id; anything else is taken for a provider's own job id."""
    text = visit.request.query_params.get("q", "").strip()
    if not text:
        return visit.go("/ui/jobs")
    for prefix, place in ((JOB, "jobs"), (WEBHOOK, "webhooks"), (SUBSCRIPTION, "subscriptions"), (REPLAY, "replays")):
        if is_id(text, prefix):
            return visit.go(f"/ui/{place}/{text}")
    job_id = await visit.services.database.read(partial(_job_of, id=text))
    return visit.go(f"/ui/jobs/{job_id}") if job_id else visit.go("/ui/jobs", provider_job_id=text[:2048])


def _job_of(conn: Connection, id: str) -> str | None:
    if is_id(id, DELIVERY):
        delivery = delivery_rows.get(conn, id)
        id = delivery.result_id if delivery else ""
    result = results.get(conn, id) if is_id(id, RESULT) else None
    return result.job_id if result else None


async def fetch(visit: Visit) -> Response:
    """Ask the provider now."""
    await visit.do(api.fetch, id=visit.id)
    return visit.go(f"/ui/jobs/{visit.id}", "fetch")


async def cancel(visit: Visit) -> Response:
    """Ask the provider to cancel."""
    await visit.do(api.cancel, id=visit.id)
    return visit.go(f"/ui/jobs/{visit.id}", "asked")


async def retry(visit: Visit) -> Response:
    """Send a delivery again. It is only queued when the page comes back, and the page says so."""
    await visit.do(delivery_api.retry, id=visit.id)
    return await _back(visit, "queued")


async def cancel_delivery(visit: Visit) -> Response:
    """Send a delivery no more."""
    await visit.do(delivery_api.cancel, id=visit.id)
    return await _back(visit, "cancelled")


async def _back(visit: Visit, done: str) -> Response:
    job_id = await visit.services.database.read(partial(_job_of, id=visit.id))
    return visit.go(f"/ui/jobs/{job_id}" if job_id else "/ui/jobs", done)


async def payload(visit: Visit) -> Response:
    """The exact bytes, to be saved: never shown as a page of ours."""
    demand(visit.caller, Scope.READ)
    result = await visit.services.database.read(partial(results.get, id=visit.id)) if is_id(visit.id, RESULT) else None
    if result is None:
        raise not_found("result")
    return guarded(await serve(visit.services.database, visit.request, result))
