"""What a subscriber does with a delivery: verify it over the bytes that came, then read it.

Needs no client and no network library, and reads no clock but for the age of the signature.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from relay.clock import Instant, SystemClock, parse_rfc3339
from relay.errors import RelayError, SignatureError
from relay.jsontext import Selector
from relay.model import Secret
from relay.signing.standard_webhooks import HEADER_NAMES, TOLERANCE_SECONDS, Reason, check, signed_id, verifying_key

Headers = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]

_PAYLOAD: Final = ("data", "payload")
_SELECTOR: Final = Selector([_PAYLOAD])
_WHY: Final = {
    Reason.SIGNATURE_MISSING: "the headers webhook-id, webhook-timestamp and webhook-signature are needed",
    Reason.SIGNATURE_REPEATED: "a signature header came twice",
    Reason.SIGNATURE_WRONG: "no signature matches: is it this subscription's secret, and the body as it came?",
    Reason.TIMESTAMP_MALFORMED: "webhook-timestamp is not a number of seconds",
    Reason.TIMESTAMP_OUTSIDE_TOLERANCE: "it was signed too long ago, or one of the two clocks is wrong",
}


class NotAnEnvelope(RelayError):
    """The signature is right, but the body is no envelope: the subscription has another format. `verify` it instead."""


@dataclass(frozen=True, slots=True)
class Event:
    """One delivery that was verified. `id` is the same on every repeat: remember it to handle each message once."""

    id: str
    type: str
    timestamp: datetime
    data: Mapping[str, Any]  # the envelope's `data`, without the payload
    body: bytes = field(repr=False)  # all of it, as it was signed
    payload_bytes: bytes | None = field(repr=False)  # the provider's bytes; None where none came along

    @property
    def payload(self) -> Any:
        """The payload read as JSON; its bytes where it is none. None when none came along: see `payload_url`.

        Raises ValueError for JSON that Python does not read, such as a number of 5,000 digits: `payload_bytes` has it.
        """
        if self.payload_bytes is None or "payload_base64" in self.data:
            return self.payload_bytes
        return json.loads(self.payload_bytes)

    @property
    def payload_url(self) -> str | None:
        """Where the payload is, when it is too large for the message or the subscription's format is `thin`."""
        return self._text("payload_url")

    @property
    def result_id(self) -> str | None:
        """The result that it tells of. None: it tells of something else, such as `subscription.disabled`."""
        return self._text("result_id")

    @property
    def job_id(self) -> str | None:
        """The job whose result it is."""
        return self._text("job_id")

    @property
    def provider_job_id(self) -> str | None:
        """The provider's id of the job."""
        return self._text("provider_job_id")

    @property
    def status(self) -> str | None:
        """How the job ended: completed, failed, cancelled or expired."""
        return self._text("status")

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What was given with the job."""
        value = self.data.get("metadata")
        return value if isinstance(value, dict) else {}

    def _text(self, name: str) -> str | None:
        value = self.data.get(name)
        return value if isinstance(value, str) else None


def unwrap(
    body: bytes,
    headers: Headers,
    secret: str | Sequence[str],
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: Instant | None = None,
) -> Event:
    """Verify a delivery and read it.

    `body`: the request's bytes, before anything read them as JSON. `headers`: a framework's headers, or pairs.
    `secret`: the subscription's `whsec_…` or `whpk_…`, or several while one is being rotated. `now`: for tests.
    Raises SignatureError when it is not to be believed (answer 401), NotAnEnvelope for a subscription of another
    format, TypeError for a body that is not bytes and ValueError for a secret that is none.
    """
    found = _signature_headers(headers)
    verify(body, found, secret, tolerance_seconds=tolerance_seconds, now=now)
    return read_envelope(bytes(body), signed_id(found))


def verify(
    body: bytes,
    headers: Headers,
    secret: str | Sequence[str],
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: Instant | None = None,
) -> None:
    """As `unwrap`, for any body: return if it is signed with one of the secrets."""
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(
            f"pass the raw body: bytes as they came, not {type(body).__name__}"
            " (FastAPI: await request.body(), Flask: request.get_data(), Django: request.body)"
        )
    secrets = [secret] if isinstance(secret, str) else list(secret)
    if not secrets:
        raise ValueError("no secret was given to verify with")
    keys = [verifying_key(Secret(each)) for each in secrets]
    moment = SystemClock().now() if now is None else now
    reason = check(_signature_headers(headers), bytes(body), keys, moment, tolerance_seconds=tolerance_seconds)
    if reason is not None:
        raise SignatureError(f"{reason.value}: {_WHY.get(reason, 'it does not verify')}")


def _signature_headers(headers: Headers) -> dict[str, str]:
    """Those that are signed, by their names in lower case. Raises SignatureError for one that came twice."""
    found: dict[str, str] = {}
    for given, value in headers.items() if isinstance(headers, Mapping) else _pairs(headers):
        name = _text(given).lower()
        if name in HEADER_NAMES:
            if name in found:
                reason = Reason.SIGNATURE_REPEATED
                raise SignatureError(f"{reason.value}: {_WHY[reason]}")
            found[name] = _text(value)
    return found


def _pairs(headers: Any) -> Iterable[tuple[str | bytes, str | bytes]]:
    """Werkzeug's headers are no Mapping, but have its items."""
    items = getattr(headers, "items", None)
    found: Iterable[tuple[str | bytes, str | bytes]] = items() if callable(items) else headers
    return found


def _text(value: str | bytes) -> str:
    if not isinstance(value, str | bytes):
        raise TypeError(f"a header is text, not {type(value).__name__}")
    return value if isinstance(value, str) else value.decode("latin-1")


def read_envelope(body: bytes, message_id: str) -> Event:
    """What an envelope says, unverified. Raises NotAnEnvelope."""
    found = (_SELECTOR.select(body) or {}).get(_PAYLOAD)
    payload = None if found is None else bytes(found)
    try:
        # Without the payload: it may be JSON that Python does not read.
        document = json.loads(body if payload is None or found is None else _without(body, found))
        data = dict(document["data"])
        timestamp = document["timestamp"]
        parse_rfc3339(timestamp)
        moment = datetime.fromisoformat(timestamp)
        kind = document["type"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NotAnEnvelope("the body is no envelope of Relay's (another `format`?)") from None
    if payload is not None:
        del data["payload"]
    elif isinstance(text := data.get("payload_base64"), str):
        payload = base64.b64decode(text)
    return Event(message_id, str(kind), moment, data, body, payload)


def _without(body: bytes, payload: memoryview) -> bytes:
    """The body with `null` where the payload stands. The payload is the last member, so its last place counts."""
    start = body.rindex(bytes(payload))
    return body[:start] + b"null" + body[start + len(payload) :]
