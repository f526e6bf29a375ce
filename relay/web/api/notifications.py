"""`/v1/notifications`: inbound calls as they were received."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field

from relay.model import NOTIFICATION, Notification, NotificationStatus, Scope
from relay.pipeline.outcomes import Refused
from relay.store import notifications
from relay.web import pages
from relay.web.api.actions import refuse
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import CreatedQuery, JobId, NoQuery, Nothing, Paged, Time, View, WebhookId
from relay.web.problems import not_found


class NotificationQuery(CreatedQuery):
    """Which notifications."""

    webhook_id: WebhookId | None = None
    job_id: JobId | None = None
    status: Annotated[tuple[NotificationStatus, ...], Field(description="One or more, separated by commas.")] = ()


class NotificationView(View):
    """One inbound call."""

    id: str
    webhook_id: str
    job_id: str | None
    status: NotificationStatus
    reason: str | None
    method: str
    suffix: str
    content_type: str | None
    body_bytes: int
    received_at: Time


def view_of(notification: Notification) -> NotificationView:
    """The notification as it goes out. Not its query and headers: providers put secrets there."""
    return NotificationView(
        id=notification.id,
        webhook_id=notification.webhook_id,
        job_id=notification.job_id,
        status=notification.status,
        reason=notification.reason,
        method=notification.method,
        suffix=notification.suffix,
        content_type=notification.content_type,
        body_bytes=notification.body_size,
        received_at=notification.received_at,
    )


@endpoint("GET", "/v1/notifications", scope=Scope.READ, answers={200: Paged[NotificationView]})
async def page(call: Call[NotificationQuery, Nothing]) -> Answer:
    """The notifications, newest first."""
    query = call.query
    read = partial(
        notifications.page, webhook_id=query.webhook_id, job_id=query.job_id, status=query.status,
        window=pages.window(call),
    )  # fmt: skip
    return pages.answer(call, await call.services.database.read(read), lambda item: item.id, view_of)


@endpoint("GET", "/v1/notifications/{id}", scope=Scope.READ, answers={200: NotificationView}, prefix=NOTIFICATION)
async def show(call: Call[NoQuery, Nothing]) -> Answer:
    """One notification."""
    found = await call.services.database.read(partial(notifications.get, id=call.id))
    if found is None:
        raise not_found("notification")
    return Answer(200, view_of(found))


@endpoint(
    "POST", "/v1/notifications/{id}/reprocess", scope=Scope.WRITE, answers={200: NotificationView},
    prefix=NOTIFICATION, refusals=(409,),
)  # fmt: skip
async def reprocess(call: Call[NoQuery, Nothing]) -> Answer:
    """Verify and read a stored notification anew, with the webhook and profile as they are now."""
    outcome = await call.services.receiver.reprocess(call.id)
    if outcome is None:
        raise not_found("notification")
    if isinstance(outcome, Refused):
        raise refuse(outcome)
    call.services.waker.jobs_due()
    return Answer(200, view_of(outcome))
