"""`/v1/subscriptions/{id}/missing`: what a subscriber does not have."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final, Literal

from pydantic import Field

from relay.clock import Instant
from relay.model import SUBSCRIPTION, DeliveryStatus, Scope
from relay.store import lacking
from relay.store.lacking import Standing
from relay.web import pages
from relay.web.api.subscriptions import existing
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import FinalStatusType, GivenTime, Nothing, Paged, PageQuery, Time, View

_TELLING: Final = (DeliveryStatus.PENDING, DeliveryStatus.EXHAUSTED, DeliveryStatus.CANCELLED)


class MissingQuery(PageQuery):
    """Since when."""

    since: Annotated[GivenTime | None, Field(description="Only results stored at this time or later.")] = None


class MissingView(View):
    """A result that the subscription wants and does not have."""

    result_id: str
    type: FinalStatusType
    job_id: str
    webhook_id: str
    fetched_at: Time
    size_bytes: int | None
    delivery_status: Annotated[
        Literal["none", "pending", "exhausted", "cancelled"],
        Field(description="`none`: there never was a delivery, for example because the subscription is younger."),
    ]


@endpoint("GET", "/v1/subscriptions/{id}/missing", scope=Scope.READ, answers={200: Paged[MissingView]},
          prefix=SUBSCRIPTION)  # fmt: skip
async def page(call: Call[MissingQuery, Nothing]) -> Answer:
    """What the subscription wants and does not have, newest first.

    A page may hold fewer than `limit`, even none, while more follow. A replay of `{"filter": {"created_after": since},
    "subscription_ids": [id]}` delivers all of it that is not pending, one by `result_ids` some of it.
    """
    subscription = await existing(call)
    window = pages.window(call)
    scan = partial(
        lacking.scan,
        subscription_id=subscription.id,
        webhook_ids=subscription.webhook_ids,
        since=None if call.query.since is None else Instant(call.query.since),
        before_id=window.before_id,
    )
    scanned = await call.services.database.read(scan)
    lacks = [item for item in scanned.items if DeliveryStatus.DELIVERED not in item.statuses]
    wanted = {each.id for each in await call.services.replayer.wanted(subscription, [item.result for item in lacks])}
    lacks = [item for item in lacks if item.result.id in wanted]
    shown = lacks[: window.limit]
    if len(lacks) > len(shown):
        return pages.after(call, shown, shown[-1].result.id, _view)
    return pages.after(call, shown, scanned.items[-1].result.id if scanned.more else None, _view)


def _view(item: Standing) -> MissingView:
    status = next((each for each in _TELLING if each in item.statuses), None)
    return MissingView.model_validate(
        {
            "result_id": item.result.id,
            "type": item.result.type,
            "job_id": item.result.job_id,
            "webhook_id": item.result.webhook_id,
            "fetched_at": item.result.fetched_at,
            "size_bytes": item.result.size_bytes,
            "delivery_status": "none" if status is None else status.value,
        }
    )
