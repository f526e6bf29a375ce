"""The tables of a profile file, one function each. Each asks for its keys, checks them together and refuses others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from relay.model import JobStatus
from relay.providers.profile import (
    PLACEHOLDER,
    Auth,
    AuthKind,
    Callback,
    Fetch,
    Inline,
    KeyEncoding,
    MarkerType,
    Parameter,
    Poll,
    Retention,
    VerificationKind,
    VerificationScheme,
    fold_status,
)
from relay.providers.table import Table

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_SIGNED_PART: Final = re.compile(r"\{(?:body|header:[^{}]+|json:[^{}]+)\}")
_EVENT_PATTERN: Final = re.compile(r"[A-Za-z0-9_.:*/-]+\Z")
_TEMPLATE: Final = re.compile(r"/(?:[A-Za-z0-9._~:/?=&%-]|\{[a-z][a-z0-9_]*\})*\Z")
_AUTH: Final[Mapping[str, AuthKind]] = {"none": "none", "basic": "basic", "bearer": "bearer", "header": "header"}
_VERIFICATION: Final[Mapping[str, VerificationKind]] = {
    "none": "none",
    "header_equals": "header_equals",
    "basic": "basic",
    "hmac": "hmac",
    "standard_webhooks": "standard_webhooks",
}
_ALGORITHM: Final = {name: name for name in ("sha256", "sha1", "sha384", "sha512")}
_KEY_ENCODING: Final[Mapping[str, KeyEncoding]] = {"utf8": "utf8", "base64": "base64", "whsec": "whsec"}
_MARKER: Final[Mapping[str, MarkerType]] = {"any": "any", "object": "object", "array": "array", "string": "string"}
_STATES: Final[Mapping[str, JobStatus]] = {
    "pending": JobStatus.WAITING,
    "completed": JobStatus.COMPLETED,
    "partial": JobStatus.COMPLETED,
    "failed": JobStatus.FAILED,
    "cancelled": JobStatus.CANCELLED,
    "expired": JobStatus.EXPIRED,
}


def _header(table: Table, key: str, default: str | None) -> str:
    name = table.string(key, default)
    if name and not _HEADER.match(name):
        raise table.error(key, f"expected a header name, got {name!r}")
    return name


def auth(table: Table) -> Auth:
    """How requests are authenticated."""
    kind = table.choice("kind", _AUTH, "none")
    result = Auth(
        kind=kind,
        header=_header(table, "header", None if kind == "header" else "Authorization"),
        value_prefix=table.string("value_prefix", ""),
    )
    if not result.value_prefix.isprintable() or not result.value_prefix.isascii():
        raise table.error("value_prefix", "expected visible ASCII")
    table.done()
    return result


def _verification(table: Table) -> VerificationScheme:
    kind = table.choice("kind", _VERIFICATION, "none")
    scheme = VerificationScheme(
        kind=kind,
        header=_header(table, "header", None if kind in ("header_equals", "hmac") else ""),
        algorithm=table.choice("algorithm", _ALGORITHM, "sha256"),
        encoding=table.choice("encoding", {"hex": "hex", "base64": "base64"}, "hex"),
        prefix=table.string("prefix", ""),
        template=table.string("template", "{body}"),
        timestamp_header=_header(table, "timestamp_header", ""),
        tolerance_seconds=table.seconds("tolerance_seconds", 300.0) or 300.0,
        key_encoding=table.choice("key_encoding", _KEY_ENCODING, "whsec" if kind == "standard_webhooks" else "utf8"),
        required=table.boolean("required"),
        authenticates=table.boolean("authenticates"),
    )
    if any(brace in _SIGNED_PART.sub("", scheme.template) for brace in "{}"):
        raise table.error("template", "expected {body}, {header:name}, {json:path} and text without braces")
    if kind == "none" and (scheme.required or scheme.authenticates):
        raise table.error("kind", "expected a kind of verification, because required or authenticates is true")
    table.done()
    return scheme


def callback(table: Table | None) -> Callback | None:
    """How notifications arrive; None = the provider never calls back."""
    if table is None:
        return None
    methods = table.strings("methods", lambda m: None if m in ("POST", "PUT", "GET") else "expected POST, PUT or GET")
    result = Callback(
        methods=methods or ("POST",),
        verification=_verification(table.table("verification")),
        event=table.paths("event"),
        ignore_events=table.strings("ignore_events", _event_problem),
        job_id=table.paths("job_id"),
        response_url=table.paths("response_url"),
        status=table.paths("status"),
        delivery_id=table.paths("delivery_id"),
        completed_at=table.paths("completed_at"),
        expires_at=table.paths("expires_at"),
        error=table.paths("error"),
        inline=_inline(table.optional_table("inline")),
    )
    if result.ignore_events and not result.event:
        raise table.error("event", "is missing; ignore_events needs the path of the event")
    if not result.job_id and not result.response_url:
        raise table.error("job_id", "is missing; expected the path of a job id or of a response_url")
    table.done()
    return result


def _event_problem(pattern: str) -> str | None:
    return None if _EVENT_PATTERN.match(pattern) else "expected an event name, in which * stands for anything"


def _inline(table: Table | None) -> Inline | None:
    if table is None:
        return None
    inline = Inline(
        present=table.body_paths("present"),
        type=table.choice("type", _MARKER, "any"),
        unfetchable=table.boolean("unfetchable"),
    )
    if not inline.present:
        raise table.error("present", "is missing; expected the path of the final payload's marker")
    table.done()
    return inline


def fetch(table: Table, parameters: tuple[Parameter, ...]) -> Fetch:
    """Where results are and what answers mean."""
    kind = table.choice("kind", {"url": "url", "template": "template"})
    states = _statuses(table.table("statuses"))
    pending_http = table.codes("pending_http", (202, 425))
    result = Fetch(
        kind="template" if kind == "template" else "url",
        template=_template(table, parameters) if kind == "template" else "",
        done_present=table.body_paths("done_present"),
        done_type=table.choice("done_type", _MARKER, "any"),
        marker_first=table.boolean("marker_first"),
        status=table.paths("status"),
        status_map=MappingProxyType({word: _STATES[state] for word, state in states.items() if state != "pending"}),
        pending_status=frozenset(word for word, state in states.items() if state == "pending"),
        partial_status=frozenset(word for word, state in states.items() if state == "partial"),
        pending_http=pending_http,
        gone_http=table.codes("gone_http", {404, 410} - pending_http),
        gone_present=table.body_paths("gone_present"),
        job_id=table.paths("job_id"),
        error=table.paths("error"),
        completed_at=table.paths("completed_at"),
        expires_at=table.paths("expires_at"),
    )
    _check_fetch(table, result)
    table.done()
    return result


def _check_fetch(table: Table, fetch: Fetch) -> None:
    if bool(fetch.status) != bool(fetch.status_map):
        raise table.error("status", "expected both the path of the status and a table [fetch.statuses], or neither")
    if fetch.marker_first and not fetch.done_present:
        raise table.error("done_present", "is missing; marker_first needs the path of the marker")
    if not fetch.done_present and JobStatus.COMPLETED not in fetch.status_map.values():
        raise table.error("done_present", "is missing; without statuses.completed only a marker can say done")
    if any(200 <= code < 300 for code in fetch.gone_http) or 200 in fetch.pending_http:
        raise table.error("gone_http", "expected no code from 200 to 299 here, and no 200 in pending_http")
    if fetch.gone_http & fetch.pending_http:
        both = sorted(fetch.gone_http & fetch.pending_http)
        raise table.error("gone_http", f"expected other codes than in pending_http, got {both} in both")


def _statuses(table: Table) -> Mapping[str, str]:
    """The profile's word for the state, by the provider's folded status."""
    states: dict[str, str] = {}
    for state in _STATES:
        for status in table.strings(state, lambda status: None if fold_status(status) else "expected a status"):
            if states.setdefault(fold_status(status), state) != state:
                raise table.error(state, f"{status!r} also stands under {states[fold_status(status)]}")
    table.done()
    return states


def _template(table: Table, parameters: tuple[Parameter, ...]) -> str:
    template = table.string("template")
    if not _TEMPLATE.match(template):
        raise table.error("template", "expected a path such as /job/{job_id}, which is put behind the base URL")
    path, _, query = template.partition("?")
    known = {parameter.name for parameter in parameters}
    required = {parameter.name for parameter in parameters if parameter.required}
    for name in PLACEHOLDER.findall(template):
        if name != "job_id" and name not in known:
            raise table.error("template", f"{{{name}}} is neither job_id nor one of the profile's parameters")
        if name != "job_id" and name in PLACEHOLDER.findall(path) and name not in required:
            raise table.error("template", f"{{{name}}} stands in the path, so the parameter must be required")
    if "{job_id}" not in template:
        raise table.error("template", "expected {job_id} in it")
    return template


def retention(table: Table) -> Retention:
    """How long results are kept."""
    anchor = table.choice("anchor", {"completed": "completed", "submitted": "submitted"}, "completed")
    result = Retention(seconds=table.seconds("seconds"), anchor="submitted" if anchor == "submitted" else "completed")
    table.done()
    return result


def poll(table: Table) -> Poll:
    """When to ask."""
    default = Poll()
    result = Poll(
        waits=table.waits("waits", default.waits),
        backstop=table.waits("backstop", default.backstop),
        ready=table.waits("ready", default.ready),
        max_wait_seconds=table.seconds("max_wait_seconds") or default.max_wait_seconds,
        hints=tuple(name.lower() for name in table.strings("hints", _hint_problem)),
    )
    table.done()
    return result


def _hint_problem(name: str) -> str | None:
    return None if _HEADER.match(name) else "expected a header name"
