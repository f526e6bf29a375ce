"""One job: its life as a waterfall, and everything that is stored of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from starlette.responses import Response

from relay.frozen import frozen
from relay.model import Attempt, Delivery, DeliveryStatus, Result
from relay.store import attempts, glance, results
from relay.store.rows import Connection
from relay.web.api import jobs as api
from relay.web.api import notifications as notification_api
from relay.web.api import results as result_api
from relay.web.api.jobs import AttemptsView, AttemptView, JobView
from relay.web.api.notifications import NotificationView
from relay.web.api.results import ResultView
from relay.web.fields import Paged
from relay.web.ui.pretty import shown_payload
from relay.web.ui.visit import Visit
from relay.web.ui.waterfall import Lane, Mark, Picture, picture
from relay.web.ui.words import cut

SHOWN_BYTES: Final = 64 * 1024
DELIVERIES: Final = 30  # whose attempts are shown
LONGEST_NAME: Final = 18  # of a lane: as much as fits left of it
LABELLED: Final = 12  # more attempts than these get no label in the picture


@frozen(kw_only=True)
class Sent:
    """A delivery with its attempts."""

    delivery: Delivery
    attempts: list[Attempt]


@frozen(kw_only=True)
class Stored:
    """What hangs on a job's results."""

    sent: list[Sent]
    left_out: int
    result: Result | None  # the newest
    beginning: bytes | None  # of its payload


@frozen(kw_only=True)
class Life:
    """Everything that is stored of one job."""

    job: JobView
    fetches: list[AttemptView]
    notified: list[NotificationView]  # newest first
    ended: list[ResultView]  # newest first
    stored: Stored
    is_over: bool  # nothing more will happen by itself
    picture: Picture


async def show(visit: Visit) -> Response:
    """The page of one job."""
    life = await life_of(visit, visit.id)
    job, stored = life.job, life.stored
    return visit.page(
        "job.html", f"Job {job.provider_job_id or job.id}", job=job, fetches=life.fetches, notified=life.notified,
        ended=life.ended, stored=stored, is_over=life.is_over, picture=life.picture,
        payload=shown_payload(stored.result, stored.beginning, SHOWN_BYTES),
        raw=visit.request.query_params.get("payload") == "raw",
    )  # fmt: skip


async def life_of(visit: Visit, id: str) -> Life:
    """One job. Raises Problem 404."""
    job = await visit.ask(api.show, JobView, id=id)
    fetches = (await visit.ask(api.list_attempts, AttemptsView, id=id)).data
    notified = (await visit.ask(notification_api.page, Paged, query=[("job_id", id)])).data
    ended = (await visit.ask(result_api.page, Paged, query=[("job_id", id)])).data
    stored = await visit.services.database.read(partial(_stored, result_ids=[item.id for item in ended]))
    lanes = [*_beginning(job, notified), *_fetching(job, fetches), *_results(ended), *_sending(visit, stored)]
    open_deliveries = any(item.delivery.status is DeliveryStatus.PENDING for item in stored.sent)
    is_over = job.status.is_final and not open_deliveries
    expiry = job.deadline if not job.result_id or job.deadline > (job.completed_at or 0) else None
    drawn = picture(lanes, now=None if is_over else visit.now, expiry=expiry)
    return Life(job=job, fetches=fetches, notified=notified, ended=ended, stored=stored, is_over=is_over, picture=drawn)


def _stored(conn: Connection, result_ids: list[str]) -> Stored:
    all_sent = glance.of_results(conn, result_ids)
    result = results.get(conn, result_ids[0]) if result_ids else None
    beginning = None
    if result is not None and result.payload_id is not None:
        piece = results.payload_chunk(conn, result.payload_id, 0)
        beginning = None if piece is None else bytes(piece[:SHOWN_BYTES])
    return Stored(
        sent=[Sent(delivery=item, attempts=attempts.of(conn, item.id)) for item in all_sent[:DELIVERIES]],
        left_out=max(0, len(all_sent) - DELIVERIES),
        result=result,
        beginning=beginning,
    )


def _beginning(job: JobView, notified: list[NotificationView]) -> list[Lane]:
    marks = [
        Mark(
            start=item.received_at, end=item.received_at, tone="ok" if item.status == "accepted" else "warn",
            label=str(item.status), title=f"notification, {item.status}{_because(item.reason)}",
        )
        for item in reversed(notified)
    ]  # fmt: skip
    if not marks:
        marks = [Mark(start=job.created_at, end=job.created_at, tone="busy", label="tracked", title="the job was made")]
    return [Lane(name="notified" if notified else "began", marks=marks)]


def _because(reason: str | None) -> str:
    return f": {cut(reason, 200)}" if reason else ""


def _fetching(job: JobView, made: list[AttemptView]) -> list[Lane]:
    marks = [_attempt(item.started_at, item.duration_ms, item, len(made)) for item in made]
    if job.next_attempt_at is not None:
        marks.append(
            Mark(start=job.next_attempt_at, end=job.next_attempt_at, tone="busy", label="next", hollow=True,
                 title=f"fetch attempt {job.attempts + 1} is due")
        )  # fmt: skip
    return [Lane(name="fetch", marks=marks)] if marks else []


def _attempt(started_at: int, duration_ms: int, item: AttemptView | Attempt, count: int) -> Mark:
    fine = item.error_code is None and item.http_status is not None and item.http_status < 300
    outcome = str(item.http_status or item.error_code or "done")
    what = f"attempt {item.number}: {outcome}{_because(item.error_code)}, {duration_ms} ms"
    return Mark(
        start=started_at, end=started_at + duration_ms, tone="ok" if fine else "bad",
        label=outcome if count <= LABELLED else "", title=what,
    )  # fmt: skip


def _results(ended: list[ResultView]) -> list[Lane]:
    marks = [
        Mark(
            start=item.fetched_at, end=item.fetched_at, tone="ok" if item.status == "completed" else "bad",
            label=str(item.status), title=f"stored: {item.status}{_because(item.error)}",
        )
        for item in reversed(ended)
    ]  # fmt: skip
    return [Lane(name="stored", marks=marks)] if marks else []


def _sending(visit: Visit, stored: Stored) -> list[Lane]:
    names: Mapping[str, str] = visit.names()
    lanes: list[Lane] = []
    for item in stored.sent:
        delivery = item.delivery
        marks = [_attempt(one.started_at, one.duration_ms, one, len(item.attempts)) for one in item.attempts]
        if delivery.due_at is not None:
            marks.append(
                Mark(start=delivery.due_at, end=delivery.due_at, tone="busy", hollow=True,
                     label="next" if delivery.due_at > visit.now else "due",  # it waits for its subscriber
                     title=f"attempt {delivery.attempts + 1} is due")
            )  # fmt: skip
        name = names.get(delivery.subscription_id, delivery.subscription_id)
        lanes.append(Lane(name=cut(("↻ " if delivery.replay_id else "→ ") + name, LONGEST_NAME), marks=marks))
    return lanes
