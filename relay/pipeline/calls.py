"""A client's call that is to be sent on to a provider, and what the client is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.frozen import frozen
from relay.model import Secret
from relay.pipeline.forwarding import Headers
from relay.providers.profile import Profile


@dataclass(slots=True, kw_only=True)
class ClientCall:
    """One request as the client sent it, but for the key that it showed in the provider's form. Shows nothing of it.

    Header names are in lower case. `path` begins behind the webhook's id, as sent: nothing in it is decoded.
    """

    webhook_id: str
    method: str
    path: str = field(repr=False)
    query: str = field(repr=False)
    headers: Headers = field(repr=False)
    taken: frozenset[str]  # names of headers that may carry a key
    key: Secret  # the one that was shown
    caller_id: str
    body: bytes = field(default=b"", repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    idempotency_key: str | None = field(default=None, repr=False)
    reached_at: str = field(default="", repr=False)  # the URL below which the client found this webhook's calls

    @property
    def content_type(self) -> str:
        return next((value for name, value in self.headers if name == "content-type"), "")


@frozen()
class Forwarded:
    """What the provider answered, with the job that came of it."""

    http_status: int
    headers: Headers
    body: bytes
    job_id: str | None
    replayed: bool = False


@frozen()
class Rejected:
    """What Relay itself answers instead: the call was not sent on, or brought no answer."""

    http_status: int
    code: str
    detail: str
    parameter: str | None = None  # the header or query parameter whose fault it is
    pointer: str | None = None  # the place in the body
    job_id: str | None = None
    retry_after: int | None = None
    allow: str | None = None


def listed_calls(profile: Profile, parameters: Mapping[str, str]) -> list[tuple[str, str]]:
    """Method and path of everything that may be sent on, with the webhook's own parameters in it."""
    submit = profile.submit
    if submit is None:
        return []
    calls = [*(call for one in submit.jobs for call in one.calls), *submit.passes]
    found = []
    for call in calls:
        path = call.pattern
        for name, value in parameters.items():
            path = path.replace(f"{{{name}}}", value)
        found.append((call.method, path))
    return found
