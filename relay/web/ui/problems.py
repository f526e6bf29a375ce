"""Failures that look alike, each group with what can be done about it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from starlette.responses import Response

from relay.ids import instant_of
from relay.model import Scope
from relay.store import glance
from relay.store.glance import Trouble
from relay.web.api import replays as replay_api
from relay.web.api.replays import DryRunView, ReplayView
from relay.web.auth import demand
from relay.web.problems import Problem
from relay.web.ui.visit import Visit

KINDS: Final = {
    "delivery": "delivery exhausted",
    "retrying": "delivery retrying",
    "result": "result",
    "fetch": "fetch failing",
    "notification": "notification",
}


async def page(visit: Visit) -> Response:
    """The newest failures in groups."""
    found, complete = await visit.services.database.read(glance.troubles)
    rows = [
        (item, KINDS[item.kind], instant_of(item.first_id), instant_of(item.last_id), key_of(item)) for item in found
    ]
    replayable = any(item.kind == "delivery" for item in found)
    return visit.page(
        "problems.html", "Problems", rows=rows, complete=complete, latest=glance.LATEST, replayable=replayable
    )


def key_of(item: Trouble) -> str:
    """What a group is called in a form: its error is a stranger's text, and may be long."""
    return f"{item.target_id}.{hashlib.sha256(item.error.encode('utf-8', 'replace')).hexdigest()[:16]}"


async def selected(visit: Visit) -> Response:
    """How many results the selected groups are, and the button: a replay for each of them."""
    demand(visit.caller, Scope.WRITE)
    wanted = set(visit.form.get("groups", ()))
    found, _ = await visit.services.database.read(glance.troubles)
    chosen = [item for item in found if item.kind == "delivery" and key_of(item) in wanted]
    if not chosen:
        raise Problem(422, "nothing_selected", "Nothing is selected, or it is gone: somebody was faster.")
    groups = []
    for item in chosen:
        tried = await visit.ask(
            replay_api.start, DryRunView, body=_body(item.target_id, item.result_ids) | {"dry_run": True}
        )
        groups.append((item, tried.count, ",".join((item.target_id, *item.result_ids))))
    return visit.page("problems_replay.html", "Replay", groups=groups, total=sum(count for _, count, _ in groups))


async def replay(visit: Visit) -> Response:
    """Start a replay for each group: exactly the results that were counted."""
    demand(visit.caller, Scope.WRITE)
    groups = [text.split(",") for text in visit.form.get("group", ())]
    if not groups:
        raise Problem(422, "nothing_selected", "Nothing is selected.")
    for target_id, *result_ids in groups:
        await visit.ask(replay_api.start, ReplayView, body=_body(target_id, result_ids))
    return visit.go("/ui/replays", "replays_started")


def _body(subscription_id: str, result_ids: Sequence[str]) -> dict[str, object]:
    return {"filter": {"result_ids": list(result_ids)}, "subscription_ids": [subscription_id]}
