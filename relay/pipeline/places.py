"""Where a job is asked about. Pure; what it names, the outbound door judges again before anything is sent.

Several things may lead to a job: what the provider's answer to its submit named, its response_url, the place of its
kind, the profile's template. A URL that somebody named is only taken where the webhook's credentials may go; a payload
behind a presigned URL may lie anywhere, and gets none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from relay.errors import UrlRefused
from relay.model import Job
from relay.outbound.authorization import Authorization
from relay.outbound.urls import LONGEST_URL, parse_url
from relay.pipeline.bindings import Binding
from relay.pipeline.prepare import origin_problem
from relay.providers.fetch import with_suffix
from relay.providers.reading import NextHop

NOWHERE: Final = frozenset({""})  # the origins of a webhook that has none


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what may go along. A presigned URL is as good as a key: it shows nowhere."""

    url: str = field(repr=False)
    authorization: Authorization | None
    origins: frozenset[str]  # empty: any origin that the address policy permits
    is_presigned: bool = False  # it leads away from the provider, without credentials


def own_question(binding: Binding, url: str) -> Question:
    """A question to the provider itself, with the webhook's credentials."""
    return Question(url, binding.authorization, binding.origins or NOWHERE)


def result_url(job: Job, binding: Binding) -> str | None:
    """Where to ask how the job is; None when it cannot be known."""
    suffix = binding.profile.fetch.suffix
    places = [with_suffix(url, suffix) for url in _places(job, binding)]
    return _best(binding, places if job.status_url is None else [job.status_url, *places])


def _places(job: Job, binding: Binding) -> Iterator[str]:
    """The job's own URLs, best first."""
    fetch, base_url = binding.profile.fetch, binding.base_url
    if job.response_url is not None and (fetch.kind == "url" or fetch.prefers_url):
        yield job.response_url
    if job.result_path is not None and base_url is not None:
        yield base_url.rstrip("/") + job.result_path
    if fetch.kind == "template":
        url = fetch.job_url(base_url, job.provider_job_id, None, binding.webhook.parameters)
        if url is not None:
            yield url


def _best(binding: Binding, urls: list[str]) -> str | None:
    """The first that the webhook's credentials may go to; without one the first: that it is foreign is found out."""
    if len(urls) < 2:
        return urls[0] if urls else None
    return next((url for url in urls if origin_problem(binding, url) is None), urls[0])


def hop_question(job: Job, binding: Binding, hop: NextHop, provider_job_id: str | None) -> Question | None:
    """How to ask for the payload of a completed job that lies elsewhere; None when nothing that is named is allowed."""
    own_url = _best(binding, list(_places(job, binding)))
    job_id = job.provider_job_id or provider_job_id
    urls = hop.candidates(binding.base_url, job_id, own_url, binding.webhook.parameters)
    if hop.credentials:
        mine = (url for url in urls if origin_problem(binding, url) is None)
        return next((own_question(binding, url) for url in mine), None)
    return next((Question(url, None, frozenset(), is_presigned=True) for url in urls if _is_plain(url)), None)


def page_question(asked: Question, url: str) -> Question | None:
    """How to ask for a further page of an answer: at the same origin, with the same credentials; None elsewhere.

    Some providers name it by its path alone.
    """
    try:
        origin = _origin(asked.url)
        whole = origin + url if url.startswith("/") and not url.startswith("//") else url
        same = _origin(whole) == origin
    except UrlRefused:
        return None
    return Question(whole, asked.authorization, asked.origins) if same else None


def _origin(url: str) -> str:
    return parse_url(url, allow_http=True, allow_short=True, longest=LONGEST_URL).origin


def _is_plain(url: str) -> bool:
    try:
        _origin(url)
    except UrlRefused:
        return False
    return True
