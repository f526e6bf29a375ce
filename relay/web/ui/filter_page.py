"""Trying a filter on the latest stored results before it decides about real deliveries."""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.responses import Response

from relay.clock import Instant
from relay.ids import lowest_id
from relay.model import RESULT
from relay.web.api import results as result_api
from relay.web.api import subscriptions as api
from relay.web.api.results import ResultView
from relay.web.api.subscription_matching import MatchView, TestAnswer
from relay.web.api.subscription_views import SubscriptionView
from relay.web.fields import Paged
from relay.web.problems import Problem
from relay.web.ui.visit import Visit

LATEST: Final = "20"
NO_RESULT: Final = lowest_id(RESULT, Instant(0))


async def show(visit: Visit) -> Response:
    """Which of the latest results the subscription would get with this filter, and what says no to the others."""
    subscription = await visit.ask(api.show, SubscriptionView, id=visit.id)
    own = json.dumps(subscription.filter, ensure_ascii=False) if subscription.filter is not None else ""
    text = visit.request.query_params.get("filter", own)
    judged: list[tuple[ResultView, MatchView]] = []
    problem = None
    try:
        judged = await _judge(visit, _read(text))
    except Problem as error:
        problem = error
    return visit.page(
        "filter.html", f"Filter of {subscription.name}", status=200 if problem is None else problem.status,
        subscription=subscription, text=text, judged=judged, problem=problem,
        matching=sum(view.matches for _, view in judged),
    )  # fmt: skip


def _read(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Problem(400, "malformed_json", "The filter is not valid JSON.") from None


async def _judge(visit: Visit, filter: Any) -> list[tuple[ResultView, MatchView]]:
    latest = (await visit.ask(result_api.page, Paged, query=[("limit", LATEST)])).data
    made: list[tuple[ResultView, MatchView]] = []
    for result in latest:
        body = {"result_id": result.id, "filter": filter}
        answer = (await visit.ask(api.test, TestAnswer, id=visit.id, body=body)).root
        assert isinstance(answer, MatchView)
        made.append((result, answer))
    if not made:
        await _check(visit, filter)
    return made


async def _check(visit: Visit, filter: Any) -> None:
    """Find out what is wrong with a filter that there is no result to try on. Raises Problem."""
    try:
        await visit.ask(api.test, TestAnswer, id=visit.id, body={"result_id": NO_RESULT, "filter": filter})
    except Problem as error:
        if error.status != 404:  # it has been read before the result is looked for
            raise
