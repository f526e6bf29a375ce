"""What a subscription may say, beyond the form of its fields."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from relay.model import RESULT_TYPES, Secret
from relay.signing.standard_webhooks import decode_secret
from relay.web.problems import Problem, Wrong, unprocessable
from relay.web.services import Services

OPERATIONS: Final = ("job.expiring", "subscription.disabled")
EVENT_TYPES: Final = (*RESULT_TYPES, *OPERATIONS)

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)  # RFC 9110, 5.6.2
_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?", re.ASCII)
_OURS: Final = frozenset(
    ("connection", "content-encoding", "content-length", "content-type", "host", "keep-alive", "te", "trailer")
    + ("traceparent", "tracestate", "transfer-encoding", "upgrade", "expect", "user-agent", "accept-encoding")
    + ("proxy-authorization", "proxy-authenticate", "proxy-connection", "http2-settings")
)
_OURS_PREFIXES: Final = ("webhook-", "relay-", "svix-", "ce-")


async def check_address(services: Services, kind: str, url: str | None) -> str | None:
    """Where results are sent, for who has them sent. Raises Problem 422."""
    if kind == "pull":
        if url is not None:
            raise unprocessable("#/url", "is not for a pull subscription, which takes its messages", "unexpected")
        return None
    if url is None:
        raise unprocessable("#/url", "is needed unless kind is pull", "missing")
    return await check_url(services, url)


async def check_url(services: Services, url: str) -> str:
    """The URL, if deliveries may go there. Raises Problem 422, which prints the setting that would allow it."""
    refusal = await services.door.check(url)
    if refusal is None:
        return url
    if refusal.setting is None:
        raise unprocessable("#/url", refusal.detail, refusal.code)
    fix = f"to allow it, add this to the setting: RELAY_EGRESS_ALLOW={refusal.setting}"
    raise unprocessable("#/url", f"{refusal.detail}; {fix}", refusal.code)


async def check_webhook_ids(services: Services, given: Sequence[str] | None) -> tuple[str, ...] | None:
    """The ids, if there are such webhooks. Raises Problem 422."""
    if given is None:
        return None
    known = (await services.configuration.refresh()).webhooks
    wrong = [
        Wrong("is not a webhook", "unknown_webhook", pointer=f"#/webhook_ids/{index}")
        for index, id in enumerate(given)
        if id not in known or known[id].deleted_at is not None
    ]
    if wrong:
        raise Problem(422, "validation_error", "Not every one of webhook_ids is a webhook.", wrong[:20])
    return tuple(dict.fromkeys(given))


def check_headers(given: Mapping[str, str]) -> dict[str, str]:
    """Headers that every delivery may carry. Raises Problem 422, naming the header and never its value."""
    seen: set[str] = set()
    for name, value in given.items():
        reason = _wrong_header(name, value) or ("is given twice" if name.lower() in seen else None)
        if reason is not None:
            place = name.replace("~", "~0").replace("/", "~1")
            raise unprocessable(f"#/headers/{place}", reason, "invalid_header")
        seen.add(name.lower())
    return dict(given)


def _wrong_header(name: str, value: str) -> str | None:
    if not _TOKEN.fullmatch(name):
        return "is not the name of a header"
    if name.lower() in _OURS or name.lower().startswith(_OURS_PREFIXES):
        return "is set by Relay itself"
    if value and (len(value) > 4096 or not _VALUE.fullmatch(value)):
        return "has a value that is not visible ASCII"
    return None


def check_secret(text: str) -> Secret:
    """A signing secret of the caller's own. Raises Problem 422."""
    secret = Secret(text)
    try:
        decode_secret(secret)
    except ValueError as error:
        raise unprocessable("#/secret", str(error), "invalid_secret") from None
    return secret
