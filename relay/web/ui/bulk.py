"""What is done to many at once, after saying how many: replays of selected jobs, retries of selected deliveries.

A selection is the ids of one page. "All that match" is a replay by the list's own filter, however many those are.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final

from starlette.responses import Response

from relay.model import Delivery, DeliveryStatus, JobStatus, Scope
from relay.store import deliveries as delivery_rows
from relay.store import glance
from relay.store import jobs as job_rows
from relay.store.rows import Connection
from relay.web.api import deliveries as delivery_api
from relay.web.auth import demand
from relay.web.problems import Problem
from relay.web.ui import forms, replays
from relay.web.ui.visit import Visit

MOST: Final = 1000  # at once; a page has 200 at most, and a job some deliveries
AT_A_TIME: Final = 50
Query = Sequence[tuple[str, str]]


# --- all that match ---


def all_jobs(query: Query, result_ids: Sequence[str] | None) -> list[tuple[str, str]] | None:
    """The query of the replay of everything that a list of jobs means; None where no replay means just that.

    `result_ids`: those of the list where it has one page only, else None.
    """
    chosen = [(name, value) for name, text in query for value in (text.split(",") if name == "status" else [text])]
    if any(name == "provider_job_id" for name, _ in chosen):
        return [("result_ids", id) for id in result_ids] + [("mode", "all")] if result_ids else None
    names = {"status": "job_status", "created_after": "job_created_after", "created_before": "job_created_before"}
    made = [(names.get(name, name), value) for name, value in chosen]
    if not any(name == "job_status" for name, _ in made):
        made += [("job_status", str(status)) for status in JobStatus]
    return [*made, ("mode", "all")]


def all_deliveries(query: Query) -> list[tuple[str, str]] | None:
    """The same of a list of deliveries: what has not been delivered meanwhile, unless delivered ones are asked for."""
    chosen = [(name, value) for name, text in query for value in (text.split(",") if name == "status" else [text])]
    names = {
        "status": "delivery_status", "created_after": "delivery_created_after", "subscription_id": "subscription_ids",
        "created_before": "delivery_created_before", "result_id": "result_ids",
    }  # fmt: skip
    if any(name not in names for name, _ in chosen):
        return None
    made = [(names[name], value) for name, value in chosen]
    states = {value for name, value in made if name == "delivery_status"}
    if not states:
        made += [("delivery_status", str(status)) for status in DeliveryStatus]
    again = not states or states & {DeliveryStatus.DELIVERED, DeliveryStatus.PENDING}
    return [*made, ("mode", "all" if again else "undelivered")]


# --- the selected ones ---


async def selected_jobs(visit: Visit) -> Response:
    """How many results the selected jobs have, or how many failed deliveries; and the button."""
    demand(visit.caller, Scope.WRITE)
    ids = _chosen(visit, "job_ids")
    result_ids, sent = await visit.services.database.read(partial(_of_jobs, ids=ids))
    if visit.field("do") == "retry":
        failed = [item for item in sent if item.status is DeliveryStatus.EXHAUSTED or _is_retrying(item)]
        return _confirm_retry(visit, failed, "/ui/jobs")
    if not result_ids:
        raise Problem(422, "nothing_to_replay", "None of the selected jobs has a result yet.")
    return await replays.confirmation(visit, {"result_ids": result_ids, "mode": ["all"]})


def _of_jobs(conn: Connection, ids: Sequence[str]) -> tuple[list[str], list[Delivery]]:
    found = (job_rows.get(conn, id) for id in ids)
    result_ids = [job.result_id for job in found if job is not None and job.result_id]
    return result_ids, glance.of_results(conn, result_ids)


def _is_retrying(item: Delivery) -> bool:
    return item.status is DeliveryStatus.PENDING and item.attempts > 0


async def selected_deliveries(visit: Visit) -> Response:
    """How many deliveries would be sent again, and the button."""
    demand(visit.caller, Scope.WRITE)
    ids = _chosen(visit, "delivery_ids")

    def read(conn: Connection) -> list[Delivery]:
        return [item for item in (delivery_rows.get(conn, id) for id in ids) if item is not None]

    return _confirm_retry(visit, await visit.services.database.read(read), "/ui/deliveries")


def _chosen(visit: Visit, name: str) -> list[str]:
    ids = list(dict.fromkeys(visit.form.get(name, ())))
    if not ids:
        raise Problem(422, "nothing_selected", "Nothing is selected. Go back and tick what is meant.")
    return ids[:MOST]


def _confirm_retry(visit: Visit, found: Sequence[Delivery], back: str) -> Response:
    if not found:
        raise Problem(422, "nothing_to_retry", "None of the selected has a delivery that failed.")
    if len(found) > MOST:
        raise Problem(422, "too_many", f"That is {len(found)} deliveries; {MOST} at a time are retried. Replay them.")
    shown = Counter("retrying" if _is_retrying(item) else str(item.status) for item in found)
    names = visit.names()
    to = Counter(names.get(item.subscription_id, item.subscription_id) for item in found)
    return visit.page(
        "retry.html", "Retry", found=found, states=sorted(shown.items()), to=to.most_common(20), back=back,
        left_out=max(0, len(to) - 20),
    )  # fmt: skip


async def retry(visit: Visit) -> Response:
    """Send them again, each as its own button would; who refuses is told by reason."""
    demand(visit.caller, Scope.WRITE)
    ids = _chosen(visit, "delivery_ids")
    refused: Counter[str] = Counter()
    for begin in range(0, len(ids), AT_A_TIME):
        asked = [_retry_one(visit, id) for id in ids[begin : begin + AT_A_TIME]]
        refused.update(reason for reason in await asyncio.gather(*asked) if reason)
    if not refused:
        return visit.go("/ui/deliveries", "retried", status="pending")
    queued = len(ids) - refused.total()
    return visit.page("retried.html", "Retried in part", status=409, queued=queued, refused=refused.most_common())


async def _retry_one(visit: Visit, id: str) -> str | None:
    try:
        made = await forms.outcome(visit.do(delivery_api.retry, id=id))
    except Problem as problem:
        made = problem
    return None if made is None else made.detail
