"""`/v1/webhooks/{id}/captures`: what a webhook's provider really sends, for people who write profiles."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field

from relay.model import WEBHOOK, Scope
from relay.store import captures, webhooks
from relay.store.captures import Capture
from relay.store.rows import Connection
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import NoQuery, Nothing, Time, View
from relay.web.problems import not_found


class CaptureView(View):
    """The first message of one shape."""

    kind: Annotated[str, Field(description="`notification`, or an answer: `pending`, `completed`, `failed`, …")]
    shape: Annotated[str, Field(description="Equal for messages with the same names and types.")]
    http_status: Annotated[int | None, Field(description="Of an answer; null for a notification.")]
    content_type: str | None
    excerpt: Annotated[str, Field(description="At most 4 KiB, without secrets; long texts are cut.")]
    job_id: str | None
    captured_at: Time


class CapturesView(View):
    """All that are kept, by kind and age. There is no further page."""

    data: list[CaptureView]
    next_cursor: None = None


def view_of(capture: Capture) -> CaptureView:
    """The capture as it goes out."""
    return CaptureView(
        kind=capture.kind,
        shape=capture.shape,
        http_status=capture.http_status,
        content_type=capture.content_type,
        excerpt=capture.excerpt,
        job_id=capture.job_id,
        captured_at=capture.captured_at,
    )


@endpoint("GET", "/v1/webhooks/{id}/captures", scope=Scope.WRITE, answers={200: CapturesView}, prefix=WEBHOOK)
async def list_captures(call: Call[NoQuery, Nothing]) -> Answer:
    """The first notifications and answers of each shape, twenty at most, with secrets taken out."""
    find = partial(webhooks.get, id=call.id, unseal=call.services.vault.unseal)

    def read(conn: Connection) -> list[Capture]:
        webhook = find(conn)
        if webhook is None or webhook.deleted_at is not None:
            raise not_found("webhook")
        return captures.of(conn, call.id)

    found = await call.services.database.read(read)
    return Answer(200, CapturesView(data=[view_of(item) for item in found]))
