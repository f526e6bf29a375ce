"""What to send to a provider, as a command: through Relay, or straight to it with the callback URL put in."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from relay.frozen import frozen
from relay.providers.profile import Auth, Profile
from relay.providers.submit import Insert, Submission
from relay.web.api.webhook_views import WebhookView

CALLBACK: Final = "{callback_url}"
KEY: Final = '-H "authorization: Bearer $RELAY_API_KEY"'


@frozen(kw_only=True)
class Snippets:
    """Commands for the first kind of call that starts a job."""

    through: str
    direct: str | None  # None where the callback URL is hidden, or does not go into a request


def snippets(profile: Profile | None, webhook: WebhookView, relay_url: str) -> Snippets | None:
    """None where nothing is submitted."""
    if profile is None or profile.submit is None or not profile.submit.jobs:
        return None
    submission = profile.submit.jobs[0]
    call = submission.calls[0]
    path = _path(call.pattern, webhook.parameters)
    through = _command(call.method, f"{relay_url}/submit/{webhook.id}{path}", [KEY], {"…": "what the provider takes"})
    return Snippets(through=through, direct=_direct(profile, submission, webhook, path))


def _direct(profile: Profile, submission: Submission, webhook: WebhookView, path: str) -> str | None:
    base = webhook.base_url or profile.base_url or (webhook.origins[0] if webhook.origins else None)
    inserts = [one for one in submission.inserts if one.only != "with_secret"]
    if webhook.callback_url is None or base is None or CALLBACK not in str([one.value for one in inserts]):
        return None
    if any(one.base64 for one in inserts):
        return None  # it would be a riddle, not an example
    body: dict[str, Any] = {}
    query: list[str] = []
    for one in inserts:
        value = _with(one.value, webhook.callback_url)
        if one.into == "query":
            query.append(f"{one.at[0]}={quote(str(value), safe='')}")
        else:
            _put(body, one, value)
    url = f"{base}{path}" + ("?" + "&".join(query) if query else "")
    return _command(submission.calls[0].method, url, _shown(profile.auth), body | {"…": "your own fields"})


def _with(value: Any, callback_url: str) -> Any:
    if isinstance(value, str):
        return value.replace(CALLBACK, callback_url)
    if isinstance(value, Mapping):
        return {name: _with(inner, callback_url) for name, inner in value.items()}
    return [_with(inner, callback_url) for inner in value] if isinstance(value, list | tuple) else value


def _put(body: dict[str, Any], insert: Insert, value: Any) -> None:
    *steps, last = insert.at
    for step in steps:
        body = body.setdefault(step, {})
    body[last] = value


def _shown(auth: Auth) -> list[str]:
    if auth.kind == "none":
        return []
    if auth.kind == "basic":
        return ['-u "$USERNAME:$PASSWORD"']
    prefix = "Bearer " if auth.kind == "bearer" else auth.value_prefix
    return [f'-H "{auth.header.lower()}: {prefix}$API_KEY"']


def _command(method: str, url: str, options: list[str], body: Mapping[str, Any]) -> str:
    given = shlex.quote(json.dumps(body, ensure_ascii=False))
    head = f"curl -X {method} {shlex.quote(url)}"
    return " \\\n  ".join([head, *options, "-H 'content-type: application/json'", f"-d {given}"])


def _path(pattern: str, parameters: Mapping[str, str]) -> str:
    for name, value in parameters.items():
        pattern = pattern.replace("{" + name + "}", quote(value, safe=""))
    return pattern.replace("**", "…").replace("*", "…")
