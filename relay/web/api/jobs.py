"""`/v1/jobs`: asynchronous requests at providers."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from relay.clock import Instant
from relay.model import JOB, Attempt, Job, JobStatus, Scope
from relay.pipeline.cancel import ProviderFailed
from relay.pipeline.outcomes import Refused
from relay.pipeline.track import Tracked, TrackRequest
from relay.store import attempts, jobs
from relay.store.rows import Connection
from relay.web import pages
from relay.web.api.actions import refuse
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import (
    CreatedQuery,
    GivenTime,
    Metadata,
    NoQuery,
    Nothing,
    Paged,
    Query,
    Request,
    Text,
    Time,
    View,
    WebhookId,
)
from relay.web.leaving import unless_given_up
from relay.web.problems import Problem, Wrong, not_found, unprocessable
from relay.web.services import Services


class NewJob(Request):
    """A job to follow. One of `provider_job_id` and `response_url` is needed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "webhook_id": "wh_01a1ff7acb807a53a841efa22ace0e3d",
                    "response_url": "https://llm-scraper.netnut.io/responses/1",
                }
            ]
        }
    )

    webhook_id: WebhookId
    provider_job_id: Text | None = None
    response_url: Text | None = None
    metadata: Metadata = Field(default_factory=dict)
    submitted_at: GivenTime | None = None


class JobQuery(CreatedQuery):
    """Which jobs."""

    webhook_id: WebhookId | None = None
    provider_job_id: Annotated[str | None, Field(min_length=1, max_length=2048)] = None
    status: Annotated[tuple[JobStatus, ...], Field(description="One or more, separated by commas.")] = ()


class WaitQuery(Query):
    """How long to wait for the end."""

    wait: Annotated[
        float, Field(ge=0, le=60, description="Seconds to wait for the job to be final before answering.")
    ] = 0


class JobView(View):
    """One asynchronous request at a provider."""

    id: str
    webhook_id: str
    provider: str
    provider_job_id: str | None
    response_url: str | None
    status: JobStatus
    provider_status: str | None
    deadline: Annotated[Time, Field(description="When the provider may drop the result.")]
    created_at: Time
    notified_at: Time | None
    completed_at: Time | None
    result_id: str | None
    attempts: Annotated[int, Field(description="Fetch attempts so far.")]
    next_attempt_at: Time | None
    last_error: str | None
    metadata: dict[str, Any]


class AttemptView(View):
    """One HTTP try."""

    id: str
    number: int
    trigger: str
    started_at: Time
    duration_ms: int
    http_status: int | None
    error_code: str | None
    response_excerpt: str | None
    dns_ms: Annotated[int | None, Field(description="Null where a connection was there already.")]
    connect_ms: Annotated[int | None, Field(description="TCP and TLS; null where a connection was there already.")]
    first_byte_ms: Annotated[int | None, Field(description="From the start to the head of the answer.")]


class AttemptsView(View):
    """The attempts, oldest first. There is no further page."""

    data: list[AttemptView]
    next_cursor: None = None


def view_of(services: Services, job: Job) -> JobView:
    """The job as it goes out."""
    webhook = services.configuration.current.webhooks.get(job.webhook_id)
    return JobView(
        id=job.id,
        webhook_id=job.webhook_id,
        provider=webhook.provider if webhook else "",
        provider_job_id=job.provider_job_id,
        response_url=job.response_url,
        status=job.status,
        provider_status=job.provider_status,
        deadline=job.deadline,
        created_at=job.created_at,
        notified_at=job.notified_at,
        completed_at=job.completed_at,
        result_id=job.result_id,
        attempts=job.attempts,
        next_attempt_at=job.due_at,
        last_error=job.last_error,
        metadata=dict(job.metadata),
    )


def attempt_view(attempt: Attempt) -> AttemptView:
    """The attempt as it goes out."""
    return AttemptView(
        id=attempt.id,
        number=attempt.number,
        trigger=attempt.trigger,
        started_at=attempt.started_at,
        duration_ms=attempt.duration_ms,
        http_status=attempt.http_status,
        error_code=attempt.error_code,
        response_excerpt=attempt.response_excerpt,
        dns_ms=attempt.dns_ms,
        connect_ms=attempt.connect_ms,
        first_byte_ms=attempt.first_byte_ms,
    )


@endpoint("POST", "/v1/jobs", scope=Scope.WRITE, answers={200: JobView, 201: JobView}, refusals=(409,))
async def track(call: Call[NoQuery, NewJob]) -> Answer:
    """Follow a job: it is fetched even if no notification ever comes. 200 when it was known before."""
    given = call.body
    if given.provider_job_id is None and given.response_url is None:
        detail = "One of provider_job_id and response_url is needed."
        fields = ("#/provider_job_id", "#/response_url")
        raise Problem(
            422, "validation_error", detail, [Wrong("one of the two is needed", "missing", pointer=at) for at in fields]
        )
    webhook = (await call.services.configuration.refresh()).webhooks.get(given.webhook_id)
    if webhook is None or webhook.deleted_at is not None:
        raise unprocessable("#/webhook_id", "is not a webhook", "unknown_webhook")
    request = TrackRequest(
        provider_job_id=given.provider_job_id,
        response_url=given.response_url,
        metadata=given.metadata,
        submitted_at=None if given.submitted_at is None else Instant(given.submitted_at),
    )

    def record(conn: Connection, tracked: Tracked, /) -> None:
        call.keep(conn, _tracked(call.services, tracked))

    outcome = await call.services.tracker.track(webhook, request, record)
    if isinstance(outcome, Refused):
        raise refuse(outcome)
    call.services.waker.jobs_due()
    return _tracked(call.services, outcome)


def _tracked(services: Services, tracked: Tracked) -> Answer:
    location = {"location": f"/v1/jobs/{tracked.job.id}"}
    return Answer(201 if tracked.created else 200, view_of(services, tracked.job), location)


@endpoint("GET", "/v1/jobs", scope=Scope.READ, answers={200: Paged[JobView]})
async def page(call: Call[JobQuery, Nothing]) -> Answer:
    """The jobs, newest first."""
    query = call.query
    read = partial(
        jobs.page, webhook_id=query.webhook_id, status=query.status, provider_job_id=query.provider_job_id,
        window=pages.window(call),
    )  # fmt: skip
    found = await call.services.database.read(read)
    return pages.answer(call, found, lambda item: item.id, lambda item: view_of(call.services, item))


@endpoint("GET", "/v1/jobs/{id}", scope=Scope.READ, answers={200: JobView}, prefix=JOB)
async def show(call: Call[WaitQuery, Nothing]) -> Answer:
    """One job; with `wait`, as soon as it is final, after so many seconds, or when the relay stops."""
    job = await _existing(call)
    if call.query.wait and not job.status.is_final:
        waiting = call.services.tracker.wait(job.id, call.query.wait)
        seen = await unless_given_up(call.request, call.services.stopping, waiting)
        job = seen or job
    return Answer(200, view_of(call.services, job))


@endpoint("GET", "/v1/jobs/{id}/attempts", scope=Scope.READ, answers={200: AttemptsView}, prefix=JOB)
async def list_attempts(call: Call[NoQuery, Nothing]) -> Answer:
    """The fetch attempts of a job, the latest 500, oldest first."""
    await _existing(call)
    found = await call.services.database.read(partial(attempts.of, owner_id=call.id))
    return Answer(200, AttemptsView(data=[attempt_view(item) for item in found]))


@endpoint("POST", "/v1/jobs/{id}/fetch", scope=Scope.WRITE, answers={202: JobView}, prefix=JOB, refusals=(409,))
async def fetch(call: Call[NoQuery, Nothing]) -> Answer:
    """Ask the provider now instead of when it is due."""
    outcome = await call.services.tracker.fetch_now(await _existing(call))
    if isinstance(outcome, Refused):
        raise refuse(outcome)
    call.services.waker.jobs_due()
    return Answer(202, view_of(call.services, outcome))


@endpoint(
    "DELETE",
    "/v1/jobs/{id}",
    scope=Scope.WRITE,
    answers={200: JobView, 202: JobView},
    prefix=JOB,
    refusals=(409, 502, 504),
)
async def cancel(call: Call[NoQuery, Nothing]) -> Answer:
    """Cancel at the provider: 200 when it did, 202 when it was only asked."""
    outcome = await call.services.tracker.cancel(await _existing(call))
    if isinstance(outcome, Refused):
        raise refuse(outcome)
    if isinstance(outcome, ProviderFailed):
        raise Problem(504 if outcome.timed_out else 502, outcome.code, outcome.detail)
    return Answer(200 if outcome.confirmed else 202, view_of(call.services, outcome.job))


async def _existing(call: Call[Any, Any]) -> Job:
    found = await call.services.database.read(partial(jobs.get, id=call.id))
    if found is None:
        raise not_found("job")
    return found
