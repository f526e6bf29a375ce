"""`/v1/events`: what Relay had to say about itself. Those who name its type in `event_types` are sent it."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from relay.model import EVENT, Scope
from relay.store import events
from relay.store.events import Event
from relay.web import pages
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import CreatedQuery, NoQuery, Nothing, Paged, Text, Time, View
from relay.web.problems import not_found

OperationType = Literal["job.expiring", "subscription.disabled"]


class EventQuery(CreatedQuery):
    """Which events."""

    type: Annotated[tuple[OperationType, ...], Field(description="One or more, separated by commas.")] = ()
    subject_id: Annotated[Text | None, Field(description="The job or the subscription.")] = None


class EventView(View):
    """Something that happened to Relay itself."""

    id: Annotated[str, Field(description="The `webhook-id` of its deliveries.")]
    type: OperationType
    subject_id: str
    data: dict[str, Any]
    created_at: Time


def view_of(event: Event) -> EventView:
    """The event as it goes out."""
    shown = {"id": event.id, "type": event.type, "subject_id": event.subject_id, "data": dict(event.data)}
    return EventView.model_validate({**shown, "created_at": event.created_at})


@endpoint("GET", "/v1/events", scope=Scope.READ, answers={200: Paged[EventView]})
async def page(call: Call[EventQuery, Nothing]) -> Answer:
    """The events, newest first."""
    query = call.query
    read = partial(events.page, type=query.type, subject_id=query.subject_id, window=pages.window(call))
    return pages.answer(call, await call.services.database.read(read), lambda item: item.id, view_of)


@endpoint("GET", "/v1/events/{id}", scope=Scope.READ, answers={200: EventView}, prefix=EVENT)
async def show(call: Call[NoQuery, Nothing]) -> Answer:
    """One event."""
    found = await call.services.database.read(partial(events.get, id=call.id))
    if found is None:
        raise not_found("event")
    return Answer(200, view_of(found))
