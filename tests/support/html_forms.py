"""The forms of a page as a browser without JavaScript would send them."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Form:
    """One form: where it goes, and what is in it."""

    action: str
    method: str
    fields: dict[str, list[str]] = field(default_factory=dict)
    buttons: list[dict[str, str]] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.by_id: dict[str, Form] = {}
        self._open: Form | None = None
        self._area: tuple[Form, str] | None = None
        self._select: tuple[Form, str] | None = None
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = Form(given.get("action", ""), given.get("method", "get"))
            self.forms.append(self._open)
            if "id" in given:
                self.by_id[given["id"]] = self._open
        form = self.by_id.get(given["form"]) if "form" in given else self._open
        if form is not None:
            self._control(tag, given, form)

    def _control(self, tag: str, given: dict[str, str], form: Form) -> None:
        name = given.get("name", "")
        if tag == "input" and name:
            if given.get("type") not in ("checkbox", "radio") or "checked" in given:
                form.fields.setdefault(name, []).append(given.get("value", ""))
        elif tag == "textarea":
            self._area, self._text = (form, name), ""
        elif tag == "select":
            self._select = (form, name)
        elif tag == "option" and self._select is not None:
            owner, select = self._select
            if "selected" in given or select not in owner.fields:
                owner.fields[select] = [given.get("value", "")]
        elif tag == "button":
            form.buttons.append(given)

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._area is not None:
            form, name = self._area
            form.fields.setdefault(name, []).append(self._text.removeprefix("\n").replace("\n", "\r\n"))
            self._area = None
        elif tag == "select":
            self._select = None
        elif tag == "form":
            self._open = None


def forms_of(page: str) -> list[Form]:
    """All of them."""
    reader = _Reader()
    reader.feed(page)
    return reader.forms


def form_to(page: str, action: str) -> Form:
    """The one that goes to `action`."""
    found = [form for form in forms_of(page) if form.action == action]
    assert len(found) == 1, f"{len(found)} forms go to {action}"
    return found[0]
