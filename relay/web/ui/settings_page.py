"""Settings as they are, secrets masked; API keys to make and revoke."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from starlette.responses import Response

import relay
from relay.clock import after, rfc3339
from relay.model import Scope, Secret
from relay.settings import Settings
from relay.web.api import keys as api
from relay.web.api.keys import NewKeyView
from relay.web.fields import Paged
from relay.web.problems import Problem
from relay.web.ui import forms
from relay.web.ui.forms import Field, Group
from relay.web.ui.visit import Visit

MOST_DAYS: Final = 36_500
NEW_KEY: Final = Group(
    title="",
    fields=(
        Field(name="name", label="name", required=True, maximum=200, hint="Who or what will use it."),
        Field(name="scope", label="scope", kind="choice",
              options=(("read", "read: see everything but callback URLs"), ("write", "write: make, change, replay"),
                       ("admin", "admin: keys and settings too"))),
        Field(name="days", label="ends", kind="choice",
              options=(("", "never"), ("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year"))),
    ),
)  # fmt: skip


async def page(visit: Visit) -> Response:
    """What is set, and which keys there are."""
    return await _page(visit)


async def _page(visit: Visit, made: NewKeyView | None = None, problem: Problem | None = None) -> Response:
    is_admin = visit.caller.may(Scope.ADMIN)
    listed = Paged[Any](data=[], next_cursor=None)
    if is_admin:
        listed = await visit.ask(api.page, Paged, query=visit.given_query("cursor", "limit"))
    typed = forms.typed(NEW_KEY.fields, visit.form if problem else {})
    return visit.page(
        "settings.html", "Settings", rows=shown(visit.desk.settings) if is_admin else [], keys=listed.data, made=made,
        next_cursor=listed.next_cursor, form=forms.page_of([NEW_KEY], typed, problem), relay_version=relay.__version__,
        status=problem.status if problem else 200,
    )  # fmt: skip


def shown(settings: Settings) -> list[tuple[str, str, bool, str]]:
    """Every setting: variable, value with nothing secret in it, whether it is the default, and what it is."""
    rows: list[tuple[str, str, bool, str]] = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        default = field.get_default(call_default_factory=True, validated_data=dict(settings))
        about = (field.description or "").replace("`", "")
        rows.append((f"RELAY_{name.upper()}", _masked(name, value), value == default, about))
    return rows


def _masked(name: str, value: Any) -> str:
    if value is None or value == ():
        return "–"
    if isinstance(value, Secret):
        return "set, hidden"
    if isinstance(value, tuple) and isinstance(value[0], Secret):
        return f"{len(value)} set, hidden"
    if name == "database_url" and not str(value).startswith("sqlite:"):
        parts = urlsplit(str(value))
        return f"postgresql://{parts.hostname or ''}{parts.path} (the rest is hidden)"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


async def create_key(visit: Visit) -> Response:
    """Make a key and show it, once, in this very answer; or say beside the field what is wrong."""
    body, wrong = forms.read(NEW_KEY.fields, visit.form)
    if days := str(body.pop("days", "")):
        counted = min(int(days), MOST_DAYS) if days.isdecimal() and len(days) <= 5 else None
        body["expires_at"] = days if counted is None else rfc3339(after(visit.now, 86_400 * counted))
    made = forms.unreadable(wrong) if wrong else await forms.outcome(visit.ask(api.create, NewKeyView, body=body))
    if isinstance(made, Problem):
        return await _page(visit, problem=made)
    return await _page(visit, made)


async def revoke_key(visit: Visit) -> Response:
    """Revoke a key. Sessions that were signed in with it are over."""
    await visit.do(api.revoke, id=visit.id)
    return visit.go("/ui/settings", "revoked")
