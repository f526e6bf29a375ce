"""Keyset pages: a signed cursor that is good for the very list it was given out for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from relay.clock import Instant
from relay.store.rows import Page, Window
from relay.web.endpoint import Answer, Call
from relay.web.fields import CreatedQuery, Paged, PageQuery
from relay.web.problems import Problem, Wrong

T = TypeVar("T")
V = TypeVar("V")

_PLACE: Final = {"limit", "cursor"}


def window(call: Call[Any, Any]) -> Window:
    """The part of the list that the call asks for. Raises Problem 400 for a cursor that is not of this list."""
    query: PageQuery = call.query
    before_id = None
    if query.cursor is not None:
        before_id = call.services.cursors.read(query.cursor, _fingerprint(call))
        if before_id is None:
            wrong = Wrong("is not a cursor of this list", "invalid_cursor", parameter="cursor")
            raise Problem(400, "invalid_parameter", "The query is not valid: cursor", [wrong])
    bounds = (query.created_after, query.created_before) if isinstance(query, CreatedQuery) else (None, None)
    return Window(
        limit=query.limit,
        before_id=before_id,
        created_after=None if bounds[0] is None else Instant(bounds[0]),
        created_before=None if bounds[1] is None else Instant(bounds[1]),
    )


def answer(call: Call[Any, Any], page: Page[T], id_of: Callable[[T], str], view: Callable[[T], V]) -> Answer:
    """The page as it goes out."""
    return after(call, page.items, id_of(page.items[-1]) if page.more else None, view)


def after(call: Call[Any, Any], items: Sequence[T], last_id: str | None, view: Callable[[T], V]) -> Answer:
    """Items as a page that the rows below `last_id` follow (None: nothing follows)."""
    cursor = None if last_id is None else call.services.cursors.mint(last_id, _fingerprint(call))
    return Answer(200, Paged[Any](data=[view(item) for item in items], next_cursor=cursor))


def _fingerprint(call: Call[Any, Any]) -> str:
    query: PageQuery = call.query
    return f"{call.request.url.path}?{query.model_dump_json(exclude=_PLACE)}"
