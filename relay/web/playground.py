"""What the dashboard's playground needs of the stand-ins, which live in a room that these pages may not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from relay.clock import Instant
from relay.settings import Settings


class Scenario(Protocol):
    """One way in which a job may go, in words."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def about(self) -> str: ...


class Ask(Protocol):
    """The request for work that starts a play."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...


class Told(Protocol):
    """One notification that a provider sent, and the status it was answered with; 0 = there was no answer."""

    @property
    def at(self) -> Instant: ...
    @property
    def status(self) -> int: ...


class Received(Protocol):
    """One message at the subscriber."""

    @property
    def at(self) -> Instant: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...
    @property
    def verified(self) -> bool | None: ...
    @property
    def answered(self) -> int: ...


class Playground(Protocol):
    """Providers and a subscriber in this process. A provider goes by its profile's name, a scenario by its own."""

    @property
    def providers(self) -> Sequence[str]:
        """Who can be asked."""
        ...

    @property
    def mark(self) -> str:
        """The name that stands in the metadata of all that it makes; in a job's it says which scenario."""
        ...

    @property
    def provider_addresses(self) -> Sequence[str]:
        """Entries for an address policy: where the providers listen, and nothing else."""
        ...

    @property
    def subscriber_addresses(self) -> Sequence[str]:
        """The same for the subscriber."""
        ...

    def plays_for(self, settings: Settings) -> None:
        """The relay that they play for, before it starts."""
        ...

    def scenarios(self, provider: str) -> Sequence[Scenario]:
        """What this provider can play."""
        ...

    def calls_back(self, provider: str) -> bool:
        """Whether it ever notifies."""
        ...

    def repeats(self, provider: str) -> bool:
        """Whether its results hold what it was asked."""
        ...

    def registration(self, provider: str, scenario: str) -> Mapping[str, Any]:
        """The body of `POST /v1/webhooks`."""
        ...

    def subscription(self) -> Mapping[str, Any]:
        """The body of `POST /v1/subscriptions`, but for the webhooks."""
        ...

    def playing(self, provider: str, scenario: str, callback_url: str, prompt: str) -> AbstractAsyncContextManager[Ask]:
        """What to ask the provider for, within this block."""
        ...

    def notified(self, provider: str, provider_job_id: str) -> Sequence[Told]:
        """The notifications of a job, oldest first."""
        ...

    def received(self, job_id: str) -> Sequence[Received]:
        """What the subscriber got of a job, oldest first."""
        ...
