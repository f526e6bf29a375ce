"""A provider profile: everything that differs between providers, as frozen data.

`relay.providers.loader` makes profiles from TOML, `relay.providers.reading` reads notifications and answers by them.
Nothing here opens a file or a connection.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import quote

from relay.jsontext import Selector, Steps
from relay.model import JobStatus, Secret
from relay.providers.path import Path, Paths

__all__ = [
    "Auth",
    "Callback",
    "Fetch",
    "Inline",
    "Parameter",
    "Path",
    "Paths",
    "Poll",
    "Profile",
    "Retention",
    "VerificationScheme",
    "fold_status",
]

UNKNOWN_RETENTION_SECONDS: Final = 600.0
PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_FOLD: Final = str.maketrans("", "", " _-")

AuthKind = Literal["none", "basic", "bearer", "header"]
VerificationKind = Literal["none", "header_equals", "basic", "hmac", "standard_webhooks"]
KeyEncoding = Literal["utf8", "base64", "whsec"]
MarkerType = Literal["any", "object", "array", "string"]


def _selector(*groups: Paths) -> Selector:
    steps: set[Steps] = {path.steps for group in groups for path in group if path.source == "body"}
    return Selector(sorted(steps, key=repr))


def fold_status(text: str) -> str:
    """The form in which statuses are compared: `In Progress`, `in_progress` and `IN-PROGRESS` are one."""
    return text.translate(_FOLD).casefold()


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """How requests to the provider are authenticated."""

    kind: AuthKind = "none"
    header: str = "Authorization"
    value_prefix: str = ""  # for kind "header": `Key `, `Token `, or nothing

    @property
    def credential_fields(self) -> tuple[str, ...]:
        """The credentials that a webhook of this provider must bring."""
        if self.kind == "none":
            return ()
        return ("username", "password") if self.kind == "basic" else ("api_key",)

    def headers(self, credentials: Mapping[str, Secret]) -> Mapping[str, Secret]:
        """The request headers that carry the credentials.

        Basic is built by RFC 7617 with UTF-8. Raises ValueError, naming the field and never its value, when a
        credential is missing or cannot stand in a header.
        """
        values = {name: self._value(credentials, name) for name in self.credential_fields}
        if self.kind == "none":
            return {}
        if self.kind == "basic":
            if ":" in values["username"]:
                raise ValueError("the credential 'username' may not contain a colon (RFC 7617)")
            pair = f"{values['username']}:{values['password']}".encode()
            return {self.header: Secret("Basic " + base64.b64encode(pair).decode())}
        prefix = "Bearer " if self.kind == "bearer" else self.value_prefix
        return {self.header: Secret(prefix + values["api_key"])}

    def _value(self, credentials: Mapping[str, Secret], name: str) -> str:
        secret = credentials.get(name)
        value = secret.reveal() if secret is not None else ""
        if not value and name != "password":
            raise ValueError(f"the credential {name!r} is missing")
        if any(ord(c) < 32 or ord(c) == 127 for c in value):
            raise ValueError(f"the credential {name!r} contains a control character")
        if self.kind != "basic" and not value.isascii():
            raise ValueError(f"the credential {name!r} contains a character outside ASCII")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What a webhook of this provider is asked for besides credentials."""

    name: str
    required: bool = False
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationScheme:
    """How a notification shows that the provider sent it. The secret itself belongs to the webhook."""

    kind: VerificationKind = "none"
    header: str = ""
    algorithm: str = "sha256"
    encoding: str = "hex"  # of the digest: hex | base64
    prefix: str = ""  # what stands before the digest: `sha256=`
    template: str = "{body}"  # what is signed: `{body}`, `{header:X}`, `{json:path}` and literals
    timestamp_header: str = ""
    tolerance_seconds: float = 300.0
    key_encoding: KeyEncoding = "utf8"
    required: bool = False  # a webhook cannot be made without the secret
    authenticates: bool = False  # a verified notification's own payload may be taken as the truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Inline:
    """When a notification is itself the final payload."""

    present: Paths
    type: MarkerType = "any"
    unfetchable: bool = False  # nothing can be fetched for such a message, so its payload may be taken unverified


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """How notifications arrive and where things stand in them. The first path that leads to a value wins."""

    methods: tuple[str, ...] = ("POST",)
    verification: VerificationScheme = VerificationScheme()
    event: Paths = ()
    ignore_events: tuple[str, ...] = ()  # names, `*` stands for anything
    job_id: Paths = ()
    response_url: Paths = ()
    status: Paths = ()
    delivery_id: Paths = ()
    completed_at: Paths = ()
    expires_at: Paths = ()
    error: Paths = ()
    inline: Inline | None = None
    selector: Selector = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        inline = self.inline.present if self.inline else ()
        times = (self.completed_at, self.expires_at)
        selector = _selector(
            self.event, self.job_id, self.response_url, self.status, self.delivery_id, *times, self.error, inline
        )
        object.__setattr__(self, "selector", selector)

    def may_take_inline(self, *, authenticated: bool) -> bool:
        """Whether a notification's own payload may become the result; `authenticated` = its verification passed."""
        if self.inline is None:
            return False
        return self.inline.unfetchable or (authenticated and self.verification.authenticates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Where the result is and what the provider's answers mean."""

    kind: Literal["url", "template"]
    template: str = ""  # path below the base URL: `/job/{job_id}`, `{a_parameter}`; kind "template" only
    done_present: Paths = ()  # the completed-result marker
    done_type: MarkerType = "any"
    marker_first: bool = False  # the marker alone says completed; statuses count where it is missing
    status: Paths = ()
    status_map: Mapping[str, JobStatus] = field(default_factory=lambda: MappingProxyType({}))  # keys are folded
    pending_status: frozenset[str] = frozenset()  # folded
    partial_status: frozenset[str] = frozenset()  # folded; completed, with a caveat
    pending_http: frozenset[int] = frozenset({202, 425})
    gone_http: frozenset[int] = frozenset({404, 410})  # 404 is read as "not found", the others as "gone"
    gone_present: Paths = ()  # true or non-empty there = the result was removed
    job_id: Paths = ()
    error: Paths = ()
    completed_at: Paths = ()
    expires_at: Paths = ()
    selector: Selector = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        times = (self.completed_at, self.expires_at)
        selector = _selector(self.done_present, self.status, self.gone_present, self.job_id, self.error, *times)
        object.__setattr__(self, "selector", selector)

    def url(self, base_url: str, job_id: str, parameters: Mapping[str, str]) -> str:
        """Where the result of a job is asked for; kind "template" only.

        A query parameter whose webhook parameter is not given is left out. Raises ValueError for a value that would
        change the path.
        """
        values = {**parameters, "job_id": job_id}
        if any(value in (".", "..") for value in values.values()):
            raise ValueError("a job id or parameter may not be a dot segment")
        path, _, query = self.template.partition("?")
        pairs = [pair for pair in query.split("&") if pair and set(PLACEHOLDER.findall(pair)) <= values.keys()]
        template = path + "?" * bool(pairs) + "&".join(pairs)
        return base_url.rstrip("/") + PLACEHOLDER.sub(lambda match: quote(values[match[1]], safe=""), template)

    def job_status(self, provider_status: str) -> JobStatus | None:
        """What the provider's status means; None = not known."""
        folded = fold_status(provider_status)
        return JobStatus.WAITING if folded in self.pending_status else self.status_map.get(folded)

    def is_partial(self, provider_status: str) -> bool:
        """Whether the provider's status means completed with a caveat."""
        return fold_status(provider_status) in self.partial_status


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long the provider keeps a result, and since when."""

    seconds: float | None = None
    anchor: Literal["completed", "submitted"] = "completed"

    @property
    def effective_seconds(self) -> float:
        """The retention to plan with; an unknown one counts as ten minutes."""
        return UNKNOWN_RETENTION_SECONDS if self.seconds is None else self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """When to ask. Each list holds the waits in seconds between one try and the next; the last one repeats."""

    waits: tuple[float, ...] = (2, 5, 10, 20, 30, 60)  # no notification is expected
    backstop: tuple[float, ...] = (5, 25, 60, 120, 300)  # one is expected and has not come
    ready: tuple[float, ...] = (0, 1, 2, 5, 10, 20, 30, 60)  # one has come
    max_wait_seconds: float = 259_200.0  # longest time from submit to completion
    hints: tuple[str, ...] = ()  # headers besides Retry-After that say when to come back; `…-ms` in milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One provider."""

    name: str
    title: str
    fetch: Fetch
    summary: str = ""
    origins: tuple[str, ...] = ()  # where results may be fetched from unless the webhook says otherwise
    base_url: str | None = None
    auth: Auth = Auth()
    parameters: tuple[Parameter, ...] = ()
    callback: Callback | None = None  # None = this provider never calls back
    retention: Retention = Retention()
    poll: Poll = Poll()
    notes: str = ""
