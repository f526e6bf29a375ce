"""Reading a provider's messages by its profile: notifications, and answers to fetches.

Both functions take any bytes, never raise and never take an unclear message for a finished job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Literal

from relay.clock import Instant
from relay.frozen import frozen
from relay.model import JobStatus
from relay.providers.fetch import Fetch, Hop, fill
from relay.providers.message import MAX_ID_CHARS, MAX_URL_CHARS, Message, header, identifier, is_storable_url
from relay.providers.profile import Callback, Profile

VerdictKind = Literal[
    "completed",
    "elsewhere",
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


@frozen(kw_only=True)
class Notice:
    """What a notification says.

    `problem` is None, `empty_body`, `not_json`, `no_id_and_no_url`, `bad_id` or `bad_url`; an ignored notification
    has none. A callback URL made for one job still leads to it when the notification names no job.
    """

    event: str | None = None
    ignored: bool = False
    provider_job_id: str | None = None
    response_url: str | None = None  # as sent: whether it may be called is for the URL policy to say
    result_path: str | None = None  # below the base URL, where the event tells another kind of job (Fetch.others)
    status: JobStatus | None = None
    provider_status: str | None = None
    partial: bool = False
    delivery_id: str | None = None
    completed_at: Instant | None = None
    expires_at: Instant | None = None
    error: str | None = None  # of one that is not completed
    inline: bool = False  # the body is the final payload; see Callback.may_take_inline
    problem: str | None = None


@frozen(kw_only=True)
class Verdict:
    """What an answer to a fetch means.

    `not_found` is a 404, which may also mean "not yet"; `gone` is unmistakable. `elsewhere` = completed, and what `hop`
    leads to is the payload. `reason` says why a 2xx answer is pending or a verdict is not the plain meaning of the
    HTTP status: `http_status`, `not_json`, `status`, `unknown_status` (worth a warning), `marker`, `no_marker`,
    `removed`, `error`, `hop`, `no_url`, `no_content`, `stale_url`, `part` (of an expired job), `incomplete` (called
    completed, does not look it).
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
    hop: NextHop | None = None  # kind "elsewhere" only
    next_page: str | None = None  # kind "completed" only: where the payload goes on; see relay.providers.pages


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where the payload of a completed job lies."""

    rule: Hop
    url: str | None = field(default=None, repr=False)  # as sent; a presigned one is as good as a key
    id: str | None = None

    @property
    def credentials(self) -> bool:
        """Whether the webhook's credentials go there; never along with a URL outside its origins."""
        return self.rule.credentials

    def candidates(
        self, base_url: str | None, job_id: str | None, response_url: str | None, parameters: Mapping[str, str]
    ) -> tuple[str, ...]:
        """The URLs that lead there, best first: take the first that the URL policy allows."""
        found = [self.url, response_url if self.rule.job_url else None]
        if self.rule.template and base_url is not None:
            known = {"job_id": job_id, "id": self.id}
            values = {**parameters, **{name: value for name, value in known.items() if value is not None}}
            try:
                found.append(fill(base_url, self.rule.template, values))
            except (ValueError, KeyError):
                pass  # something that the template needs is not known
        return tuple(url for url in found if url is not None)


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
    status = profile.fetch.job_status(provider_status) if provider_status is not None else None
    inline = _is_inline(callback, message, status, has_url=url is not None)
    if inline and (provider_status is None or profile.fetch.marker_first):
        status = JobStatus.COMPLETED
    elif status is None or not status.is_final:
        inline = False
    named = identifier(job_id)
    usable = url if url is not None and is_storable_url(url) else None
    problem: str | None = None
    if url is not None:
        problem = "bad_url" if usable is None else None
    elif named is None and not inline:  # an id that cannot be used matters only where nothing else leads to the result
        problem = "bad_id" if job_id is not None else _nothing_named(method, body, is_json=values is not None)
    return Notice(
        event=event,
        provider_job_id=named,
        response_url=usable,
        result_path=result_path(profile.fetch, named, event=event),
        status=status,
        provider_status=provider_status,
        partial=provider_status is not None and profile.fetch.is_partial(provider_status),
        delivery_id=message.identifier(callback.delivery_id),
        completed_at=message.instant(callback.completed_at),
        expires_at=message.instant(callback.expires_at),
        error=None if status is JobStatus.COMPLETED else message.error(callback.error),
        inline=inline,
        problem=problem,
    )


def _is_inline(callback: Callback, message: Message, status: JobStatus | None, *, has_url: bool) -> bool:
    inline = callback.inline
    if inline is None or (inline.unfetchable and has_url):
        return False
    if status in (JobStatus.FAILED, JobStatus.CANCELLED) and message.has(inline.failed, "any"):
        return True
    return message.has(inline.present, inline.type)


def result_path(
    fetch: Fetch, job_id: str | None, *, event: str | None = None, call: tuple[str, str] | None = None
) -> str | None:
    """Where a job of another kind has its result, below the base URL; its kind shows by an event or a submit call.

    None for the usual kind, and for one that shows by the id: `Fetch.url` sees that itself.
    """
    if job_id is None or not fetch.others:
        return None
    for other in fetch.others:
        if (event is not None and other.has_event(event)) or (call is not None and other.has_call(*call)):
            return fill("", other.template, {"job_id": job_id})
    return None


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
    hop: NextHop | None = None
    if kind is None:
        kind, reason = ("pending", "not_json") if values is None else _kind_of_body(fetch, message)
    is_part = kind == "completed" and reason == "part"
    if kind == "completed" and fetch.hops:
        kind, reason, hop = _follow(fetch, message, reason)
    next_page = message.place(fetch.next_page) if kind == "completed" and fetch.next_page else None
    if kind == "completed" and next_page is None and message.has(fetch.next_page, "any"):
        kind, reason = "pending", "no_url"  # there is more, and we cannot tell where
    if kind == "completed" and next_page is None and fetch.complete_when and not message.holds_one(fetch.complete_when):
        kind, reason = "pending", "incomplete"
    provider_status = message.word(fetch.status)
    finished = kind in ("completed", "elsewhere")
    return Verdict(
        kind=kind,
        reason=reason,
        provider_status=provider_status,
        provider_job_id=message.identifier(fetch.job_id),
        partial=finished and (is_part or (provider_status is not None and fetch.is_partial(provider_status))),
        error=None if finished else message.error(fetch.error),
        completed_at=message.instant(fetch.completed_at),
        expires_at=message.instant(fetch.expires_at),
        retry_after=header(headers, "retry-after"),
        hint_seconds=hint_seconds(profile.poll.hints, headers),
        hop=hop,
        next_page=next_page,
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


def _follow(fetch: Fetch, message: Message, reason: str) -> tuple[VerdictKind, str, NextHop | None]:
    """The first hop that fits; without one the answer itself is the payload."""
    for rule in fetch.hops:
        if rule.when is not None and not message.holds(rule.when):
            continue
        found = message.identifier(rule.id) if rule.id else None
        if rule.id and found is None:
            continue
        url = message.url(rule.url) if rule.url else None
        if url is None and not rule.template and not rule.job_url:
            return "pending", "no_url", None
        if url is not None and rule.upgrade_http and url[:7].lower() == "http://":
            url = f"https://{url[7:]}"
        return "elsewhere", "hop", NextHop(rule, url, found)
    return "completed", reason, None


def _kind_of_body(fetch: Fetch, message: Message) -> tuple[VerdictKind, str]:
    provider_status = message.word(fetch.status)
    status = None if provider_status is None else fetch.job_status(provider_status)
    removed = message.has(fetch.gone_present, "any") or message.holds_one(fetch.gone_when)
    if removed and status not in (JobStatus.FAILED, JobStatus.CANCELLED):
        return "gone", "removed"
    done = message.has(fetch.done_present, fetch.done_type)
    if done and fetch.marker_first:
        return "completed", "marker"
    if provider_status is not None:
        if status is None:
            return "pending", "unknown_status"
        if status is JobStatus.EXPIRED and message.has(fetch.partial_present, "any"):
            return "completed", "part"
        if status is not JobStatus.COMPLETED:
            return _KIND_OF_STATUS[status], "status"
    elif not fetch.done_present:
        return "pending", "no_marker"
    if message.has(fetch.failed_present, "any"):
        return "failed", "error"
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


def hint_seconds(names: tuple[str, ...], headers: Mapping[str, str]) -> float | None:
    """The shortest form of "come back in": a number of seconds, or of milliseconds if the header's name says so."""
    for name in names:
        value = header(headers, name)
        if value is not None and re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,6})?", value.strip()):
            return float(value) / (1000 if name.endswith("-ms") else 1)
    return None
