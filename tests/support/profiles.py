"""Two providers of the user's own: one that signs its notifications, one that shows a shared header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from relay.clock import Instant
from relay.model import Secret
from relay.signing.standard_webhooks import decode_secret, sign

_SIGNING = """
name = "signing"
title = "Signs"
origins = ["https://provider.example"]
base_url = "https://provider.example/v1"
[auth]
kind = "basic"
[callback]
event = ["event"]
ignore_events = ["*.started"]
job_id = ["id"]
status = ["status"]
delivery_id = ["header:webhook-id"]
[callback.verification]
kind = "standard_webhooks"
authenticates = true
[callback.inline]
present = ["output"]
[fetch]
kind = "template"
template = "/jobs/{job_id}"
status = ["status"]
job_id = ["id"]
done_present = ["response"]
marker_first = true
gone_present = ["removed"]
error = ["error"]
[fetch.statuses]
pending = ["running"]
completed = ["done"]
failed = ["failed"]
cancelled = ["cancelled"]
[poll]
hints = ["x-come-back"]
"""
_SHARED = """
name = "shared"
title = "Shows a header"
origins = ["https://provider.example"]
base_url = "https://provider.example"
[auth]
kind = "basic"
[callback]
job_id = ["id"]
[callback.verification]
kind = "header_equals"
header = "x-token"
[fetch]
kind = "template"
template = "/jobs/{job_id}"
done_present = ["response"]
"""


def write_profiles(directory: Path) -> Path:
    """The directory, with both in it."""
    (directory / "signing.toml").write_text(_SIGNING, encoding="utf-8")
    (directory / "shared.toml").write_text(_SHARED, encoding="utf-8")
    return directory


@dataclass(frozen=True)
class Signer:
    """Signs as the provider `signing` does."""

    secret: str

    def headers(self, message_id: str, body: bytes, now: Instant) -> dict[str, str]:
        """What such a notification shows."""
        keys = [decode_secret(Secret(self.secret))]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(now // 1000),
            "webhook-signature": sign(message_id, now // 1000, body, keys),
        }


SIGNED: Final = Signer("whsec_" + "c2VjcmV0c2VjcmV0" * 3)
