"""How a customer speaks with each of the fourteen stand-ins by plain HTTP: one row a provider.

`{id}` in a path is the job's id. A status and a result at one address have the same path.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import orjson

from relay.demo.stand_in import StandIn
from relay.model import Secret
from tests.support.providers import PROVIDERS, InferenceNet, NetNut

KEY: Final = "open-sesame-4711"
SHARED: Final = "shared-header-4711"


@dataclass(frozen=True, kw_only=True)
class Submit:
    """A request for work."""

    path: str
    body: Any
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Way:
    """One provider as its customer knows it."""

    submit: Callable[[str | None], Submit]  # given the callback URL
    taken: int = 200  # the status of the answer
    job_id: str  # where the id is in that answer, dotted
    status: str  # the path
    status_at: str  # where the word is in its answer, dotted
    words: tuple[str, str, str]  # unfinished at first, then later, and completed
    result: str  # the path
    failed: str | None  # the word
    cancelled: str | None = None
    cancel: tuple[str, str] | None = None  # method and path
    notified: str | None  # where the id is in a notification; None = it has none
    dashboard: bool = False  # the callback URL is not in the request
    gone: int = 404  # the status of the answer after the retention


def start(name: str, **more: Any) -> StandIn:
    """The stand-in, to be entered; its credentials are `KEY`."""
    if name == "netnut":
        return NetNut(password=Secret(KEY), **more)
    return PROVIDERS[name](api_key=Secret(KEY), **more)


def authorization(stand_in: StandIn) -> dict[str, str]:
    """The header with the right credentials."""
    header, values = stand_in.credentials()
    return {header: values[0]}


def listen(stand_in: StandIn, callback_url: str) -> None:
    """Say in the dashboard where notifications go, for providers that have one."""
    stand_in.callback_url = callback_url
    if isinstance(stand_in, InferenceNet):
        stand_in.register(SHARED, callback_url)


def at(found: Any, dotted: str) -> Any:
    """The value at a dotted path; None where there is none."""
    for part in dotted.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _body(path: str, fixed: dict[str, Any], callback: str | None = None) -> Callable[[str | None], Submit]:
    """The callback URL, if any, is a field of the body."""

    def make(url: str | None) -> Submit:
        return Submit(path=path, body=fixed if url is None or callback is None else {**fixed, callback: url})

    return make


def _firecrawl(url: str | None) -> Submit:
    webhook = {} if url is None else {"webhook": {"url": url, "headers": {"x-team": "a"}, "events": ["completed"]}}
    return Submit(path="/v2/crawl", body={"url": "https://example.com", **webhook})


def _fal(url: str | None) -> Submit:
    query = {} if url is None else {"fal_webhook": url}
    return Submit(path="/fal-ai/stand-in/sub", body={"prompt": "coffee"}, query=query)


def _apify(url: str | None) -> Submit:
    events = ["ACTOR.RUN.SUCCEEDED", "ACTOR.RUN.FAILED", "ACTOR.RUN.ABORTED"]
    webhooks = base64.b64encode(orjson.dumps([{"eventTypes": events, "requestUrl": url}])).decode()
    return Submit(path="/v2/acts/me~actor/runs", body={"n": 1}, query={} if url is None else {"webhooks": webhooks})


def _assemblyai(url: str | None) -> Submit:
    header = {"webhook_auth_header_name": "x-team", "webhook_auth_header_value": SHARED}
    callback = {} if url is None else {"webhook_url": url, **header}
    return Submit(path="/v2/transcript", body={"audio_url": "https://example.com/a.mp3", **callback})


def _reducto(url: str | None) -> Submit:
    webhook = {} if url is None else {"async": {"webhook": {"mode": "svix", "channels": []}}}
    return Submit(path="/parse_async", body={"input": "https://example.com/a.pdf", **webhook})


def _brightdata(url: str | None) -> Submit:
    callback = {} if url is None else {"notify": url, "auth_header": SHARED}
    query = {"dataset_id": "gd_1", "format": "json", **callback}
    return Submit(path="/datasets/v3/trigger", body=[{"url": "https://example.com"}], query=query)


WAYS: Final[Mapping[str, Way]] = MappingProxyType(
    {
        "netnut": Way(
            submit=_body("/search", {"prompt": "coffee", "async": True}, "callback_url"),
            taken=202,
            job_id="traceId",
            status="/results/{id}",
            status_at="status",
            words=("processing", "processing", ""),
            result="/results/{id}",
            failed="failed",
            notified="traceID",
            gone=410,
        ),
        "pulse": Way(
            submit=_body("/extract", {"file_url": "https://example.com/a.pdf", "async": True}),
            taken=202,
            job_id="job_id",
            status="/job/{id}",
            status_at="status",
            words=("pending", "processing", "completed"),
            result="/job/{id}",
            failed="failed",
            cancelled="canceled",
            cancel=("DELETE", "/job/{id}"),
            notified="data.job_id",
            dashboard=True,
            gone=200,
        ),
        "inference-net": Way(
            submit=_body("/v1/slow/chat/completions", {"messages": [], "metadata": {"webhook_id": SHARED}}),
            job_id="id",
            status="/v1/generation/{id}",
            status_at="state",
            words=("Queued", "In Progress", "Success"),
            result="/v1/generation/{id}",
            failed="Failed",
            notified="generation_id",
            dashboard=True,
        ),
        "freddy": Way(
            submit=_body("/v1/model/response", {"model": "gpt-4.1", "background": True, "inputs": []}),
            job_id="id",
            status="/v1/model/response/{id}",
            status_at="status",
            words=("queued", "in_progress", "completed"),
            result="/v1/model/response/{id}",
            failed="failed",
            cancelled="cancelled",
            cancel=("DELETE", "/v1/model/response/{id}"),
            notified=None,
        ),
        "openai": Way(
            submit=_body("/v1/responses", {"model": "gpt-5", "input": "coffee", "background": True}),
            job_id="id",
            status="/v1/responses/{id}",
            status_at="status",
            words=("queued", "in_progress", "completed"),
            result="/v1/responses/{id}",
            failed="failed",
            cancelled="cancelled",
            cancel=("POST", "/v1/responses/{id}/cancel"),
            notified="data.id",
            dashboard=True,
        ),
        "fal": Way(
            submit=_fal,
            job_id="request_id",
            status="/fal-ai/stand-in/requests/{id}/status",
            status_at="status",
            words=("IN_QUEUE", "IN_PROGRESS", "COMPLETED"),
            result="/fal-ai/stand-in/requests/{id}",
            failed="COMPLETED",
            cancelled="COMPLETED",
            cancel=("PUT", "/fal-ai/stand-in/requests/{id}/cancel"),
            notified="request_id",
        ),
        "replicate": Way(
            submit=_body("/v1/predictions", {"version": "5c7d", "input": {"prompt": "coffee"}}, "webhook"),
            taken=201,
            job_id="id",
            status="/v1/predictions/{id}",
            status_at="status",
            words=("starting", "processing", "succeeded"),
            result="/v1/predictions/{id}",
            failed="failed",
            cancelled="canceled",
            cancel=("POST", "/v1/predictions/{id}/cancel"),
            notified="id",
            gone=200,
        ),
        "runpod": Way(
            submit=_body("/v2/ep1/run", {"input": {"prompt": "coffee"}}, "webhook"),
            job_id="id",
            status="/v2/ep1/status/{id}",
            status_at="status",
            words=("IN_QUEUE", "IN_PROGRESS", "COMPLETED"),
            result="/v2/ep1/status/{id}",
            failed="FAILED",
            cancelled="CANCELLED",
            cancel=("POST", "/v2/ep1/cancel/{id}"),
            notified="id",
        ),
        "assemblyai": Way(
            submit=_assemblyai,
            job_id="id",
            status="/v2/transcript/{id}",
            status_at="status",
            words=("queued", "processing", "completed"),
            result="/v2/transcript/{id}",
            failed="error",
            notified="transcript_id",
            gone=200,
        ),
        "oxylabs": Way(
            submit=_body("/v1/queries", {"source": "universal", "url": "https://example.com"}, "callback_url"),
            taken=202,
            job_id="id",
            status="/v1/queries/{id}",
            status_at="status",
            words=("pending", "pending", "done"),
            result="/v1/queries/{id}/results",
            failed="faulted",
            notified="id",
        ),
        "firecrawl": Way(
            submit=_firecrawl,
            job_id="id",
            status="/v2/crawl/{id}",
            status_at="status",
            words=("scraping", "scraping", "completed"),
            result="/v2/crawl/{id}",
            failed="failed",
            cancelled="cancelled",
            cancel=("DELETE", "/v2/crawl/{id}"),
            notified="id",
        ),
        "apify": Way(
            submit=_apify,
            taken=201,
            job_id="data.id",
            status="/v2/actor-runs/{id}",
            status_at="data.status",
            words=("READY", "RUNNING", "SUCCEEDED"),
            result="/v2/actor-runs/{id}/dataset/items",
            failed="FAILED",
            cancelled="ABORTED",
            cancel=("POST", "/v2/actor-runs/{id}/abort"),
            notified="eventData.actorRunId",
        ),
        "reducto": Way(
            submit=_reducto,
            job_id="job_id",
            status="/job/{id}",
            status_at="status",
            words=("Pending", "Idle", "Completed"),
            result="/job/{id}",
            failed="Failed",
            cancelled="Failed",
            cancel=("POST", "/cancel/{id}"),
            notified="job_id",
            dashboard=True,
        ),
        "brightdata": Way(
            submit=_brightdata,
            job_id="snapshot_id",
            status="/datasets/v3/progress/{id}",
            status_at="status",
            words=("starting", "running", "ready"),
            result="/datasets/v3/snapshot/{id}",
            failed="failed",
            cancelled="canceled",
            cancel=("POST", "/datasets/v3/snapshot/{id}/cancel"),
            notified="snapshot_id",
        ),
    }
)
