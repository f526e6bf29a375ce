"""Cancelling a job at its provider: the request, and what the answer says. Pure and total."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from relay.model import JobStatus
from relay.providers.fetch import fill, fold_status, with_suffix
from relay.providers.message import Message
from relay.providers.profile import Profile
from relay.providers.submit import Cancel

CancelKind = Literal["took", "asked", "too_late", "not_found", "rejected_credentials", "again", "refused"]


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """What to send, with the webhook's credentials, if the URL's origin is one of its own."""

    method: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAnswer:
    """`took`: it is cancelled. `asked`: it may still end otherwise. `again`: the provider could not say just now."""

    kind: CancelKind
    provider_status: str | None = None
    error: str | None = None


def cancel_request(
    profile: Profile,
    base_url: str | None,
    job_id: str | None,
    response_url: str | None,
    parameters: Mapping[str, str],
    *,
    cancel_url: str | None = None,
) -> CancelRequest | None:
    """The request that cancels a job; None where the provider cancels nothing or too little is known of the job.

    `cancel_url` is what the submit answer named, if it did.
    """
    cancel = profile.cancel
    if cancel is None:
        return None
    if cancel_url is not None:
        return CancelRequest(cancel.method, cancel_url)
    if not cancel.template:
        url = profile.fetch.job_url(base_url, job_id, response_url, parameters)
        return None if url is None else CancelRequest(cancel.method, with_suffix(url, cancel.suffix))
    if base_url is None or job_id is None:
        return None
    try:
        url = fill(base_url, cancel.template, {**parameters, "job_id": job_id})
    except (ValueError, KeyError):
        return None
    return CancelRequest(cancel.method, url)


def read_cancel(profile: Profile, http_status: int, headers: Mapping[str, str], body: bytes) -> CancelAnswer:
    """What the answer to a cancel request says. A request that was taken is only `asked`, unless it says more."""
    cancel = profile.cancel or Cancel(method="DELETE")
    message = Message(cancel.selector.read(body) or {}, headers, "")
    word = message.word(cancel.status)
    kind = _kind_of_http(cancel, http_status)
    if kind is None:
        kind = _kind_of_word(profile, cancel, word) or cancel.meaning
    elif kind == "refused" and word is not None and cancel.words.get(fold_status(word)) == "too_late":
        kind = "too_late"
    return CancelAnswer(kind=kind, provider_status=word, error=None if kind == "took" else message.error(cancel.error))


def _kind_of_http(cancel: Cancel, status: int) -> CancelKind | None:
    if status in cancel.accepted:
        return None
    if status in cancel.too_late:
        return "too_late"
    if status in (404, 410):
        return "not_found"
    if status in (401, 403):
        return "rejected_credentials"
    return "again" if status in (408, 425, 429) or status >= 500 else "refused"


def _kind_of_word(profile: Profile, cancel: Cancel, word: str | None) -> CancelKind | None:
    if word is None:
        return None
    folded = fold_status(word)
    if folded in cancel.words:
        return cancel.words[folded]
    status = profile.fetch.job_status(word)
    if status is JobStatus.CANCELLED:
        return "took"
    if status is None or not status.is_final:
        return "asked"
    return "too_late"
