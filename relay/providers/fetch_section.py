"""The table `[fetch]` of a profile file: where results are and what answers mean."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from relay.model import JobStatus
from relay.providers.call_section import calls, suffix
from relay.providers.callback_section import MARKERS, event_problem
from relay.providers.fetch import COMPLETE_WITHIN_SECONDS, Condition, Fetch, Hop, Place, fold_status
from relay.providers.profile import Parameter
from relay.providers.sections import template
from relay.providers.table import Table

_JOB_ID: Final = frozenset({"job_id"})
_STATES: Final[Mapping[str, JobStatus]] = {
    "pending": JobStatus.WAITING,
    "completed": JobStatus.COMPLETED,
    "partial": JobStatus.COMPLETED,
    "failed": JobStatus.FAILED,
    "cancelled": JobStatus.CANCELLED,
    "expired": JobStatus.EXPIRED,
}


def fetch(table: Table, parameters: tuple[Parameter, ...]) -> Fetch:
    """Where results are and what answers mean."""
    by_template = table.choice("kind", {"url": False, "template": True})
    states = _statuses(table.table("statuses"))
    pending_http = table.codes("pending_http", (202, 425))
    result = Fetch(
        kind="template" if by_template else "url",
        template=template(table, "template", parameters, own=_JOB_ID, needs=_JOB_ID) if by_template else "",
        others=tuple(_place(one) for one in table.tables("others")) if by_template else (),
        prefers_url=table.boolean("prefers_url") if by_template else False,
        suffix=suffix(table, "suffix"),
        done_present=table.body_paths("done_present"),
        done_type=table.choice("done_type", MARKERS, "any"),
        marker_first=table.boolean("marker_first"),
        status=table.paths("status"),
        status_map=MappingProxyType({word: _STATES[state] for word, state in states.items() if state != "pending"}),
        pending_status=frozenset(word for word, state in states.items() if state == "pending"),
        partial_status=frozenset(word for word, state in states.items() if state == "partial"),
        pending_http=pending_http,
        gone_http=table.codes("gone_http", {404, 410} - pending_http),
        gone_present=table.body_paths("gone_present"),
        gone_when=_conditions(table, "gone_when"),
        complete_when=_conditions(table, "complete_when"),
        complete_within_seconds=table.seconds("complete_within_seconds") or COMPLETE_WITHIN_SECONDS,
        failed_present=table.body_paths("failed_present"),
        partial_present=table.body_paths("partial_present"),
        job_id=table.paths("job_id"),
        error=table.paths("error"),
        completed_at=table.paths("completed_at"),
        expires_at=table.paths("expires_at"),
        hops=tuple(_hop(one, parameters) for one in table.tables("hops")),
        next_page=table.paths("next_page"),
    )
    _check_fetch(table, result)
    table.done()
    return result


def _check_fetch(table: Table, fetch: Fetch) -> None:
    if table.has("status") != (table.has("statuses") and bool(fetch.status_map)):
        table.problem("status", "expected both the path of the status and a table [fetch.statuses], or neither")
    if fetch.marker_first and not table.has("done_present"):
        table.problem("done_present", "is missing; marker_first needs the path of the marker")
    elif not table.has("done_present") and JobStatus.COMPLETED not in fetch.status_map.values():
        table.problem("done_present", "is missing; without statuses.completed only a marker can say done")
    if table.has("complete_within_seconds") and not fetch.complete_when:
        table.problem("complete_when", "is missing; complete_within_seconds says how long it may fail to hold")
    if any(200 <= code < 300 for code in fetch.gone_http) or 200 in fetch.pending_http:
        table.problem("gone_http", "expected no code from 200 to 299 here, and no 200 in pending_http")
    if fetch.gone_http & fetch.pending_http:
        both = sorted(fetch.gone_http & fetch.pending_http)
        table.problem("gone_http", f"expected other codes than in pending_http, got {both} in both")


def _statuses(table: Table) -> Mapping[str, str]:
    """The profile's word for the state, by the provider's folded status."""
    states: dict[str, str] = {}
    for state in _STATES:
        for status in table.strings(state, lambda status: None if fold_status(status) else "expected a status"):
            if states.setdefault(fold_status(status), state) != state:
                table.problem(state, f"{status!r} also stands under {states[fold_status(status)]}")
    table.done()
    return states


def _place(table: Table) -> Place:
    place = Place(
        template=template(table, "template", (), own=_JOB_ID, needs=_JOB_ID),
        ids=table.strings("ids", event_problem),
        events=table.strings("events", event_problem),
        calls=calls(table, "calls", ()),
    )
    if not table.has("ids") and not table.has("events") and not table.has("calls"):
        table.problem("ids", "is missing; expected ids, events or calls by which such a job is known")
    table.done()
    return place


def _hop(table: Table, parameters: tuple[Parameter, ...]) -> Hop:
    own = frozenset({"job_id", "id"}) if table.has("id") else _JOB_ID
    pending_http = table.codes("pending_http", (202, 425))
    hop = Hop(
        when=_condition(table, "when", text) if (text := table.string("when", "")) else None,
        url=table.paths("url"),
        upgrade_http=table.boolean("upgrade_http"),
        id=table.paths("id"),
        template=template(table, "template", parameters, own=own)
        if table.has("template")
        else table.string("template", ""),
        job_url=table.boolean("job_url"),
        credentials=table.boolean("credentials"),
        pending_http=pending_http,
        gone_http=table.codes("gone_http", {404, 410} - pending_http),
        failed_http=table.codes("failed_http", ()),
        status=table.paths("status"),
        error=table.paths("error"),
    )
    if not (table.has("url") or hop.template or hop.job_url):
        table.problem("url", "is missing; expected the path of a URL, or a template, or job_url")
    if hop.template and not hop.credentials and table.has("credentials"):
        table.problem("credentials", "expected true: a template leads to the provider itself")
    groups = (hop.pending_http, hop.gone_http, hop.failed_http)
    if any(200 <= code < 300 for code in hop.gone_http | hop.failed_http) or 200 in hop.pending_http:
        table.problem("pending_http", "expected no 200 here, and no code from 200 to 299 in gone_http and failed_http")
    if sum(map(len, groups)) > len(frozenset().union(*groups)):
        table.problem("pending_http", "expected every code in one of pending_http, gone_http and failed_http only")
    table.done()
    return hop


def _conditions(table: Table, key: str) -> tuple[Condition, ...]:
    """A list of conditions, of which one is enough."""
    found = (_condition(table, key, text) for text in table.strings(key))
    return tuple(condition for condition in found if condition is not None)


def _condition(table: Table, key: str, text: str) -> Condition | None:
    """`result.is_url` (not nothing stands there), or `result.type = url`."""
    name, equals, word = text.partition(" = ")
    path = table.path(key, name)
    if path is None:
        return None
    if path.source != "body" or path.pick is not None:
        table.problem(key, "expected a path in the JSON body, alone or followed by ` = ` and a word")
    return Condition(path, word.strip() if equals else None)
