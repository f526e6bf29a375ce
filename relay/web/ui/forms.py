"""Forms that make and change things: what was typed as the API takes it, what is shown, what is wrong where.

A field's name is its place in the API's body, with dots for the steps of the JSON pointer. The API judges: nothing is
checked here but the form of what has one, and an error of the API is shown beside the field that its pointer names.
Secrets are never put into a page again, whatever else was wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from relay.errors import StoreError
from relay.frozen import frozen
from relay.web import body as bodies
from relay.web.problems import Problem, Wrong, from_exception

T = TypeVar("T")

JSON: Final = "application/json"
BEFORE: Final = "before"  # the hidden field of a form that changes: what it showed when it was made
ELSEWHERE: Final = (401, 403, 404)  # problems that no other words in the form would mend

_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)

Typed = Mapping[str, str | Sequence[str]]
"""What stands in the fields: a text, or the chosen ones of several."""


@frozen(kw_only=True)
class Field:
    """One field of a form."""

    name: str
    label: str
    kind: str = "text"  # one of READERS
    hint: str = ""
    required: bool = False
    secret: bool = False  # goes in and never comes out
    options: tuple[tuple[str, str], ...] = ()  # of `choice` and `several`: value and words
    rows: int = 1
    placeholder: str = ""
    maximum: int = 2048

    @property
    def is_area(self) -> bool:
        """Whether it has more than one line."""
        return self.kind in ("lines", "json", "headers")


@frozen(kw_only=True)
class Group:
    """Fields that belong together."""

    title: str
    fields: tuple[Field, ...]
    note: str = ""
    folded: bool = False  # shown when it is asked for, or when something in it is wrong or was changed


@frozen(kw_only=True)
class Page:
    """A form as the template shows it."""

    groups: Sequence[Group]
    typed: Typed
    wrong: Mapping[str, str]  # by field
    general: Sequence[str]  # what is wrong with no field in particular
    retype: bool  # secrets were typed and have to be typed again
    before: str = ""

    def is_open(self, group: Group) -> bool:
        """Whether a folded group has something in it to be seen."""
        return any(field.name in self.wrong or self._is_unusual(field) for field in group.fields)

    def _is_unusual(self, field: Field) -> bool:
        given = self.typed.get(field.name)
        return bool(given) and given != (field.options[0][0] if field.kind == "choice" else field.placeholder)


# --- from the form to the body ---


def number(text: str) -> float | int | str:
    """A number, if it is one; the API says what is wrong with anything else."""
    if not _NUMBER.fullmatch(text):
        return text
    return float(text) if "." in text else int(text)


def _json(text: str) -> Any:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Problem(422, "", "", [Wrong(f"is not JSON: {error.msg} at {where}", "malformed_json", "#")]) from None
    except (ValueError, RecursionError):
        raise Problem(422, "", "", [Wrong("is not JSON", "malformed_json", "#")]) from None
    return bodies.parse(text.encode(), JSON)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _headers(text: str) -> dict[str, str]:
    made: dict[str, str] = {}
    for place, line in enumerate(_lines(text), 1):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon:
            raise Problem(422, "", "", [Wrong(f"line {place} is not of the form name: value", "malformed", "#")])
        if name.lower() in (known.lower() for known in made):
            raise Problem(422, "", "", [Wrong(f"{name} is given twice", "repeated", "#")])
        made[name] = value
    return made


READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "text": str,
    "choice": str,
    "number": number,
    "numbers": lambda text: [number(part) for part in re.split(r"[\s,]+", text) if part],
    "lines": _lines,
    "headers": _headers,
    "json": _json,
}


def read(fields: Iterable[Field], form: Mapping[str, Sequence[str]]) -> tuple[dict[str, Any], list[Wrong]]:
    """The body that the form means, and what in it could not even be read. Empty fields are left out."""
    made: dict[str, Any] = {}
    wrong: list[Wrong] = []
    for field in fields:
        as_it_is = field.secret and not field.is_area  # a password may begin or end with a space
        texts = (value if as_it_is else _even(value) for value in form.get(field.name, ()))
        given = [text for text in texts if text]
        if not given:
            continue
        try:
            value = given if field.kind == "several" else READERS[field.kind](given[0])
        except Problem as error:
            place = "#/" + field.name.replace(".", "/")
            wrong += [Wrong(one.detail, one.code, place + (one.pointer or "#")[1:]) for one in error.errors]
            continue
        *steps, last = field.name.split(".")
        inner = made
        for step in steps:
            inner = inner.setdefault(step, {})
        inner[last] = value
    return made, wrong


def typed(fields: Iterable[Field], form: Mapping[str, Sequence[str]]) -> Typed:
    """What is shown again: everything but secrets."""
    return {
        field.name: list(form.get(field.name, ()))
        if field.kind == "several"
        else _even("".join(form.get(field.name, ())[:1]))
        for field in fields
        if not field.secret
    }


# --- from what there is to the form ---


def _shown(field: Field, value: Any) -> str | list[str]:
    if field.kind == "several":
        return [str(item) for item in value or ()]
    if value is None or (field.kind == "json" and value == {}):
        return ""
    if field.kind == "json":
        return json.dumps(value, ensure_ascii=False, indent=2)
    if field.kind in ("numbers", "lines"):
        return (", " if field.kind == "numbers" else "\n").join(_shown_number(item) for item in value)
    return _shown_number(value)


def _shown_number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def filled(fields: Iterable[Field], view: Mapping[str, Any]) -> Typed:
    """What stands in the fields of something that there is. Secrets are not part of a view."""
    made: dict[str, str | Sequence[str]] = {}
    for field in fields:
        value: Any = view
        for step in field.name.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        if not field.secret:
            made[field.name] = _shown(field, value)
    return made


def kept(shown: Typed) -> str:
    """What a form shows, for `changes` to compare with what comes back."""
    return json.dumps(shown, ensure_ascii=False, sort_keys=True)


def changes(
    fields: Sequence[Field], form: Mapping[str, Sequence[str]], empty: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Wrong]]:
    """The body of a PATCH: what somebody changed in the form, and nothing of what somebody else did meanwhile.

    A field that was emptied is null, or what `empty` says. A secret that was not typed stays as it is.
    """
    try:
        before = json.loads("".join(form.get(BEFORE, ())) or "{}")
    except (ValueError, RecursionError):
        before = {}
    given, wrong = read(fields, form)
    now = typed(fields, form)
    known = before if isinstance(before, dict) else {}
    tops = {field.name.partition(".")[0] for field in fields if _is_changed(field, form, known, now)}
    body = {name: given.get(name, empty.get(name)) for name in tops}
    broken = {(one.pointer or "")[2:].partition("/")[0] for one in wrong}
    return body, [one for one in wrong if (one.pointer or "")[2:].partition("/")[0] in tops & broken]


def _is_changed(field: Field, form: Mapping[str, Sequence[str]], before: Mapping[str, Any], now: Typed) -> bool:
    if field.secret:
        return any(form.get(field.name, ()))
    value, was = now[field.name], before.get(field.name)
    if field.kind == "several":
        return sorted(value) != sorted(map(str, was) if isinstance(was, list) else [])
    return value != (_even(was) if isinstance(was, str) else "")


def _even(text: str) -> str:
    return text.replace("\r\n", "\n").strip()  # browsers send the line breaks of a form as CR LF


# --- what came of it ---


async def outcome(asking: Awaitable[T]) -> T | Problem:
    """What the API answers, or the problem that other words in the form may mend. Raises any other."""
    try:
        return await asking
    except (Problem, StoreError) as error:
        problem = from_exception(error)
        if problem is None or problem.status in ELSEWHERE:
            raise
        return problem


def unreadable(wrong: Sequence[Wrong]) -> Problem:
    """What was typed cannot be read."""
    return Problem(422, "validation_error", bodies.count_of_fields(len(wrong)), list(wrong))


def page_of(
    groups: Sequence[Group],
    shown: Typed,
    problem: Problem | None = None,
    form: Mapping[str, Sequence[str]] | None = None,
    before: str = "",
) -> Page:
    """The form, with what is wrong beside its fields."""
    fields = [field for group in groups for field in group.fields]
    wrong: dict[str, str] = {}
    general: list[str] = []
    for one in problem.errors if problem else ():
        name, rest = _place(fields, one.pointer or "")
        if name is None:
            general.append(f"{one.pointer or ''} {one.detail}".strip())
        else:
            wrong.setdefault(name, f"{rest}: {one.detail}" if rest else one.detail)
    if problem and not problem.errors:
        general.append(problem.detail)
    typed_secret = any(field.secret and "".join((form or {}).get(field.name, ())) for field in fields)
    return Page(groups=groups, typed=shown, wrong=wrong, general=general, retype=typed_secret, before=before)


def _place(fields: Sequence[Field], pointer: str) -> tuple[str | None, str]:
    """The field that a pointer names, and what it says beyond the field."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.removeprefix("#/").split("/")]
    names = {field.name for field in fields}
    for length in range(len(steps), 0, -1):
        name = ".".join(steps[:length])
        if name in names:
            return name, " ".join(f"line {int(step) + 1}" if step.isdecimal() else step for step in steps[length:])
    inside = [field.name for field in fields if field.name.startswith(f"{steps[0]}.")]
    return (inside[0], "") if inside else (None, "")
