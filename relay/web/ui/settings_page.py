"""Settings as they are, secrets masked; API keys to make and revoke."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response

import relay
from relay.model import Scope, Secret
from relay.settings import Settings
from relay.web.api import keys as api
from relay.web.api.keys import NewKeyView
from relay.web.fields import Paged
from relay.web.ui.visit import Visit


async def page(visit: Visit) -> Response:
    """What is set, and which keys there are."""
    return await _page(visit)


async def _page(visit: Visit, made: NewKeyView | None = None) -> Response:
    is_admin = visit.caller.may(Scope.ADMIN)
    listed: list[Any] = []
    if is_admin:
        listed = (await visit.ask(api.page, Paged, query=visit.given_query("cursor"))).data
    return visit.page(
        "settings.html", "Settings", rows=shown(visit.desk.settings) if is_admin else [], keys=listed, made=made,
        relay_version=relay.__version__,
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
    """Make a key and show it, once, in this very answer."""
    body = {"name": visit.field("name"), "scope": visit.field("scope")}
    made = await visit.ask(api.create, NewKeyView, body=body)
    return await _page(visit, made)


async def revoke_key(visit: Visit) -> Response:
    """Revoke a key. Sessions that were signed in with it are over."""
    await visit.do(api.revoke, id=visit.id)
    return visit.go("/ui/settings", "revoked")
