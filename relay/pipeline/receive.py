"""Stage 1: a raw request at a callback URL becomes a durable notification, and only then an answer.

`admit` judges the token alone, before the body is read. `receive` verifies, reads what the notification says, and
stores it with the job it is about in one transaction. Duplicates are recognised there, not here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from relay.clock import Instant, after
from relay.errors import UrlRefused
from relay.model import (
    JOB,
    NOTIFICATION,
    Job,
    JobStatus,
    Notification,
    NotificationStatus,
    Webhook,
    WebhookStatus,
    new_id,
)
from relay.outbound.urls import parse_url
from relay.pipeline.bindings import Binding
from relay.pipeline.floor import Floor
from relay.pipeline.outcomes import Refused
from relay.pipeline.verify import is_authenticated, verify
from relay.providers.reading import Notice, read_notification
from relay.signing.tokens import CallbackTokens
from relay.store import notifications
from relay.store.intake import ACCEPT, Accept, Accepted, Key, Stale, unique_keys
from relay.store.notifications import StoredRequest

RETRY_AFTER_SECONDS: Final = 5
REJECTED_BODY_BYTES: Final = 64 * 1024
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


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request whose token is good: read its body."""

    webhook: Webhook
    job_id: str | None


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """A request that is answered without reading its body."""

    http_status: int
    retry_after: int | None = None
    allow: str | None = None


@dataclass(frozen=True, slots=True)
class Inbound:
    """One call to a callback URL. Header names are in lower case."""

    method: str
    suffix: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    received_at: Instant


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider is told."""

    http_status: int
    status: str
    notification_id: str | None
    job_id: str | None
    reason: str | None
    retry_after: int | None = None


Claim = Callable[[str], Instant | None]


def never(lane: str) -> Instant | None:
    """A claim that is never given."""
    return None


class FetchHands(Protocol):
    """The hands that fetch, as far as this stage needs them: it may hand a new job over without a detour."""

    def reserve(self, lane: str) -> bool: ...

    def release(self, lane: str) -> None: ...

    def start(self, job: Job) -> None: ...

    def hint(self) -> None: ...


class Receiver:
    """See the module. Raises StoreUnavailable from `admit` and `receive` when nothing can be made durable now."""

    def __init__(
        self, floor: Floor, tokens: CallbackTokens, hands: FetchHands, may_take: Callable[[], bool] = lambda: True
    ) -> None:
        self._floor = floor
        self._configuration = floor.configuration
        self._bindings = floor.bindings
        self._tokens = tokens
        self._hands = hands
        self._may_take = may_take

    async def admit(self, token: str, method: str) -> Admitted | TurnedAway:
        """Judge the token and the method; no database is asked unless a good token names an unknown webhook."""
        read = self._tokens.read(token)
        if read is None:
            return TurnedAway(404)
        webhook = self._configuration.current.webhooks.get(read.webhook_id)
        if webhook is None or read.generation > webhook.generation:  # made or rotated by another node just now
            webhook = (await self._configuration.refresh()).webhooks.get(read.webhook_id)
        if webhook is None:
            return TurnedAway(404)
        if webhook.deleted_at is not None or webhook.status is WebhookStatus.DISABLED:
            return TurnedAway(410)
        if not is_current(webhook, read.generation, self._floor.clock.now()):
            return TurnedAway(410)
        binding = self._bindings.of(webhook)
        if binding is None or not self._may_take():
            return TurnedAway(503, RETRY_AFTER_SECONDS)
        methods = binding.profile.callback.methods if binding.profile.callback else ("POST",)
        if method not in methods:
            return TurnedAway(405, allow=", ".join(methods))
        return Admitted(webhook, read.job_id)

    async def receive(self, admitted: Admitted, inbound: Inbound) -> Answer:
        """Store what came in, and say what became of it."""
        while True:
            configuration = self._configuration.current
            webhook = configuration.webhooks.get(admitted.webhook.id, admitted.webhook)
            binding = self._bindings.of(webhook)
            if binding is None:
                return Answer(503, "unavailable", None, None, "provider_profile_missing", RETRY_AFTER_SECONDS)
            prepared = self.prepare(binding, admitted.job_id, inbound, configuration.version, self._claim)
            outcome = await self._submit(prepared)
            if not isinstance(outcome, Stale):
                return _answer(outcome)
            await self._configuration.refresh(seen=configuration.version)

    def _claim(self, lane: str) -> Instant | None:
        """A slot to fetch in at once, if one is free: until when the job is claimed for it."""
        if not self._hands.reserve(lane):
            return None
        return after(self._floor.clock.now(), self._floor.lease_seconds)

    async def _store_body_first(self, prepared: Accept, body: bytes) -> Accept:
        payload_id = await self._floor.payloads.store(body)
        return replace(prepared, body=None, payload_id=payload_id)

    async def _submit(self, prepared: Accept) -> Accepted | Stale:
        """Write it. A job that was inserted claimed goes straight to the hands."""
        new_job = prepared.new_job
        claimed = new_job if new_job is not None and new_job.claims else None
        used = False
        try:
            if prepared.body is not None and len(prepared.body) > self._floor.payloads.in_row_bytes:
                prepared = await self._store_body_first(prepared, prepared.body)
            outcome = await self._floor.database.submit(ACCEPT, prepared)
            used = claimed is not None and isinstance(outcome, Accepted) and _is_ours(outcome.job, claimed)
        finally:
            if claimed is not None and not used:
                self._hands.release(claimed.webhook_id)
        if isinstance(outcome, Accepted) and outcome.job is not None:
            if used:
                self._hands.start(outcome.job)
            else:
                self._hands.hint()
        return outcome

    async def reprocess(self, notification_id: str) -> Notification | Refused | None:
        """Read a stored notification anew, as if it came in now; None when there is none."""
        stored = await self._floor.database.read(partial(notifications.request, id=notification_id))
        if stored is None:
            return None
        given = stored.notification
        while True:
            configuration = await self._configuration.refresh()
            webhook = configuration.webhooks.get(given.webhook_id)
            binding = None if webhook is None else self._bindings.of(webhook)
            if binding is None:
                return Refused("webhook_gone", "the webhook of this notification is gone, or its provider's profile is")
            if given.body_size > 0 and not stored.body:
                return Refused("body_gone", "the body of this notification was erased")
            if stored.body_sealed and given.body_size > REJECTED_BODY_BYTES:
                return Refused("body_cut", f"only the first {REJECTED_BODY_BYTES} bytes of a rejected body are kept")
            prepared = self.prepare(binding, None, self._inbound(stored), configuration.version)
            if prepared.notification.status is NotificationStatus.REJECTED:
                return Refused("still_rejected", f"it still does not verify: {prepared.notification.reason}")
            outcome = await self._submit(
                replace(prepared, notification=_renewed(prepared, given.id), stored_before=True)
            )
            if not isinstance(outcome, Stale):
                return await self._floor.database.read(partial(notifications.get, id=notification_id))

    def _inbound(self, stored: StoredRequest) -> Inbound:
        given = stored.notification
        body, headers = stored.body, tuple(given.headers.items())
        if stored.body_sealed:
            body = self._floor.unseal("notifications", "body", given.id, body)
        if stored.headers_sealed is not None:
            opened = json.loads(self._floor.unseal("notifications", "headers_sealed", given.id, stored.headers_sealed))
            headers = tuple((name, value) for name, value in opened)
        # verified as of its arrival: a signature's timestamp is old by the time somebody mends the secret
        return Inbound(given.method, given.suffix, given.query, headers, body, given.received_at)

    async def test(self, webhook: Webhook) -> Notification:
        """Take a test notification through the intake; it is stored as `ignored` and makes no job."""
        now = self._floor.clock.now()
        inbound = Inbound("POST", "", "", (("content-type", "application/json"),), b'{"event":"relay.test"}', now)
        given = _notification(webhook.id, inbound, NotificationStatus.IGNORED, "test")
        while True:
            version = self._configuration.current.version
            item = Accept(config_version=version, notification=given, body=inbound.body)
            outcome = await self._floor.database.submit(ACCEPT, item)
            if not isinstance(outcome, Stale):
                return given
            await self._configuration.refresh(seen=version)

    # --- deciding, without touching anything ---

    def prepare(
        self, binding: Binding, job_id: str | None, inbound: Inbound, version: int, claim: Claim = never
    ) -> Accept:
        """What is to be stored for this request. `claim` is asked only if a new job would come of it."""
        webhook, callback = binding.webhook, binding.profile.callback
        if callback is not None:
            problem = verify(
                callback.verification, webhook.verification, inbound.headers, inbound.body, inbound.received_at
            )
            if problem is not None:
                return self._rejected(webhook.id, problem, inbound, version)
        headers = dict(inbound.headers)
        notice = read_notification(binding.profile, inbound.method, inbound.query, headers, inbound.body)
        status, reason = _judge(binding, notice, job_id)
        notification = _notification(webhook.id, inbound, status, reason)
        key = dedupe_key(webhook.id, notice.delivery_id, inbound)
        if status is not NotificationStatus.ACCEPTED:
            return Accept(config_version=version, notification=notification, body=inbound.body, dedupe_key=key)
        takes_new = webhook.untracked == "accept" and job_id is None
        job = self._new_job(binding, notice, inbound.received_at, claim(webhook.id) if takes_new else None)
        return Accept(
            config_version=version,
            notification=notification,
            body=inbound.body,
            dedupe_key=key,
            keys=job_keys(notice.provider_job_id, notice.response_url),
            job_id=job_id,
            new_job=job if takes_new else None,
            changes=job,
            inline=notice.inline and _takes_inline(binding),
            sibling_ids=self._bindings.siblings(webhook, self._configuration.current.webhooks),
        )

    def _new_job(self, binding: Binding, notice: Notice, now: Instant, lease_until: Instant | None) -> Job:
        anchor = notice.completed_at if notice.completed_at is not None and notice.completed_at <= now else now
        deadline = notice.expires_at or after(anchor, binding.retention_seconds)
        return Job(
            id=new_id(JOB, now),
            webhook_id=binding.webhook.id,
            provider_job_id=notice.provider_job_id,
            response_url=notice.response_url,
            status=JobStatus.FETCHING,
            provider_status=notice.provider_status,
            metadata={},
            deadline=deadline,
            give_up_at=after(self._floor.clock.now(), self._floor.give_up_seconds),
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
        )

    def _rejected(self, webhook_id: str, problem: str, inbound: Inbound, version: int) -> Accept:
        """Kept but sealed, so that it can be taken after all once the secret is mended; in nobody's way meanwhile."""
        everything = json.dumps(inbound.headers).encode()
        body = inbound.body[:REJECTED_BODY_BYTES]
        notification = _notification(webhook_id, inbound, NotificationStatus.REJECTED, problem)
        row_id = notification.id
        return Accept(
            config_version=version,
            notification=notification,
            body=self._floor.seal("notifications", "body", row_id, body),
            body_sealed=True,
            headers_sealed=self._floor.seal("notifications", "headers_sealed", row_id, everything),
        )


def _renewed(prepared: Accept, notification_id: str) -> Notification:
    return replace(prepared.notification, id=notification_id)


def is_current(webhook: Webhook, generation: int, now: Instant) -> bool:
    """Whether a token of this generation is still taken."""
    if generation == webhook.generation:
        return True
    overlap = webhook.previous_valid_until
    return generation == webhook.generation - 1 and overlap is not None and now < overlap


def job_keys(provider_job_id: str | None, response_url: str | None) -> tuple[Key, ...]:
    """What a notification or a caller can name a job by."""
    return unique_keys(
        [
            ("id", provider_job_id) if provider_job_id is not None else None,
            ("url", response_url) if response_url is not None else None,
        ]
    )


def dedupe_key(webhook_id: str, delivery_id: str | None, inbound: Inbound) -> bytes:
    """What makes two notifications one: the provider's delivery id, else everything that was sent."""
    digest = hashlib.sha256(webhook_id.encode())
    if delivery_id is not None:
        digest.update(b"\0id\0" + delivery_id.encode())
    else:
        digest.update(f"\0all\0{inbound.method}\0{inbound.suffix}\0{inbound.query}\0".encode())
        digest.update(inbound.body)
    return digest.digest()


def origin_problem(binding: Binding, url: str) -> str | None:
    """Why this URL is not one to fetch from with the webhook's credentials; None if it is.

    The origin has to be one of the webhook's own, exactly. What this lets through, the outbound door judges again.
    """
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


def _takes_inline(binding: Binding) -> bool:
    """Whether this webhook's notifications may themselves be the payload."""
    callback = binding.profile.callback
    if callback is None:
        return False
    authenticated = is_authenticated(callback.verification, binding.webhook.verification)
    return callback.may_take_inline(authenticated=authenticated)


def _notification(webhook_id: str, inbound: Inbound, status: NotificationStatus, reason: str | None) -> Notification:
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


def _is_ours(job: Job | None, prepared: Job | None) -> bool:
    return job is not None and prepared is not None and job.id == prepared.id


def _answer(outcome: Accepted) -> Answer:
    http_status = 401 if outcome.status is NotificationStatus.REJECTED else 200
    return Answer(http_status, outcome.status.value, outcome.notification_id, outcome.job_id, outcome.reason)
