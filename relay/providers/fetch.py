"""Where a provider's results are and what its answers mean. Frozen data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import quote

from relay.jsontext import Selector
from relay.model import JobStatus
from relay.providers.call import Call
from relay.providers.callback import MarkerType, selector_of
from relay.providers.path import Path, Paths

PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
COMPLETE_WITHIN_SECONDS: Final = 600.0
_FOLD: Final = str.maketrans("", "", " _-")


@lru_cache(maxsize=512)
def fold_status(text: str) -> str:
    """The form in which statuses are compared: `In Progress`, `in_progress` and `IN-PROGRESS` are one."""
    return text.translate(_FOLD).casefold()


def fill(base_url: str, template: str, values: Mapping[str, str]) -> str:
    """The URL of a template below the base URL. A query parameter whose value is not given is left out.

    Raises ValueError for a value that would change the path, and KeyError for one that the path needs.
    """
    if any(value in (".", "..") for value in values.values()):
        raise ValueError("a job id or parameter may not be a dot segment")
    path, _, query = template.partition("?")
    pairs = [pair for pair in query.split("&") if pair and set(PLACEHOLDER.findall(pair)) <= values.keys()]
    whole = path + "?" * bool(pairs) + "&".join(pairs)
    return base_url.rstrip("/") + PLACEHOLDER.sub(lambda match: quote(values[match[1]], safe=""), whole)


def with_suffix(url: str, suffix: str) -> str:
    """`suffix` behind the path of `url`, before its query."""
    path, mark, query = url.partition("?")
    return path.rstrip("/") + suffix + mark + query if suffix else url


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that has to stand at a path: anything but nothing, or a certain text (compared folded)."""

    path: Path
    equals: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where another kind of job of the same provider has its result; the kind shows by id, event or submit path."""

    template: str
    ids: tuple[str, ...] = ()  # patterns, `*` stands for anything
    events: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()

    def has_id(self, job_id: str) -> bool:
        return any(fnmatchcase(job_id, pattern) for pattern in self.ids)

    def has_event(self, event: str) -> bool:
        return any(fnmatchcase(event, pattern) for pattern in self.events)

    def has_call(self, method: str, path: str) -> bool:
        return any(call.fits(method, path, {}) for call in self.calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """Where the payload of a completed job lies if not in the answer itself: at a URL in it, or at a template's."""

    when: Condition | None = None  # None = always
    url: Paths = ()
    upgrade_http: bool = False  # a URL that starts with http:// is asked for over https
    id: Paths = ()  # what `{id}` in the template stands for; without one in the answer the hop is not taken
    template: str = ""  # below the base URL: `{job_id}`, `{id}`, parameters; alone or as what is left without a URL
    job_url: bool = False  # the job's own URL, as learnt at submit (the one asked before has a suffix)
    credentials: bool = False  # False = a presigned URL, which gets none
    pending_http: frozenset[int] = frozenset({202, 425})
    gone_http: frozenset[int] = frozenset({404, 410})
    failed_http: frozenset[int] = frozenset()
    status: Paths = ()  # a pending status there says that the payload is not there yet after all
    error: Paths = ()
    selector: Selector = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "selector", selector_of(self.status, self.error))

    @property
    def paths(self) -> Paths:
        """What has to be read of the answer that may lead to this hop."""
        return (*self.url, *self.id, *((self.when.path,) if self.when else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Where the result is and what the provider's answers mean."""

    kind: Literal["url", "template"]
    template: str = ""  # path below the base URL: `/job/{job_id}`, `{a_parameter}`; kind "template" only
    others: tuple[Place, ...] = ()  # kinds of jobs that have another template
    prefers_url: bool = False  # kind "template": a URL that the provider named itself is asked instead
    suffix: str = ""  # put behind the job's URL to ask for its status: `/status`
    done_present: Paths = ()  # the completed-result marker
    done_type: MarkerType = "any"
    marker_first: bool = False  # the marker alone says completed; statuses count where it is missing
    status: Paths = ()
    status_map: Mapping[str, JobStatus] = field(default_factory=lambda: MappingProxyType({}))  # keys are folded
    pending_status: frozenset[str] = frozenset()  # folded
    partial_status: frozenset[str] = frozenset()  # folded; completed, with a caveat
    pending_http: frozenset[int] = frozenset({202, 425})
    gone_http: frozenset[int] = frozenset({404, 410})  # 404 is read as "not found", the others as "gone"
    gone_present: Paths = ()  # true or non-empty there = the result was removed
    gone_when: tuple[Condition, ...] = ()  # the same for what stands there
    complete_when: tuple[Condition, ...] = ()  # none of them holds = completed says too much: it is asked again
    complete_within_seconds: float = COMPLETE_WITHIN_SECONDS  # after this long such an answer is taken as it is
    failed_present: Paths = ()  # true or non-empty there = it failed, even where the status says completed
    partial_present: Paths = ()  # true or non-empty there = of an expired job a part is there: completed, with a caveat
    job_id: Paths = ()
    error: Paths = ()
    completed_at: Paths = ()
    expires_at: Paths = ()
    hops: tuple[Hop, ...] = ()  # where the payload is if not in the answer; the first that fits
    next_page: Paths = ()  # the URL or path of the payload's next page, same origin and credentials
    selector: Selector = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        marks = (self.done_present, self.gone_present, self.failed_present, self.partial_present)
        conditions = tuple(condition.path for condition in (*self.gone_when, *self.complete_when))
        facts = (self.status, self.job_id, self.error, self.completed_at, self.expires_at, self.next_page)
        selector = selector_of(*marks, conditions, *facts, *(hop.paths for hop in self.hops))
        object.__setattr__(self, "selector", selector)

    def url(self, base_url: str, job_id: str, parameters: Mapping[str, str]) -> str:
        """Where the result of a job is asked for; kind "template" only.

        A query parameter whose webhook parameter is not given is left out. Raises ValueError for a value that would
        change the path.
        """
        template = next((other.template for other in self.others if other.has_id(job_id)), self.template)
        return fill(base_url, template, {**parameters, "job_id": job_id})

    def job_url(
        self, base_url: str | None, job_id: str | None, response_url: str | None, parameters: Mapping[str, str]
    ) -> str | None:
        """The job's own URL, from what is known of it; None = not enough is. Whether it may be called is not said."""
        if self.kind == "url" or (self.prefers_url and response_url is not None):
            return response_url
        if base_url is None or job_id is None:
            return None
        try:
            return self.url(base_url, job_id, parameters)
        except (ValueError, KeyError):
            return None

    def ask_url(
        self, base_url: str | None, job_id: str | None, response_url: str | None, parameters: Mapping[str, str]
    ) -> str | None:
        """Where to ask how the job is: its own URL with the profile's suffix; None = not enough is known."""
        url = self.job_url(base_url, job_id, response_url, parameters)
        return None if url is None else with_suffix(url, self.suffix)

    def job_status(self, provider_status: str) -> JobStatus | None:
        """What the provider's status means; None = not known."""
        folded = fold_status(provider_status)
        return JobStatus.WAITING if folded in self.pending_status else self.status_map.get(folded)

    def is_partial(self, provider_status: str) -> bool:
        """Whether the provider's status means completed with a caveat."""
        return fold_status(provider_status) in self.partial_status
