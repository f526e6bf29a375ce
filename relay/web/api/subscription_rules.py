"""What a subscription may say, beyond the form of its fields."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from relay.clock import Instant, after
from relay.model import PRIVATE_KEY_PREFIX, RESULT_TYPES, Secret, Subscription
from relay.signing.asymmetric import PUBLIC_PREFIX, decode_private_key, generate_private_key
from relay.signing.standard_webhooks import decode_secret, generate_secret
from relay.signing.strength import weakness
from relay.web.problems import Problem, Wrong, conflict, unprocessable
from relay.web.services import Services

MOST_SECRETS: Final = 5  # that sign at one time
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


def new_secret(given: str | None, signing: str) -> Secret:
    """The caller's own signing secret, or a made one, of the kind that `signing` wants. Raises Problem 422."""
    if given is None:
        return generate_private_key() if signing == "ed25519" else generate_secret()
    return check_private_key(given) if signing == "ed25519" else check_secret(given)


def rotated(before: Subscription, secret: Secret, overlap_seconds: float, now: Instant) -> Subscription:
    """With a new secret in front of those that go on signing for a while. Raises Problem 409 when they are too many."""
    if not overlap_seconds:
        return replace(before, secrets=(secret,), previous_secret_until=None, secret_ends=())
    kept = before.signing_secrets(now)
    if len(kept) >= MOST_SECRETS:
        wait = "wait until an overlap is over, or rotate with overlap_seconds 0, which ends all of them"
        raise conflict("too_many_secrets", f"{MOST_SECRETS} secrets sign already: {wait}.")
    known = dict(zip(before.secrets[1:], before.secret_ends, strict=False))
    fallback = before.previous_secret_until or now
    ends = (after(now, overlap_seconds), *(known.get(each, fallback) for each in kept[1:]))
    return replace(before, secrets=(secret, *kept), previous_secret_until=max(ends), secret_ends=ends)


def check_schedule(given: Sequence[float] | None) -> tuple[float, ...] | None:
    """Waits before attempts. Raises Problem 422."""
    if given is None:
        return None
    if given[0] != 0:
        raise unprocessable("#/schedule_seconds/0", "must be 0: the first attempt is made at once", "invalid_schedule")
    return tuple(given)


def check_secret(text: str) -> Secret:
    """An HMAC secret of the caller's own. Raises Problem 422."""
    secret = Secret(text)
    if text.startswith((PRIVATE_KEY_PREFIX, PUBLIC_PREFIX)):
        raise unprocessable("#/secret", 'is a key for "signing": "ed25519", not a shared secret', "invalid_secret")
    try:
        key = decode_secret(secret)
    except ValueError as error:
        raise unprocessable("#/secret", str(error), "invalid_secret") from None
    return _unless_weak(secret, key)


def check_private_key(text: str) -> Secret:
    """An Ed25519 private key of the caller's own. Raises Problem 422."""
    secret = Secret(text)
    try:
        decode_private_key(secret)
    except ValueError as error:
        raise unprocessable("#/secret", str(error), "invalid_secret") from None
    return _unless_weak(secret, base64.b64decode(text.removeprefix(PRIVATE_KEY_PREFIX) + "==")[:32])


def _unless_weak(secret: Secret, key: bytes) -> Secret:
    reason = weakness(secret.reveal(), key)
    if reason is not None:
        hint = "whoever guesses it can forge deliveries; leave `secret` out and Relay makes one"
        raise unprocessable("#/secret", f"{reason}: {hint}", "weak_secret")
    return secret
