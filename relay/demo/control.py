"""Routes by which another process plays a stand-in: its knobs, events on demand, and what it was asked.

They are for rehearsals on one's own machine: no credentials, but nothing that a browser can send by itself either,
and neither bodies nor values of headers are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.demo.knobs import Outcome

if TYPE_CHECKING:
    from relay.demo.jobs import Job
    from relay.demo.stand_in import StandIn

PREFIX: Final = "/-"
MOST_AT_ONCE: Final = 10_000


class Trigger(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """So many jobs that end like this at once, each with its notification."""

    event: Outcome = Outcome.COMPLETED
    count: int = 1
    callback_url: str | None = None  # None = what the dashboard holds
    secret: str | None = None  # to sign with, or the shared header; None = the stand-in's own
    knobs: dict[str, Any] = msgspec.field(default_factory=dict)  # of these jobs


def routes(stand_in: StandIn) -> list[Route]:
    """`knobs` (GET, PATCH), `trigger` (POST), `jobs/{id}/finish` (POST), `requests` (GET)."""

    async def knobs(request: Request) -> Response:
        if request.method == "PATCH":
            try:
                stand_in.knobs.turn(await _json(request))
            except (msgspec.ValidationError, ValueError) as error:
                return _answer({"error": str(error)}, 422)
        return _answer(msgspec.to_builtins(stand_in.knobs))

    async def trigger(request: Request) -> Response:
        try:
            wanted = msgspec.convert(await _json(request), Trigger)
            return _answer({"jobs": await triggered(stand_in, wanted)})
        except (msgspec.ValidationError, ValueError) as error:
            return _answer({"error": str(error)}, 422)

    async def finish(request: Request) -> Response:
        job = stand_in.jobs.get(request.path_params["job_id"])
        if job is None:
            return _answer({"error": "there is no such job"}, 404)
        return _answer({"id": job.id, "callback_statuses": await stand_in.finish(job.id)})

    async def requests(request: Request) -> Response:
        return _answer([_shown(asked) for asked in stand_in.requests])

    return [
        Route(f"{PREFIX}/knobs", knobs, methods=["GET", "PATCH"]),
        Route(f"{PREFIX}/trigger", trigger, methods=["POST"]),
        Route(f"{PREFIX}/jobs/{{job_id}}/finish", finish, methods=["POST"]),
        Route(f"{PREFIX}/requests", requests, methods=["GET"]),
    ]


async def triggered(stand_in: StandIn, wanted: Trigger) -> list[dict[str, Any]]:
    """Open the jobs, end them, call back: `{"id", "callback_statuses"}` of each. Raises ValueError."""
    if not 1 <= wanted.count <= MOST_AT_ONCE:
        raise ValueError(f"count must be between 1 and {MOST_AT_ONCE}")
    own = stand_in.knobs.changed({**wanted.knobs, "outcome": wanted.event.value})
    url = wanted.callback_url or stand_in.callback_url
    extra = {} if wanted.secret is None else {"secret": wanted.secret}
    jobs: list[Job] = []
    for _ in range(wanted.count):
        job = stand_in.take(stand_in.example(), url, knobs=own, extra=extra)
        job.cancelled = wanted.event is Outcome.CANCELLED
        jobs.append(job)
    return [{"id": job.id, "callback_statuses": await stand_in.finish(job.id)} for job in jobs]


async def _json(request: Request) -> Any:
    # A page of another origin can send any body, but not with this content type unless we allowed it.
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise ValueError("send application/json")
    found = orjson.loads(await request.body())
    if not isinstance(found, Mapping):
        raise ValueError("send a JSON object")
    return found


def _shown(asked: Any) -> dict[str, Any]:
    return {
        "at": asked.at,
        "method": asked.method,
        "path": asked.path,
        "status": asked.status,
        "authorized": asked.authorized,
        "credentials": asked.credentials,
    }


def _answer(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
