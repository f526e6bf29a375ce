"""Everything that handlers of the management API need, and what they expect of the pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from relay.clock import Clock
from relay.model import Attempt, Job, Notification, Replay, Result, Secret, Subscription, Webhook
from relay.outbound.deliveries import Refusal
from relay.outbound.provider_door import ProviderAnswer
from relay.pipeline.calls import ClientCall, Forwarded, Rejected
from relay.pipeline.cancel import Cancelled, ProviderFailed
from relay.pipeline.counters import Counters
from relay.pipeline.outcomes import Record, Refused
from relay.pipeline.pull import Message, Take
from relay.pipeline.replay import DryRun, ReplayRequest
from relay.pipeline.submit import Listed
from relay.pipeline.track import Tracked, TrackRequest
from relay.providers.profile import Profile
from relay.signing.tokens import CallbackTokens, Cursors, PayloadLinks
from relay.signing.vault import Vault
from relay.store.configuration import ConfigurationCache
from relay.store.database import Database
from relay.store.queue import Held
from relay.web.playground import Playground
from relay.web.sse import Streams


class Tracker(Protocol):
    """Jobs: follow, fetch, wait, cancel."""

    async def track(
        self, webhook: Webhook, request: TrackRequest, record: Record[Tracked] | None = None
    ) -> Tracked | Refused:
        """Follow a job. Refuses a foreign `response_url` and a job that another webhook of the account has."""
        ...

    async def fetch_now(self, job: Job) -> Job | Refused:
        """Make the job due now. Refuses a completed one."""
        ...

    async def wait(self, job_id: str, seconds: float) -> Job | None:
        """The job as soon as it is final, or as it is after `seconds`; None when there is none."""
        ...

    async def cancel(self, job: Job) -> Cancelled | Refused | ProviderFailed:
        """Ask the provider to cancel. Refuses with `cancel_not_supported`, `job_is_final` and the like."""
        ...

    async def credentials_changed(self, webhook_id: str) -> None:
        """Fetch at once what waited for working credentials."""
        ...


class Submitter(Protocol):
    """Calls to providers that go through Relay."""

    def look(self, webhook: Webhook, method: str, path: str) -> Listed | Rejected:
        """Whether the profile lists this call; known before the body is read."""
        ...

    async def submit(self, listed: Listed, call: ClientCall) -> Forwarded | Rejected:
        """Make the job, send the request on, settle the job by the answer."""
        ...

    def passing(self, listed: Listed, call: ClientCall) -> AbstractAsyncContextManager[ProviderAnswer | Rejected]:
        """Send a call on that starts no job; its answer, whose body is still to be read. Raises OutboundError."""
        ...


class Receiver(Protocol):
    """Notifications: process again, or as a test."""

    async def reprocess(self, notification_id: str) -> Notification | Refused | None:
        """Read a stored notification anew; None when there is none, Refused when its body is gone."""
        ...

    async def test(self, webhook: Webhook) -> Notification:
        """Take a test notification through the whole intake; it is stored as `ignored` and makes no job."""
        ...


class Replayer(Protocol):
    """Replays: try, start, steer, cancel."""

    async def wanted(self, subscription: Subscription, stored: Sequence[Result]) -> list[Result]:
        """Those of the results that a replay would deliver to it."""
        ...

    async def dry_run(self, request: ReplayRequest) -> DryRun: ...

    async def start(self, request: ReplayRequest, record: Record[Replay] | None = None) -> Replay: ...

    async def cancel(self, replay_id: str) -> Replay | None:
        """Stop it and end its pending deliveries; one that is over is returned as it is; None when there is none."""
        ...

    async def pause(self, replay_id: str) -> Replay | None:
        """Hold it; one that does not run is returned as it is."""
        ...

    async def resume(self, replay_id: str) -> Replay | None:
        """Go on with it; one that is not paused is returned as it is."""
        ...

    async def set_rate(self, replay_id: str, rate_per_second: float | None) -> Replay | None:
        """Another rate for what is still to be planned; one that is over is returned as it is."""
        ...


class Puller(Protocol):
    """Messages of pull subscriptions: lease them, give them back."""

    async def take(self, subscription_id: str, wanted: Take, given_up: asyncio.Event) -> list[Message]:
        """Messages as soon as there are some, or none after the wait; given back once nobody waits for them."""
        ...

    async def release(self, subscription_id: str, leases: Collection[Held], delay_seconds: float) -> set[Held]:
        """End leases early; those that still stood."""
        ...


class SubscriptionTester(Protocol):
    """Sends a signed test message."""

    async def test(self, subscription: Subscription) -> Attempt:
        """One attempt, now, which is stored nowhere; `owner_id` is the message id (`evt_…`)."""
        ...


class SubscriberDoor(Protocol):
    """What `relay.outbound.deliveries.DeliveryDoor` knows before a subscription is made."""

    async def check(self, url: str) -> Refusal | None:
        """Whether `url` would be refused, and the RELAY_EGRESS_ALLOW entry that would help. Opens no connection."""
        ...


class Waker(Protocol):
    """Tells whoever works that something changed. Hints: work is found without them, later."""

    def configuration_changed(self) -> None: ...

    def jobs_due(self) -> None: ...

    def deliveries_due(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What handlers need. Made once, by the composition root."""

    database: Database
    configuration: ConfigurationCache
    vault: Vault
    clock: Clock
    callback_tokens: CallbackTokens
    payload_links: PayloadLinks
    cursors: Cursors
    profiles: Mapping[str, Profile]
    admin_key: Secret | None
    public_url: str
    tracker: Tracker
    submitter: Submitter
    receiver: Receiver
    replayer: Replayer
    puller: Puller
    tester: SubscriptionTester
    door: SubscriberDoor
    waker: Waker
    counters: Counters = field(default_factory=Counters)
    streams: Streams
    playground: Playground | None = None  # where the operator has asked for it
    stopping: asyncio.Event  # set when this process begins to stop: whatever waits for something ends
