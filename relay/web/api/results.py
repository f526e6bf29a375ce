"""`/v1/results`: how jobs ended, with the payload as the provider sent it."""

from __future__ import annotations

import base64
from functools import partial
from typing import Annotated, Any, Final

from pydantic import Field
from starlette.responses import Response

from relay.jsontext import is_strict_json
from relay.model import RESULT, JobStatus, Result, Scope
from relay.store import results
from relay.store.rows import Connection
from relay.web import pages
from relay.web.api.payloads import serve
from relay.web.auth import authenticate
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import (
    CreatedQuery,
    FinalStatusType,
    Flag,
    JobId,
    NoQuery,
    Nothing,
    Paged,
    Query,
    Time,
    View,
    WebhookId,
)
from relay.web.problems import not_found
from relay.web.services import Services

INLINE_BYTES: Final = 1024 * 1024


class ResultQuery(CreatedQuery):
    """Which results."""

    webhook_id: WebhookId | None = None
    job_id: JobId | None = None
    type: Annotated[tuple[FinalStatusType, ...], Field(description="One or more, separated by commas.")] = ()
    unrouted: Annotated[Flag, Field(description="Only those that no subscription wanted when stored.")] = False


class PayloadQuery(Query):
    """A signed link instead of an API key."""

    token: Annotated[str | None, Field(max_length=512, description="Of a delivery's `payload_url`.")] = None


class ResultView(View):
    """How a job ended."""

    id: str
    type: FinalStatusType
    job_id: str
    webhook_id: str
    provider: str
    provider_job_id: str | None
    status: JobStatus
    error: str | None
    partial: bool
    content_type: str | None
    size_bytes: Annotated[int | None, Field(description="Null: there is no payload.")]
    sha256: str | None
    fetched_at: Time
    metadata: dict[str, Any]
    matched: Annotated[
        int | None, Field(description="How many subscriptions wanted it when it was stored. Null: not known.")
    ]


class ResultDetail(ResultView):
    """A result with its payload, if that is not larger than 1 MiB."""

    payload: Annotated[Any, Field(description="Where the bytes are valid JSON: they stand here untouched.")] = None
    payload_base64: Annotated[str | None, Field(description="Where they are not.")] = None


def view_of(services: Services, result: Result) -> ResultView:
    """The result as it goes out, without its payload."""
    webhook = services.configuration.current.webhooks.get(result.webhook_id)
    return ResultView.model_validate(
        {
            "id": result.id,
            "type": result.type,
            "job_id": result.job_id,
            "webhook_id": result.webhook_id,
            "provider": webhook.provider if webhook else "",
            "provider_job_id": result.provider_job_id,
            "status": result.status,
            "error": result.error,
            "partial": result.partial,
            "content_type": result.content_type,
            "size_bytes": result.size_bytes,
            "sha256": result.sha256,
            "fetched_at": result.fetched_at,
            "metadata": dict(result.metadata),
            "matched": result.matched,
        }
    )


@endpoint("GET", "/v1/results", scope=Scope.READ, answers={200: Paged[ResultView]})
async def page(call: Call[ResultQuery, Nothing]) -> Answer:
    """The results, newest first, without payloads."""
    query = call.query
    status = tuple(JobStatus(name.removeprefix("result.")) for name in query.type)
    read = partial(
        results.page,
        webhook_id=query.webhook_id,
        job_id=query.job_id,
        status=status,
        unrouted=query.unrouted,
        window=pages.window(call),
    )
    found = await call.services.database.read(read)
    return pages.answer(call, found, lambda item: item.id, lambda item: view_of(call.services, item))


@endpoint("GET", "/v1/results/{id}", scope=Scope.READ, answers={200: ResultDetail}, prefix=RESULT)
async def show(call: Call[NoQuery, Nothing]) -> Response:
    """One result, with its payload if that is not larger than 1 MiB."""

    def read(conn: Connection) -> tuple[Result, bytes | None]:
        result = _there(results.get(conn, call.id))
        small = result.payload_id is not None and (result.size_bytes or 0) <= INLINE_BYTES
        return result, results.payload(conn, result.payload_id or "") if small else None

    result, payload = await call.services.database.read(read)
    content = view_of(call.services, result).model_dump_json().encode()
    return Response(splice(content, payload), 200, {"cache-control": "no-store"}, "application/json")


def splice(view: bytes, payload: bytes | None) -> bytes:
    """The JSON object `view` with one more member: the payload's own bytes, or their base64 where they are not JSON."""
    if payload is None:
        return view
    if is_strict_json(payload):
        return b'%b,"payload":%b}' % (view[:-1], payload)
    return b'%b,"payload_base64":"%b"}' % (view[:-1], base64.b64encode(payload))


@endpoint("GET", "/v1/results/{id}/payload", scope=None, answers={200: "*/*", 206: "*/*", 304: None}, prefix=RESULT,
          refusals=(401, 403, 416))  # fmt: skip
async def payload(call: Call[PayloadQuery, Nothing]) -> Response:
    """The exact bytes of the payload. Takes `Range`, and a signed link's `token` instead of an API key."""
    if call.query.token is None:
        await authenticate(call.services, call.request, Scope.READ)
    elif call.services.payload_links.read(call.query.token, call.now) != call.id:
        raise not_found("result")  # to a stranger a link that is over and a result that never was are the same
    result = _there(await call.services.database.read(partial(results.get, id=call.id)))
    return await serve(call.services.database, call.request, result)


@endpoint("DELETE", "/v1/results/{id}", scope=Scope.WRITE, answers={204: None}, prefix=RESULT)
async def erase(call: Call[NoQuery, Nothing]) -> Answer:
    """Erase the payload everywhere and cancel its pending deliveries. That there was a result stays known."""
    if not await call.services.database.write(partial(results.erase, id=call.id, now=call.now)):
        raise not_found("result")
    return Answer(204)


def _there(found: Result | None) -> Result:
    if found is None:
        raise not_found("result")
    return found
