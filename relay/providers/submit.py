"""How jobs are submitted to a provider through Relay, and cancelled there. Frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from relay.jsontext import Selector
from relay.providers.call import Call
from relay.providers.callback import selector_of
from relay.providers.path import Paths

Existing = Literal["keep", "replace", "refuse"]
Only = Literal["always", "with_secret", "without_secret"]
CancelMeaning = Literal["took", "asked", "too_late"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Insert:
    """What is put into a request: a value in which `{callback_url}` and the like are filled in.

    Strings may hold placeholders. A table with the one key `$json` stands for the JSON text of what it holds.
    """

    into: Literal["body", "query"]
    at: tuple[str, ...]  # member names from the outside in, or the one name of a query parameter
    value: Any
    existing: Existing = "replace"  # what to do with a value of the caller's that is already there
    only: Only = "always"  # with_secret: if the webhook has a verification secret
    base64: bool = False  # of the value's JSON text; query only


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Calls that start a job, and what is put into their requests."""

    calls: tuple[Call, ...]
    inserts: tuple[Insert, ...] = ()
    refuse: Paths = ()  # members that may not be true or non-empty: `stream`
    selector: Selector = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "selector", selector_of(self.refuse))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyForm:
    """A way in which the provider's own clients show a key."""

    kind: Literal["bearer", "basic", "header", "query"]
    name: str = "authorization"  # of the header, in lower case, or of the query parameter
    scheme: str = ""  # what stands before the key in a header: `Key`, `Token`


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """What may be sent through Relay, and what the provider's answers to it say."""

    jobs: tuple[Submission, ...]
    passes: tuple[Call, ...] = ()  # calls that go through untouched
    keys: tuple[KeyForm, ...] = (KeyForm(kind="bearer"),)
    accepted: frozenset[int] = frozenset({200, 201, 202})
    idempotent: bool = False  # the provider itself takes a request once that repeats its Idempotency-Key
    job_id: Paths = ()
    response_url: Paths = ()
    status_url: Paths = ()
    cancel_url: Paths = ()
    status: Paths = ()
    error: Paths = ()
    through_relay: Paths = ()  # URLs in the answer that clients follow with the key they hold, which is Relay's
    selector: Selector = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        urls = (self.response_url, self.status_url, self.cancel_url)
        object.__setattr__(
            self, "selector", selector_of(self.job_id, *urls, self.status, self.error, self.through_relay)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """How a job is cancelled. A request that was taken is not yet a job that was cancelled."""

    method: str
    template: str = ""  # below the base URL; without one the job's own URL with `suffix` is called
    suffix: str = ""
    accepted: frozenset[int] = frozenset({200, 202, 204})
    too_late: frozenset[int] = frozenset({409})
    meaning: Literal["took", "asked"] = "asked"  # of an accepted request whose answer names no status
    status: Paths = ()
    words: Mapping[str, CancelMeaning] = field(default_factory=lambda: MappingProxyType({}))  # keys are folded
    error: Paths = ()
    selector: Selector = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "selector", selector_of(self.status, self.error))
