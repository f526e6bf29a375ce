"""What is to be stored for a request, decided without touching anything: verified, read, judged, made into rows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from relay.clock import Instant, after
from relay.errors import UrlRefused
from relay.frozen import frozen
from relay.ids import new_id
from relay.model import JOB, NOTIFICATION, Job, JobStatus, Notification, NotificationStatus
from relay.outbound.urls import parse_url
from relay.pipeline.bindings import Binding
from relay.pipeline.floor import Floor
from relay.pipeline.verify import verify
from relay.providers.reading import Notice, read_notification
from relay.store.intake import Accept, Key

REJECTED_BODY_BYTES: Final = 64 * 1024
ENDED_BADLY: Final = frozenset((JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED))
BOUND_JOB: Final = ":job"  # no header's name: the job of a rejected one's callback URL, sealed with its headers
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_/-]{0,1000}", re.ASCII)
_SHA256: Final = hashlib.sha256()
KEPT_HEADERS: Final = frozenset(
    (
        "content-type",
        "content-encoding",
        "user-agent",
        "date",
        "webhook-id",
        "webhook-timestamp",
        "svix-id",
        "svix-timestamp",
    )
)


@frozen()
class Inbound:
    """One call to a callback URL. Header names are in lower case."""

    method: str
    suffix: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    received_at: Instant


Claim = Callable[[str], Instant | None]


def never(lane: str) -> Instant | None:
    """A claim that is never given."""
    return None


class Preparer:
    """Makes an `Accept` of a request."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    def prepare(
        self,
        binding: Binding,
        job_id: str | None,
        inbound: Inbound,
        version: int,
        claim: Claim = never,
        keys: Sequence[bytes] = (),
        *,
        taken_before: bool = False,
    ) -> Accept:
        """What is to be stored for this request. `claim` is asked only if a new job would come of it; `keys` are the
        provider's public ones, where it publishes them. One that was `taken_before` has not kept what it proved itself
        by: it is taken again, but its own payload is not."""
        webhook = binding.webhook
        problem = verify(binding.scheme, binding.secrets, inbound.headers, inbound.body, inbound.received_at, keys)
        if problem is not None and not taken_before:
            return self._rejected(webhook.id, problem, inbound, version, job_id)
        headers = dict(inbound.headers)
        notice = read_notification(binding.profile, inbound.method, inbound.query, headers, inbound.body)
        status, reason = _judge(binding, notice, job_id)
        notification = new_notification(webhook.id, inbound, status, reason)
        key = dedupe_key(webhook.id, notice.delivery_id, inbound)
        if status is not NotificationStatus.ACCEPTED:
            return Accept(
                config_version=version, notification=notification, body=inbound.body, dedupe_key=key, job_id=job_id
            )
        takes_new = webhook.untracked == "accept" and job_id is None
        named = job_keys(notice.provider_job_id, notice.response_url)
        siblings = self._floor.bindings.siblings(webhook, self._floor.configuration.current.webhooks)
        inline = notice.inline and binding.takes_inline and problem is None
        job = self._new_job(binding, notice, inbound.received_at, claim if takes_new else never)
        return Accept(
            config_version=version,
            notification=notification,
            body=inbound.body,
            dedupe_key=key,
            about_one_job=notice.delivery_id is None,
            keys=named,
            job_id=job_id,
            new_job=job if takes_new else None,
            changes=job,
            inline=inline,
            ended_badly=inline and notice.status in ENDED_BADLY,
            keeps_deadline=notice.expires_at is None and binding.profile.retention.anchor == "submitted",
            sibling_ids=siblings,
        )

    def _new_job(self, binding: Binding, notice: Notice, now: Instant, claim: Claim) -> Job:
        anchor = notice.completed_at if notice.completed_at is not None and notice.completed_at <= now else now
        deadline = notice.expires_at or after(anchor, binding.retention_seconds)
        give_up_at = after(self._floor.clock.now(), self._floor.give_up_seconds)
        lease_until = claim(binding.webhook.id)  # last: should anything fail after it, nobody gives the slot back
        return Job(
            id=new_id(JOB, now),
            webhook_id=binding.webhook.id,
            provider_job_id=notice.provider_job_id,
            response_url=notice.response_url,
            status=JobStatus.FETCHING,
            provider_status=notice.provider_status,
            metadata={},
            deadline=deadline,
            give_up_at=give_up_at,
            created_at=now,
            notified_at=now,
            completed_at=None,
            result_id=None,
            inline_notification_id=None,
            tracked=False,
            attempts=0,
            step=0,
            due_at=now,
            lease_until=lease_until,
            claims=0 if lease_until is None else 1,
            last_error=None,
            result_path=notice.result_path,
        )

    def _rejected(self, webhook_id: str, problem: str, inbound: Inbound, version: int, job_id: str | None) -> Accept:
        """Kept but sealed, so that it can be taken after all once the secret is mended; in nobody's way meanwhile."""
        bound = () if job_id is None else ((BOUND_JOB, job_id),)
        everything = json.dumps((*inbound.headers, *bound)).encode()
        body = inbound.body[:REJECTED_BODY_BYTES]
        notification = new_notification(webhook_id, inbound, NotificationStatus.REJECTED, problem)
        row_id = notification.id
        return Accept(
            config_version=version,
            notification=notification,
            body=self._floor.seal("notifications", "body", row_id, body),
            body_sealed=True,
            headers_sealed=self._floor.seal("notifications", "headers_sealed", row_id, everything),
        )


def job_keys(provider_job_id: str | None, response_url: str | None) -> tuple[Key, ...]:
    """What a notification or a caller can name a job by."""
    by_id = () if provider_job_id is None else (("id", provider_job_id),)
    return by_id if response_url is None else (*by_id, ("url", response_url))


def dedupe_key(webhook_id: str, delivery_id: str | None, inbound: Inbound) -> bytes:
    """What makes two notifications one: the provider's delivery id, else everything that was sent."""
    digest = _SHA256.copy()  # a new one asks OpenSSL for the algorithm each time
    if delivery_id is not None:
        digest.update(f"{webhook_id}\0id\0{delivery_id}".encode())
    else:
        head = f"{webhook_id}\0all\0{inbound.method}\0{inbound.suffix}\0{inbound.query}\0"
        digest.update(head.encode() + inbound.body)
    return digest.digest()


def origin_problem(binding: Binding, url: str) -> str | None:
    """Why this URL is not one to fetch from with the webhook's credentials; None if it is.

    The origin has to be one of the webhook's own, exactly. What this lets through, the outbound door judges again.
    """
    for prefix in binding.prefixes:
        if url.startswith(prefix) and _PLAIN_PATH.fullmatch(url, len(prefix)):
            return None  # nothing in it that parsing could find fault with
    try:
        target = parse_url(url, allow_http=True, allow_short=True)
    except UrlRefused:
        return "foreign_response_url"
    return None if target.origin in binding.origins else "foreign_response_url"


def _judge(binding: Binding, notice: Notice, job_id: str | None) -> tuple[NotificationStatus, str | None]:
    if notice.ignored:
        return NotificationStatus.IGNORED, "ignored_event"
    if notice.problem is not None and not (notice.problem == "no_id_and_no_url" and job_id is not None):
        return NotificationStatus.UNPROCESSABLE, notice.problem
    if notice.response_url is not None and (problem := origin_problem(binding, notice.response_url)) is not None:
        return NotificationStatus.UNPROCESSABLE, problem
    return NotificationStatus.ACCEPTED, None


def new_notification(webhook_id: str, inbound: Inbound, status: NotificationStatus, reason: str | None) -> Notification:
    headers: Mapping[str, str] = {name: value for name, value in inbound.headers if name in KEPT_HEADERS}
    return Notification(
        id=new_id(NOTIFICATION, inbound.received_at),
        webhook_id=webhook_id,
        job_id=None,
        status=status,
        reason=reason,
        method=inbound.method,
        suffix=inbound.suffix,
        query=inbound.query,
        content_type=headers.get("content-type"),
        headers=headers,
        body_size=len(inbound.body),
        received_at=inbound.received_at,
    )
