"""Payloads that do not come with the answer: behind one more hop, or in several pages. Pure and total."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from relay.model import JobStatus
from relay.providers.fetch import Hop
from relay.providers.message import Message, header
from relay.providers.profile import Profile
from relay.providers.reading import Verdict, VerdictKind, hint_seconds

PAGES_OPEN: Final = b"["
PAGES_BETWEEN: Final = b","
PAGES_CLOSE: Final = b"]"

_BOM: Final = b"\xef\xbb\xbf"


def read_hop(profile: Profile, hop: Hop, http_status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """What the answer at a hop means. A 2xx with a body is the payload, whatever it is: the job was completed before.

    A presigned URL that is refused is `pending` for the reason `stale_url`: the job is asked again, which brings a
    fresh one. It says nothing of the webhook's credentials.
    """
    values = hop.selector.read(body) if hop.status or hop.error else None
    message = Message(values or {}, headers, "")
    kind, reason = _kind_of_http(hop, http_status)
    provider_status = message.word(hop.status)
    if kind == "completed" and provider_status is not None:
        status = profile.fetch.job_status(provider_status)
        if status is JobStatus.WAITING:
            kind, reason = "pending", "status"
    if kind == "completed" and not body:
        kind, reason = "pending", "no_content"
    return Verdict(
        kind=kind,
        reason=reason,
        provider_status=provider_status if kind == "pending" else None,
        error=None if kind == "completed" else message.error(hop.error),
        retry_after=header(headers, "retry-after"),
        hint_seconds=hint_seconds(profile.poll.hints, headers),
    )


def _kind_of_http(hop: Hop, status: int) -> tuple[VerdictKind, str]:
    if status in hop.pending_http:
        return "pending", "http_status"
    if status in hop.failed_http:
        return "failed", "http_status"
    if status in hop.gone_http:
        return ("not_found" if status == 404 else "gone"), "http_status"
    if 200 <= status < 300 and status != 206:  # nobody asked for a part
        return "completed", "hop"
    if status == 429:
        return "throttled", "http_status"
    if status == 408 or status >= 500:
        return "server_error", "http_status"
    if 400 <= status < 500 and not hop.credentials:
        return "pending", "stale_url"
    return ("rejected_credentials" if status in (401, 403) else "unexpected"), "http_status"


def join_pages(pages: Sequence[bytes]) -> bytes:
    """One payload of a result's pages: a single page as it is, several as a JSON array of their documents' bytes."""
    if len(pages) == 1:
        return pages[0]
    return PAGES_OPEN + PAGES_BETWEEN.join(page.removeprefix(_BOM) for page in pages) + PAGES_CLOSE
