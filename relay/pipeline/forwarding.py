"""What of a client's request goes on to the provider, and what of the answer goes back. Pure.

Left out on the way there: credentials of any form, what belongs to one connection only, and what tells of the network
that the client is in. On the way back: what would act on a browser or a client as if Relay itself had said it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

from relay.model import Secret
from relay.outbound.authorization import CREDENTIAL_HEADERS, FRAMING_HEADERS
from relay.pipeline.bindings import Binding
from relay.providers.message import Message
from relay.providers.splice import put_member
from relay.providers.submit import Submission
from relay.providers.submitting import match_call

Headers = tuple[tuple[str, str], ...]

CALLBACK: Final = "{callback_url}"
SHORTEST_KEY: Final = 8  # a shorter one would take half the request with it

_ONE_HOP: Final = FRAMING_HEADERS | {"keep-alive", "te", "trailer", "upgrade", "expect", "proxy-connection"}
_NOT_SENT: Final = _ONE_HOP | CREDENTIAL_HEADERS | {
    "x-api-key", "api-key", "x-api-token", "x-auth-token", "x-access-token", "accept-encoding", "forwarded", "via",
    "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "origin", "referer", "x-http-method",
    "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url", "x-request-id",
}  # fmt: skip
_NOT_SENT_PREFIXES: Final = ("x-forwarded-", "relay-", "proxy-", "sec-", "access-control-")
_NOT_RETURNED: Final = _ONE_HOP | {
    "content-encoding", "set-cookie", "set-cookie2", "location", "refresh", "clear-site-data", "alt-svc", "link",
    "strict-transport-security", "public-key-pins", "report-to", "nel", "date", "server", "via", "www-authenticate",
    "proxy-authenticate", "x-request-id", "x-frame-options", "x-content-type-options", "service-worker-allowed",
    "sourcemap", "content-security-policy", "content-security-policy-report-only", "idempotent-replayed",
}  # fmt: skip
_NOT_RETURNED_PREFIXES: Final = ("access-control-", "cross-origin-", "relay-", "proxy-")
_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^`|~_-]{1,256}\Z", re.ASCII)
_VALUE: Final = re.compile(r"[\t -~]*\Z", re.ASCII)


def headers_to_send(given: Headers, taken: frozenset[str], key: Secret) -> dict[str, str]:
    """The client's headers, by lower-case name, without those that stay here. One that repeats is one list.

    `taken` are those that carry a key in the provider's form; whatever holds `key` itself stays here too.
    """
    named = {name.strip().lower() for header, value in given if header == "connection" for name in value.split(",")}
    refused = _NOT_SENT | taken | named
    found: dict[str, str] = {}
    for name, value in given:
        if name in refused or name.startswith(_NOT_SENT_PREFIXES) or not _NAME.match(name) or not _VALUE.match(value):
            continue
        if not _holds(value, key):
            found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def query_to_send(query: str, key: Secret) -> str:
    """The query without parameters that hold the client's key, whatever they are called."""
    return "&".join(pair for pair in query.split("&") if not _holds(unquote_plus(pair), key))


def _holds(text: str, key: Secret) -> bool:
    value = key.reveal()
    return len(value) >= SHORTEST_KEY and value in text


def headers_to_return(http_status: int, answered: Mapping[str, str]) -> Headers:
    """The provider's headers that go back to the client. Where a redirect leads to is not among them.

    The client would follow it, and some clients would take their key along.
    """
    kept = [
        (name, value)
        for name, value in answered.items()
        if name not in _NOT_RETURNED
        and not name.startswith(_NOT_RETURNED_PREFIXES)
        and _NAME.match(name)
        and _VALUE.match(value)
    ]
    if "location" in answered and http_status in (201, 202) and _VALUE.match(answered["location"]):
        kept.append(("location", answered["location"]))
    return tuple(kept)


def body_to_return(binding: Binding, reached_at: str, body: bytes) -> bytes:
    """The answer to a submit as the client gets it: the provider's bytes, but for URLs that have to lead through Relay.

    The client would show its key there, which is Relay's. Only URLs of calls that go through are changed.
    """
    submit, base_url = binding.profile.submit, binding.base_url
    if submit is None or not submit.through_relay or not reached_at or base_url is None:
        return body
    base = base_url.rstrip("/")
    message = Message(submit.selector.read(body) or {}, {}, "")
    for place in submit.through_relay:
        url = message.url((place,))
        if url is not None and url.startswith(f"{base}/") and _passes(binding, url[len(base) :].partition("?")[0]):
            names = [str(step) for step in place.steps]
            body = put_member(body, names, reached_at + url[len(base) :], "replace")
    return body


def _passes(binding: Binding, path: str) -> bool:
    profile, parameters = binding.profile, binding.webhook.parameters
    matched = (match_call(profile, method, path, parameters) for method in ("GET", "PUT", "POST", "DELETE"))
    return any(found is not None and found.submission is None for found in matched)


def target_url(binding: Binding, path: str, query: str) -> str | None:
    """Where a client's call goes; None if the webhook has no base URL."""
    if binding.base_url is None:
        return None
    return binding.base_url.rstrip("/") + path + (f"?{query}" if query else "")


def values_to_insert(binding: Binding, callback_url: str) -> dict[str, Secret]:
    """What the profile's placeholders stand for in a request of this webhook."""
    webhook = binding.webhook
    values = {name: Secret(value) for name, value in webhook.parameters.items()}
    values["callback_url"] = Secret(callback_url)
    secret = binding.secrets.get("secret") or next(iter(binding.secrets.values()), None)
    if binding.scheme.kind != "none" and secret is not None:
        values |= {"verification_header": Secret(binding.scheme.header), "verification_secret": secret}
    return values


def asks_for_callback(submission: Submission, values: Mapping[str, Secret]) -> bool:
    """Whether the callback URL is put into requests of this kind."""
    has_secret = "verification_secret" in values
    return any(
        CALLBACK in "".join(_texts(insert.value))
        for insert in submission.inserts
        if insert.only == "always" or (insert.only == "with_secret") == has_secret
    )


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
