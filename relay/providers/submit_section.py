"""The tables `[submit]` and `[cancel]` of a profile file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from types import MappingProxyType
from typing import Any, Final

from relay.providers.call_section import METHODS, calls, suffix
from relay.providers.fetch import PLACEHOLDER, fold_status
from relay.providers.profile import Auth, Parameter
from relay.providers.sections import template
from relay.providers.submit import Cancel, CancelMeaning, Existing, Insert, KeyForm, Only, Submission, Submit
from relay.providers.table import Table

FILLED_IN: Final = frozenset(("callback_url", "verification_header", "verification_secret"))

_MEMBER: Final = re.compile(r"[A-Za-z0-9_$@:/-]+(?:\.[A-Za-z0-9_$@:/-]+){0,7}\Z")
_QUERY_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+\Z")
_KEY_FORM: Final = re.compile(r"(?:(bearer|basic)|(header|query) ([A-Za-z0-9_-]+)(?: ([A-Za-z-]+))?)\Z")
_EXISTING: Final[Mapping[str, Existing]] = {"replace": "replace", "keep": "keep", "refuse": "refuse"}
_ONLY: Final[Mapping[str, Only]] = {
    "always": "always",
    "with_secret": "with_secret",
    "without_secret": "without_secret",
}


def submit(table: Table | None, parameters: tuple[Parameter, ...], auth: Auth) -> Submit | None:
    """What may be sent through Relay; None = nothing."""
    if table is None:
        return None
    forms = tuple(form for text in table.strings("keys") if (form := _key_form(table, text)) is not None)
    result = Submit(
        jobs=tuple(_submission(one, parameters) for one in table.tables("jobs")),
        passes=calls(table, "passes", parameters),
        keys=tuple(dict.fromkeys((KeyForm(kind="bearer"), *_own_form(auth), *forms))),
        accepted=table.codes("accepted", (200, 201, 202)),
        idempotent=table.boolean("idempotent"),
        job_id=table.paths("job_id"),
        response_url=table.paths("response_url"),
        status_url=table.paths("status_url"),
        cancel_url=table.paths("cancel_url"),
        status=table.paths("status"),
        error=table.paths("error"),
        through_relay=table.body_paths("through_relay"),
    )
    if any(path.pick or not all(isinstance(step, str) for step in path.steps) for path in result.through_relay):
        table.problem("through_relay", "expected places of members such as urls.get, outside of lists")
    if result.through_relay and not result.passes:
        table.problem("passes", "is missing; the URLs of through_relay lead to calls that go through")
    if not table.has("jobs"):
        table.problem("jobs", "is missing; expected at least one table [[submit.jobs]]")
    if not table.has("job_id") and not table.has("response_url"):
        table.problem("job_id", "is missing; expected the path of a job id or of a response_url")
    if any(not 200 <= code < 300 for code in result.accepted):
        table.problem("accepted", "expected HTTP status codes from 200 to 299")
    table.done()
    return result


def _own_form(auth: Auth) -> tuple[KeyForm, ...]:
    """The form in which the provider itself takes a key is one that its clients show."""
    if auth.kind == "basic":
        return (KeyForm(kind="basic"),)
    if auth.kind == "header":
        return (KeyForm(kind="header", name=auth.header.lower(), scheme=auth.value_prefix.strip()),)
    return ()


def _key_form(table: Table, text: str) -> KeyForm | None:
    match = _KEY_FORM.match(text)
    if match is None or (match[2] == "query" and match[4]):
        table.problem("keys", f"{text!r}: expected bearer, basic, header NAME, header NAME SCHEME or query NAME")
        return None
    if match[1]:
        return KeyForm(kind="bearer" if match[1] == "bearer" else "basic")
    if match[2] == "query":
        return KeyForm(kind="query", name=match[3])
    return KeyForm(kind="header", name=match[3].lower(), scheme=match[4] or "")


def _submission(table: Table, parameters: tuple[Parameter, ...]) -> Submission:
    result = Submission(
        calls=calls(table, "calls", parameters),
        inserts=tuple(_insert(one, parameters) for one in table.tables("inserts")),
        refuse=table.body_paths("refuse"),
    )
    if not table.has("calls"):
        table.problem("calls", 'is missing; expected a list such as ["POST /v1/jobs"]')
    table.done()
    return result


def _insert(table: Table, parameters: tuple[Parameter, ...]) -> Insert:
    body, query = table.string("body", ""), table.string("query", "")
    value = table.anything("value")
    insert = Insert(
        into="query" if query else "body",
        at=(query,) if query else tuple(body.split(".")),
        value=value,
        existing=table.choice("existing", _EXISTING, "replace"),
        only=table.choice("only", _ONLY, "always"),
        base64=table.boolean("base64") if query else False,
    )
    if bool(body) == bool(query):
        table.problem("body", "expected either body, with the place of a member, or query, with a parameter's name")
    elif body and not _MEMBER.match(body):
        table.problem("body", f"expected the place of a member such as webhook.url, got {body!r}")
    elif query and not _QUERY_NAME.match(query):
        table.problem("query", f"expected the name of a query parameter, got {query!r}")
    _check_value(table, value, FILLED_IN | {parameter.name for parameter in parameters})
    if query and not insert.base64 and isinstance(value, dict | list):
        table.problem("value", "expected text, a number, true or false, unless base64 is true")
    table.done()
    return insert


def _check_value(table: Table, value: Any, known: frozenset[str]) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_value(table, name, known)
            _check_value(table, inner, known)
    elif isinstance(value, list):
        for inner in value:
            _check_value(table, inner, known)
    elif isinstance(value, str):
        for name in PLACEHOLDER.findall(value):
            if name not in known:
                table.problem("value", f"{{{name}}} is none of {', '.join(sorted(known))}")
    elif isinstance(value, date | datetime | time) or value in (float("inf"), float("-inf")) or value != value:
        table.problem("value", "expected what JSON can say: text, numbers, true, false, lists and tables")


def cancel(table: Table | None, parameters: tuple[Parameter, ...]) -> Cancel | None:
    """How a job is cancelled; None = it cannot be."""
    if table is None:
        return None
    own = frozenset({"job_id"})
    result = Cancel(
        method=table.choice("method", {method: method for method in sorted(METHODS - {"GET"})}),
        template=template(table, "template", parameters, own=own, needs=own) if table.has("template") else "",
        suffix=suffix(table, "suffix"),
        accepted=table.codes("accepted", (200, 202, 204)),
        too_late=table.codes("too_late", (409,)),
        meaning="took" if table.choice("meaning", {"asked": False, "took": True}, "asked") else "asked",
        status=table.paths("status"),
        words=_words(table.table("words")),
        error=table.paths("error"),
    )
    if table.has("template") and table.has("suffix"):
        table.problem("suffix", "expected either a template or a suffix, not both")
    if any(not 200 <= code < 300 for code in result.accepted):
        table.problem("accepted", "expected HTTP status codes from 200 to 299")
    if result.accepted & result.too_late:
        table.problem("too_late", "expected other codes than in accepted")
    table.done()
    return result


def _words(table: Table) -> Mapping[str, CancelMeaning]:
    meanings: tuple[CancelMeaning, ...] = ("took", "asked", "too_late")
    words = {fold_status(word): meaning for meaning in meanings for word in table.strings(meaning)}
    table.done()
    return MappingProxyType(words)
