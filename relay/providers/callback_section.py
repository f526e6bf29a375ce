"""The table `[callback]` of a profile file: how notifications arrive, prove themselves and are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from relay.providers.callback import (
    LONGEST_JWKS_SECONDS,
    Callback,
    Inline,
    KeyEncoding,
    MarkerType,
    VerificationKind,
    VerificationScheme,
)
from relay.providers.profile import Parameter
from relay.providers.sections import header_name
from relay.providers.table import Table

MARKERS: Final[Mapping[str, MarkerType]] = {"any": "any", "object": "object", "array": "array", "string": "string"}

_SIGNED_PART: Final = re.compile(r"\{(?:body|sha256_hex:body|header:[^{}]+|json:[^{}]+)\}")
_EVENT_PATTERN: Final = re.compile(r"[A-Za-z0-9_.:*/-]+\Z")
_JWKS_URL: Final = re.compile(r"https://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[1-9][0-9]{0,4})?/[A-Za-z0-9._~/-]+\Z")
_ALGORITHM: Final = {name: name for name in ("sha256", "sha1", "sha384", "sha512")}
_KEY_ENCODING: Final[Mapping[str, KeyEncoding]] = {"utf8": "utf8", "base64": "base64", "whsec": "whsec"}
_VERIFICATION: Final[Mapping[str, VerificationKind]] = {
    "none": "none",
    "header_equals": "header_equals",
    "basic": "basic",
    "hmac": "hmac",
    "standard_webhooks": "standard_webhooks",
    "ed25519_jwks": "ed25519_jwks",
}


def callback(table: Table | None, parameters: tuple[Parameter, ...]) -> Callback | None:
    """How notifications arrive; None = the provider never calls back."""
    if table is None:
        return None
    methods = table.strings("methods", lambda m: None if m in ("POST", "PUT", "GET") else "expected POST, PUT or GET")
    result = Callback(
        methods=methods or ("POST",),
        verification=_verification(table.table("verification"), parameters),
        event=table.paths("event"),
        ignore_events=table.strings("ignore_events", event_problem),
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
        table.problem("event", "is missing; ignore_events needs the path of the event")
    if not table.has("job_id") and not table.has("response_url"):
        table.problem("job_id", "is missing; expected the path of a job id or of a response_url")
    table.done()
    return result


def event_problem(pattern: str) -> str | None:
    """What is wrong with the pattern of an event or an id."""
    return None if _EVENT_PATTERN.match(pattern) else "expected an event name, in which * stands for anything"


def _verification(table: Table, parameters: tuple[Parameter, ...]) -> VerificationScheme:
    kind = table.choice("kind", _VERIFICATION, "none")
    scheme = VerificationScheme(
        kind=kind,
        header=header_name(table, "header", None if kind in ("header_equals", "hmac", "ed25519_jwks") else ""),
        header_parameter=_parameter(table, "header_parameter", parameters),
        secret_parameter=_parameter(table, "secret_parameter", parameters),
        algorithm=table.choice("algorithm", _ALGORITHM, "sha256"),
        encoding=table.choice("encoding", {"hex": "hex", "base64": "base64"}, "hex"),
        prefix=table.string("prefix", ""),
        template=table.string("template", "{body}"),
        timestamp_header=header_name(table, "timestamp_header", ""),
        tolerance_seconds=table.seconds("tolerance_seconds", 300.0) or 300.0,
        key_encoding=table.choice("key_encoding", _KEY_ENCODING, "whsec" if kind == "standard_webhooks" else "utf8"),
        jwks_url=table.string("jwks_url", None if kind == "ed25519_jwks" else ""),
        jwks_seconds=table.seconds("jwks_seconds", LONGEST_JWKS_SECONDS) or LONGEST_JWKS_SECONDS,
        required=table.boolean("required"),
        authenticates=table.boolean("authenticates"),
    )
    _check_verification(table, scheme)
    table.done()
    return scheme


def _check_verification(table: Table, scheme: VerificationScheme) -> None:
    if any(brace in _SIGNED_PART.sub("", scheme.template) for brace in "{}"):
        table.problem(
            "template", "expected {body}, {sha256_hex:body}, {header:name}, {json:path} and text without braces"
        )
    if scheme.kind == "none" and (scheme.required or scheme.authenticates):
        table.problem("kind", "expected a kind of verification, because required or authenticates is true")
    if scheme.jwks_url and not _JWKS_URL.match(scheme.jwks_url):
        table.problem("jwks_url", "expected https://host/path, without query")
    if scheme.jwks_seconds > LONGEST_JWKS_SECONDS:
        table.problem("jwks_seconds", f"expected at most {LONGEST_JWKS_SECONDS:g} seconds")


def _parameter(table: Table, key: str, parameters: tuple[Parameter, ...]) -> str:
    name = table.string(key, "")
    if name and name not in {parameter.name for parameter in parameters}:
        table.problem(key, f"{name!r} is not one of the profile's parameters")
    return name


def _inline(table: Table | None) -> Inline | None:
    if table is None:
        return None
    inline = Inline(
        present=table.body_paths("present"),
        failed=table.body_paths("failed"),
        type=table.choice("type", MARKERS, "any"),
        unfetchable=table.boolean("unfetchable"),
    )
    if not table.has("present"):
        table.problem("present", "is missing; expected the path of the final payload's marker")
    table.done()
    return inline
