"""Stage 1: a raw request at a callback URL becomes a durable notification, and only then an answer.

The token is judged alone, before the body is read (`relay.pipeline.admission`). `receive` verifies, reads what the
notification says, and stores it with the job it is about in one transaction. Duplicates are recognised there, not here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from relay.clock import Instant, after
from relay.errors import StoreUnavailable
from relay.frozen import frozen
from relay.model import (
    Job,
    Notification,
    NotificationStatus,
    Webhook,
)
from relay.pipeline.admission import RETRY_AFTER_SECONDS, Admission, Admitted, TurnedAway
from relay.pipeline.bindings import Binding
from relay.pipeline.capture import Message
from relay.pipeline.floor import Floor
from relay.pipeline.jwks import Keys, PublishedKeys
from relay.pipeline.outcomes import Refused
from relay.pipeline.prepare import BOUND_JOB, REJECTED_BODY_BYTES, Inbound, Preparer, new_notification
from relay.pipeline.under_way import UnderWay
from relay.pipeline.verify import verify
from relay.signing.standard_webhooks import Reason
from relay.signing.tokens import CallbackTokens
from relay.store import notifications
from relay.store.intake import ACCEPT, Accept, Accepted, Stale
from relay.store.notifications import StoredRequest
from relay.store.rejected import KEPT_REQUESTS

HELD_SECONDS: Final = 3.0  # until a job is fetched that a submit under way may be about
PUBLISHED: Final = "ed25519_jwks"  # verified by keys that are fetched


@frozen()
class Answer:
    """What the provider is told."""

    http_status: int
    status: str
    notification_id: str | None
    job_id: str | None
    reason: str | None
    retry_after: int | None = None


Then = Callable[[Answer | None, Exception | None], None]
"""What is called with the answer, or with None and the error. It raises nothing."""


class FetchHands(Protocol):
    """The hands that fetch, as far as this stage needs them: it may hand a new job over without a detour."""

    def reserve(self, lane: str) -> bool: ...

    def release(self, lane: str) -> None: ...

    def start(self, job: Job) -> None: ...

    def hint(self) -> None: ...


class Receiver:
    """See the module. Raises StoreUnavailable from `admit` and `receive` when nothing can be made durable now."""

    def __init__(
        self,
        floor: Floor,
        tokens: CallbackTokens,
        hands: FetchHands,
        published: PublishedKeys,
        may_take: Callable[[], bool] = lambda: True,
        under_way: UnderWay | None = None,
    ) -> None:
        self._floor = floor
        self._configuration = floor.configuration
        self._bindings = floor.bindings
        self._admission = Admission(floor, tokens, may_take)
        self._hands = hands
        self._published = published
        self._under_way = under_way or UnderWay()
        self._preparer = Preparer(floor)
        self._again: set[asyncio.Task[None]] = set()

    async def admit(self, token: str, method: str) -> Admitted | TurnedAway:
        """See `Admission.admit`."""
        return await self._admission.admit(token, method)

    def admit_now(self, token: str, method: str) -> Admitted | None:
        """See `Admission.admit_now`."""
        return self._admission.admit_now(token, method)

    async def receive(self, admitted: Admitted, inbound: Inbound) -> Answer:
        """Store what came in, and say what became of it."""
        told: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self.receive_soon(admitted, inbound, partial(_tell, told)):
            return await told
        while True:
            configuration = self._configuration.current
            webhook = configuration.webhooks.get(admitted.webhook.id, admitted.webhook)
            binding = self._bindings.of(webhook)
            if binding is None:
                return Answer(503, "unavailable", None, None, "provider_profile_missing", RETRY_AFTER_SECONDS)
            keys = await self._keys(binding, inbound) if binding.scheme.kind == PUBLISHED else ()
            if keys is None:  # whoever sent it comes again, which after a 401 not all of them do
                return Answer(503, "unavailable", None, None, "keys_unavailable", RETRY_AFTER_SECONDS)
            version = configuration.version
            prepared = self._preparer.prepare(binding, admitted.job_id, inbound, version, self._claim, keys)
            outcome = await self._submit(self._held(prepared))
            if not isinstance(outcome, Stale):
                self._floor.counters.notified(webhook.id, outcome.status)
                self._capture(binding, inbound, outcome)
                return _answer(outcome)
            await self._configuration.refresh(seen=configuration.version)

    def receive_soon(self, admitted: Admitted, inbound: Inbound, then: Then) -> bool:
        """As `receive`, without a task for it: `then` is called when it is stored. False = nothing was begun, for
        something has to be waited for first. Raises StoreUnavailable."""
        configuration = self._configuration.current
        webhook = configuration.webhooks.get(admitted.webhook.id, admitted.webhook)
        binding = self._bindings.of(webhook)
        if binding is None or binding.scheme.kind == PUBLISHED:
            return False
        if len(inbound.body) > self._floor.payloads.in_row_bytes:
            return False
        prepared = self._held(
            self._preparer.prepare(binding, admitted.job_id, inbound, configuration.version, self._claim)
        )
        claimed = _claimed(prepared)

        def stored(outcome: Accepted | Stale | None, error: Exception | None) -> None:
            if isinstance(outcome, Accepted):
                self._begin(claimed, outcome)
                self._floor.counters.notified(webhook.id, outcome.status)
                then(_answer(outcome), None)
                self._capture(binding, inbound, outcome)
                return
            self._let_go(claimed)
            if outcome is None:
                then(None, error)
            else:
                again = asyncio.ensure_future(self._receive_again(configuration.version, admitted, inbound, then))
                self._again.add(again)
                again.add_done_callback(self._again.discard)

        try:
            self._floor.database.post(ACCEPT, prepared, stored)
        except BaseException:
            self._let_go(claimed)
            raise
        return True

    async def _receive_again(self, stale: int, admitted: Admitted, inbound: Inbound, then: Then) -> None:
        """The configuration has changed since it was prepared."""
        try:
            await self._configuration.refresh(seen=stale)
            answer = await self.receive(admitted, inbound)
        except Exception as error:
            then(None, error)
        else:
            then(answer, None)

    async def _keys(self, binding: Binding, inbound: Inbound) -> Keys | None:
        """The keys that the provider publishes; None when they cannot be had now."""
        scheme = binding.scheme
        by = partial(verify, scheme, binding.secrets, inbound.headers, inbound.body, inbound.received_at)
        return await self._published.keys_for(scheme, lambda keys: by(keys) != Reason.SIGNATURE_WRONG)

    def _capture(self, binding: Binding, inbound: Inbound, outcome: Accepted) -> None:
        captures, now = self._floor.captures, inbound.received_at
        if outcome.status is NotificationStatus.REJECTED or not captures.due(binding.webhook.id, "notification", now):
            return
        content_type = next((value for name, value in inbound.headers if name == "content-type"), None)
        message = Message(
            body=inbound.body, at=now, content_type=content_type, query=inbound.query, job_id=outcome.job_id
        )
        captures.look(binding, "notification", message)

    def _claim(self, lane: str) -> Instant | None:
        """A slot to fetch in at once, if one is free: until when the job is claimed for it."""
        if self._under_way.any(lane) or not self._hands.reserve(lane):
            return None
        return after(self._floor.clock.now(), self._floor.lease_seconds)

    def _held(self, prepared: Accept) -> Accept:
        """A job that a submit under way may be about waits a moment for that one's answer."""
        job = prepared.new_job
        if job is None or job.claims or not self._under_way.any(job.webhook_id):
            return prepared
        return replace(prepared, new_job=replace(job, due_at=after(self._floor.clock.now(), HELD_SECONDS)))

    async def _store_body_first(self, prepared: Accept, body: bytes) -> Accept:
        payload_id = await self._floor.payloads.store(body)
        return replace(prepared, body=None, payload_id=payload_id)

    async def _submit(self, prepared: Accept) -> Accepted | Stale:
        """Write it. A job that was inserted claimed goes straight to the hands."""
        claimed = _claimed(prepared)
        try:
            if prepared.body is not None and len(prepared.body) > self._floor.payloads.in_row_bytes:
                prepared = await self._store_body_first(prepared, prepared.body)
            outcome = await self._floor.database.submit(ACCEPT, prepared)
        except BaseException:
            self._let_go(claimed)
            raise
        if isinstance(outcome, Accepted):
            self._begin(claimed, outcome)
        else:
            self._let_go(claimed)
        return outcome

    def _begin(self, claimed: Job | None, outcome: Accepted) -> None:
        """It is stored: fetch at once what was claimed for that, say that the rest is due."""
        if claimed is not None and outcome.job is not None and outcome.job.id == claimed.id:
            self._hands.start(outcome.job)
            return
        self._let_go(claimed)
        if outcome.job is not None:
            self._hands.hint()

    def _let_go(self, claimed: Job | None) -> None:
        if claimed is not None:
            self._hands.release(claimed.webhook_id)

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
            if stored.body_sealed and stored.headers_sealed is None:
                kept = f"only the latest {KEPT_REQUESTS} rejected requests of a webhook are kept"
                return Refused("body_gone", f"the request is gone: {kept}")
            if given.body_size > 0 and not stored.body:
                return Refused("body_gone", "the body of this notification was erased")
            if stored.body_sealed and given.body_size > REJECTED_BODY_BYTES:
                return Refused("body_cut", f"only the first {REJECTED_BODY_BYTES} bytes of a rejected body are kept")
            inbound, job_id = self._inbound(stored)
            keys = await self._keys(binding, inbound) if binding.scheme.kind == PUBLISHED else ()
            if keys is None:
                return Refused("keys_unavailable", "the provider's public keys cannot be had now")
            prepared = self._preparer.prepare(
                binding, job_id, inbound, configuration.version, keys=keys, taken_before=not stored.body_sealed
            )
            if prepared.notification.status is NotificationStatus.REJECTED:
                return Refused("still_rejected", f"it still does not verify: {prepared.notification.reason}")
            outcome = await self._submit(
                replace(prepared, notification=_renewed(prepared, given.id), stored_before=True)
            )
            if not isinstance(outcome, Stale):
                return await self._floor.database.read(partial(notifications.get, id=notification_id))

    def _inbound(self, stored: StoredRequest) -> tuple[Inbound, str | None]:
        """The request as it came, and the job that its callback URL was made for, if that is known still."""
        given = stored.notification
        body, headers, job_id = stored.body, tuple(given.headers.items()), given.job_id
        if stored.body_sealed:
            body = self._floor.unseal("notifications", "body", given.id, body)
        if stored.headers_sealed is not None:
            opened = json.loads(self._floor.unseal("notifications", "headers_sealed", given.id, stored.headers_sealed))
            headers = tuple((name, value) for name, value in opened if name != BOUND_JOB)
            job_id = next((value for name, value in opened if name == BOUND_JOB), None)
        # verified as of its arrival: a signature's timestamp is old by the time somebody mends the secret
        return Inbound(given.method, given.suffix, given.query, headers, body, given.received_at), job_id

    async def test(self, webhook: Webhook) -> Notification:
        """Take a test notification through the intake; it is stored as `ignored` and makes no job."""
        now = self._floor.clock.now()
        inbound = Inbound("POST", "", "", (("content-type", "application/json"),), b'{"event":"relay.test"}', now)
        given = new_notification(webhook.id, inbound, NotificationStatus.IGNORED, "test")
        while True:
            version = self._configuration.current.version
            item = Accept(config_version=version, notification=given, body=inbound.body)
            outcome = await self._floor.database.submit(ACCEPT, item)
            if not isinstance(outcome, Stale):
                return given
            await self._configuration.refresh(seen=version)


def _renewed(prepared: Accept, notification_id: str) -> Notification:
    return replace(prepared.notification, id=notification_id)


def _tell(told: asyncio.Future[Answer], answer: Answer | None, error: Exception | None) -> None:
    if told.done():
        return  # the caller gave up waiting; what is stored stays
    if answer is not None:
        told.set_result(answer)
    else:
        told.set_exception(error or StoreUnavailable("nothing is known to be stored"))


def _claimed(prepared: Accept) -> Job | None:
    """The job that a slot was reserved for."""
    return prepared.new_job if prepared.new_job is not None and prepared.new_job.claims else None


def _answer(outcome: Accepted) -> Answer:
    http_status = 401 if outcome.status is NotificationStatus.REJECTED else 200
    return Answer(http_status, str(outcome.status), outcome.notification_id, outcome.job_id, outcome.reason)
