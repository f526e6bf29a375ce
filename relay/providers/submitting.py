"""Jobs submitted through Relay: which calls are let through, what is put into them, what the answer says.

Pure and total: nothing here raises for what a client or a provider sends.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import quote, unquote_plus

from relay.model import JobStatus, Secret
from relay.providers.fetch import PLACEHOLDER
from relay.providers.message import Message, header
from relay.providers.multipart import boundary_of, put_field
from relay.providers.profile import Profile
from relay.providers.reading import result_path
from relay.providers.splice import Unfit, UnfitError, holds_text, put_member, same_json, written
from relay.providers.submit import Insert, Submission

SubmittedKind = Literal["accepted", "refused", "unclear"]

_PLAIN_PATH: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~!$&'()*+,;=:@-]+)+\Z")
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Matched:
    """A call that the profile lists. `submission` is None where it passes through untouched and starts no job."""

    submission: Submission | None


@dataclass(frozen=True, slots=True)
class Filled:
    """A request as it is to be sent on. It may hold a callback URL and a secret, so it shows neither."""

    query: str = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What the answer to a submit says.

    `accepted`: there is a job, even where the answer names none (a callback may still find it). `refused`: there is
    none. `unclear`: there may be one. URLs are as sent: whether they may be called is for the URL policy to say.
    """

    kind: SubmittedKind
    provider_job_id: str | None = None
    response_url: str | None = None
    result_path: str | None = None  # below the base URL, where the call started another kind of job
    status_url: str | None = None
    cancel_url: str | None = None
    status: JobStatus | None = None
    provider_status: str | None = None
    error: str | None = None


def match_call(profile: Profile, method: str, path: str, parameters: Mapping[str, str]) -> Matched | None:
    """The listed call that a request is; None = it is not let through.

    A path with anything odd in it (escapes, dot segments, doubled slashes) is no listed call: what it leads to is the
    provider's guess.
    """
    submit = profile.submit
    if submit is None or not _PLAIN_PATH.match(path):
        return None
    for submission in submit.jobs:
        if any(call.fits(method, path, parameters) for call in submission.calls):
            return Matched(submission)
    if any(call.fits(method, path, parameters) for call in submit.passes):
        return Matched(None)
    return None


def fill_request(
    submission: Submission,
    values: Mapping[str, Secret],
    *,
    query: str,
    content_type: str,
    body: bytes,
    own_url: str = "",
) -> Filled | Unfit:
    """The request with everything put in that the profile says; what else is in it stays byte for byte.

    `values` are what placeholders stand for: `callback_url`, `verification_header`, `verification_secret` and the
    webhook's parameters; what needs one that is missing is left out. A value of the caller's that begins with
    `own_url` is one of Relay's own callback URLs and may be replaced.
    """
    boundary = boundary_of(content_type)
    try:
        _refuse(submission, body, is_form=boundary is not None)
        for insert in submission.inserts:
            if insert.only != "always" and (insert.only == "with_secret") != ("verification_secret" in values):
                continue
            value = _rendered(insert.value, values)
            if value is _ABSENT:
                continue
            if insert.into == "query":
                query = _put_query(query, insert, value, own_url)
            elif boundary is not None:
                body = _put_field(body, boundary, insert, value)
            else:
                body = put_member(body, insert.at, value, insert.existing, own_url)
    except UnfitError as error:
        return error.unfit
    return Filled(query, body)


def _refuse(submission: Submission, body: bytes, *, is_form: bool) -> None:
    if is_form or not submission.refuse:
        return
    message = Message(submission.selector.read(body) or {}, {}, "")
    for path in submission.refuse:
        if message.has((path,), "any"):
            raise UnfitError("refused", [str(path)])


def _put_field(body: bytes, boundary: bytes, insert: Insert, value: Any) -> bytes:
    if len(insert.at) > 1 or isinstance(value, dict | list):
        raise UnfitError("no_such_field", insert.at)  # form data has no places inside of others
    return put_field(body, boundary, insert.at[0], _plain(value), insert.existing)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else written(value)


def _rendered(value: Any, values: Mapping[str, Secret]) -> Any:
    """The value with its placeholders filled in; `_ABSENT` if one of them has no value."""
    if isinstance(value, str):
        if not set(PLACEHOLDER.findall(value)) <= values.keys():
            return _ABSENT
        return PLACEHOLDER.sub(lambda found: values[found[1]].reveal(), value)
    if isinstance(value, list):
        items = [_rendered(item, values) for item in value]
        return _ABSENT if any(item is _ABSENT for item in items) else items
    if isinstance(value, dict):
        members = {_rendered(name, values): _rendered(item, values) for name, item in value.items()}
        if any(item is _ABSENT for pair in members.items() for item in pair):
            return _ABSENT
        return written(members["$json"]) if members.keys() == {"$json"} else members
    return value


def _put_query(query: str, insert: Insert, value: Any, own_url: str) -> str:
    name = insert.at[0]
    text = base64.b64encode(written(value).encode()).decode() if insert.base64 else _plain(value)
    pairs = query.split("&") if query else []
    given = [pair for pair in pairs if unquote_plus(pair.partition("=")[0]) == name]
    others = [pair for pair in pairs if pair not in given]
    old = [unquote_plus(pair.partition("=")[2]) for pair in given]
    if any(one for one in old) and insert.existing != "replace":
        theirs = [one for one in old if one and not _is_own(one, text, insert, own_url)]
        if theirs and insert.existing == "refuse":
            raise UnfitError("taken", [name])
        if theirs:
            return query
    return "&".join([*others, f"{quote(name, safe='')}={quote(text, safe='')}"])


def _is_own(old: str, new: str, insert: Insert, own_url: str) -> bool:
    if old == new or (own_url and old.startswith(own_url)):
        return True
    if not insert.base64:
        return False
    try:
        decoded = base64.b64decode(old + "=" * (-len(old) % 4))
    except ValueError:
        return False
    return same_json(decoded, base64.b64decode(new)) or bool(own_url and holds_text(decoded, own_url))


def read_submit(
    profile: Profile, method: str, path: str, http_status: int, headers: Mapping[str, str], body: bytes
) -> Submitted:
    """What the answer to a submit says by the profile."""
    submit = profile.submit
    if submit is None:
        return Submitted(kind="unclear")
    message = Message(submit.selector.read(body) or {}, headers, "")
    if http_status not in submit.accepted:
        refused = 400 <= http_status < 500 and http_status != 408
        return Submitted(kind="refused" if refused else "unclear", error=message.error(submit.error))
    provider_status = message.word(submit.status)
    job_id = message.identifier(submit.job_id)
    return Submitted(
        kind="accepted",
        provider_job_id=job_id,
        response_url=message.url(submit.response_url),
        result_path=result_path(profile.fetch, job_id, call=(method, path)),
        status_url=message.url(submit.status_url),
        cancel_url=message.url(submit.cancel_url),
        status=None if provider_status is None else profile.fetch.job_status(provider_status),
        provider_status=provider_status,
    )


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key that a client showed in the provider's own form, and the request without it."""

    key: Secret
    query: str
    headers: frozenset[str] = frozenset()  # in lower case: those that may not be sent on


def shown_key(profile: Profile, headers: Mapping[str, str], query: str) -> ShownKey | None:
    """The key in the first of the profile's forms that the request has; None if there is none.

    Basic carries it as the password. Every header and query parameter that could carry one is to be taken off.
    """
    forms = profile.submit.keys if profile.submit else ()
    taken = frozenset({"authorization", *(form.name for form in forms if form.kind == "header")})
    names = {form.name for form in forms if form.kind == "query"}
    pairs = query.split("&") if query else []
    rest = "&".join(pair for pair in pairs if unquote_plus(pair.partition("=")[0]) not in names)
    for form in forms:
        if form.kind == "query":
            shown = next((p.partition("=")[2] for p in pairs if unquote_plus(p.partition("=")[0]) == form.name), "")
            key: str | None = unquote_plus(shown)
        else:
            key = _key_in(header(headers, form.name), form.kind, form.scheme)
        if key:
            return replace(ShownKey(Secret(key), rest), headers=taken)
    return None


def _key_in(value: str | None, kind: str, scheme: str) -> str | None:
    if value is None:
        return None
    first, space, rest = value.strip().partition(" ")
    if kind == "basic":
        return _password(rest.strip()) if first.lower() == "basic" else None
    wanted = "bearer" if kind == "bearer" else scheme.lower()
    if not wanted:
        return None if space else first  # a scheme of another form is no bare key
    return rest.strip() if first.lower() == wanted else None


def _password(encoded: str) -> str | None:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except ValueError:
        return None
