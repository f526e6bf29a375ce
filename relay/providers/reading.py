"""Reading a provider's messages by its profile: notifications, and answers to fetches.

Both functions take any bytes, never raise and never take an unclear message for a finished job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

from relay.clock import Instant
from relay.model import JobStatus
from relay.providers.message import MAX_ID_CHARS, MAX_URL_CHARS, UNSTORABLE, Message, header, identifier
from relay.providers.profile import Callback, Fetch, Profile

VerdictKind = Literal[
    "completed",
    "failed",
    "cancelled",
    "pending",
    "gone",
    "not_found",
    "rejected_credentials",
    "throttled",
    "server_error",
    "unexpected",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a notification says.

    `problem` is None, `empty_body`, `not_json`, `no_id_and_no_url`, `bad_id` or `bad_url`; an ignored notification
    has none. A callback URL made for one job still leads to it when the notification names no job.
    """

    event: str | None = None
    ignored: bool = False
    provider_job_id: str | None = None
    response_url: str | None = None  # as sent: whether it may be called is for the URL policy to say
    status: JobStatus | None = None
    provider_status: str | None = None
    partial: bool = False
    delivery_id: str | None = None
    completed_at: Instant | None = None
    expires_at: Instant | None = None
    error: str | None = None
    inline: bool = False  # the body is the final payload; see Callback.may_take_inline
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an answer to a fetch means.

    `not_found` is a 404, which may also mean "not yet"; `gone` is unmistakable. `reason` says why a 2xx answer is
    pending or a verdict is not the plain meaning of the HTTP status: `http_status`, `not_json`, `status`,
    `unknown_status`, `marker`, `no_marker`, `removed`.
    """

    kind: VerdictKind
    reason: str = "http_status"
    provider_status: str | None = None
    provider_job_id: str | None = None
    partial: bool = False
    error: str | None = None
    completed_at: Instant | None = None
    expires_at: Instant | None = None
    retry_after: str | None = None  # the header as sent
    hint_seconds: float | None = None  # from a hint header of the profile


def read_notification(profile: Profile, method: str, query: str, headers: Mapping[str, str], body: bytes) -> Notice:
    """What the notification says by the profile. `headers` may be spelt in any case."""
    callback = profile.callback
    if callback is None:
        return Notice(problem="no_id_and_no_url")
    values = callback.selector.read(body)
    message = Message(values or {}, headers, query)
    event = message.word(callback.event)
    if event is not None and any(fnmatchcase(event, pattern) for pattern in callback.ignore_events):
        return Notice(event=event, ignored=True, delivery_id=message.identifier(callback.delivery_id))
    provider_status = message.word(callback.status)
    url = message.text(callback.response_url, MAX_URL_CHARS + 1)
    job_id = message.text(callback.job_id, MAX_ID_CHARS + 1)
    inline = _is_inline(callback, message, url is not None)
    status = profile.fetch.job_status(provider_status) if provider_status is not None else None
    if inline and (provider_status is None or profile.fetch.marker_first):
        status = JobStatus.COMPLETED
    elif status is None or not status.is_final:
        inline = False
    return Notice(
        event=event,
        provider_job_id=identifier(job_id),
        response_url=url if url is not None and _is_storable_url(url) else None,
        status=status,
        provider_status=provider_status,
        partial=provider_status is not None and profile.fetch.is_partial(provider_status),
        delivery_id=message.identifier(callback.delivery_id),
        completed_at=message.instant(callback.completed_at),
        expires_at=message.instant(callback.expires_at),
        error=None if inline and status is JobStatus.COMPLETED else message.error(callback.error),
        inline=inline,
        problem=_problem(url, job_id, inline=inline, unnamed=_nothing_named(method, body, is_json=values is not None)),
    )


def _is_inline(callback: Callback, message: Message, has_url: bool) -> bool:
    inline = callback.inline
    if inline is None or (inline.unfetchable and has_url):
        return False
    return message.has(inline.present, inline.type)


def _problem(url: str | None, job_id: str | None, *, inline: bool, unnamed: str) -> str | None:
    """An id that cannot be used is a problem only where nothing else leads to the result."""
    if url is not None:
        return None if _is_storable_url(url) else "bad_url"
    if inline or identifier(job_id) is not None:
        return None
    return "bad_id" if job_id is not None else unnamed


def _is_storable_url(url: str) -> bool:
    return len(url) <= MAX_URL_CHARS and not UNSTORABLE.search(url)


def _nothing_named(method: str, body: bytes, *, is_json: bool) -> str:
    if is_json or (method == "GET" and not body):
        return "no_id_and_no_url"
    return "not_json" if body.strip() else "empty_body"


def read_answer(profile: Profile, http_status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """What the answer to a fetch means by the profile. The body is not copied; a redirect is `unexpected`."""
    fetch = profile.fetch
    values = fetch.selector.read(body)
    message = Message(values or {}, headers, "")
    kind, reason = _kind_of_http(fetch, http_status), "http_status"
    if kind is None:
        kind, reason = ("pending", "not_json") if values is None else _kind_of_body(fetch, message)
    provider_status = message.word(fetch.status)
    return Verdict(
        kind=kind,
        reason=reason,
        provider_status=provider_status,
        provider_job_id=message.identifier(fetch.job_id),
        partial=kind == "completed" and provider_status is not None and fetch.is_partial(provider_status),
        error=None if kind == "completed" else message.error(fetch.error),
        completed_at=message.instant(fetch.completed_at),
        expires_at=message.instant(fetch.expires_at),
        retry_after=header(headers, "retry-after"),
        hint_seconds=_hint(profile.poll.hints, headers),
    )


def _kind_of_http(fetch: Fetch, status: int) -> VerdictKind | None:
    """The verdict that the HTTP status alone gives; None = look at the body."""
    if status in fetch.pending_http:
        return "pending"
    if status in fetch.gone_http:
        return "not_found" if status == 404 else "gone"
    if 200 <= status < 300:
        return None
    if status in (401, 403):
        return "rejected_credentials"
    if status == 429:
        return "throttled"
    return "server_error" if status == 408 or status >= 500 else "unexpected"


def _kind_of_body(fetch: Fetch, message: Message) -> tuple[VerdictKind, str]:
    if message.has(fetch.gone_present, "any"):
        return "gone", "removed"
    done = message.has(fetch.done_present, fetch.done_type)
    if done and fetch.marker_first:
        return "completed", "marker"
    provider_status = message.word(fetch.status)
    if provider_status is not None:
        status = fetch.job_status(provider_status)
        if status is None:
            return "pending", "unknown_status"
        if status is not JobStatus.COMPLETED:
            return _KIND_OF_STATUS[status], "status"
    elif not fetch.done_present:
        return "pending", "no_marker"
    if fetch.done_present and not done:
        return "pending", "no_marker"
    return "completed", "status" if provider_status is not None else "marker"


_KIND_OF_STATUS: Final[Mapping[JobStatus, VerdictKind]] = {
    JobStatus.WAITING: "pending",
    JobStatus.FETCHING: "pending",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
    JobStatus.EXPIRED: "gone",
}


def _hint(names: tuple[str, ...], headers: Mapping[str, str]) -> float | None:
    """The shortest form of "come back in": a number of seconds, or of milliseconds if the header's name says so."""
    for name in names:
        value = header(headers, name)
        if value is not None and re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,6})?", value.strip()):
            return float(value) / (1000 if name.endswith("-ms") else 1)
    return None
