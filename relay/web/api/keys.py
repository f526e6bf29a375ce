"""`/v1/keys`: management keys. The text of a key is shown once, when it is made."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import ConfigDict, Field

from relay.clock import Instant
from relay.ids import new_id
from relay.model import KEY, ApiKey, Scope
from relay.signing import api_keys
from relay.store import keys
from relay.web import pages
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import GivenTime, Name, NoQuery, Nothing, Paged, PageQuery, Request, Time, View
from relay.web.problems import not_found, unprocessable


class NewKey(Request):
    """A key to be made."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "dashboard", "scope": "read"}]})

    name: Name
    scope: Annotated[Scope, Field(description="`read` < `write` < `admin`.")] = Scope.READ
    expires_at: GivenTime | None = None


class KeyView(View):
    """A management key, without its text."""

    id: str
    name: str
    scope: Scope
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None


class NewKeyView(KeyView):
    """A key that was just made, with its text."""

    key: Annotated[str, Field(description="The key. It is not shown again.")]


def view_of(key: ApiKey) -> KeyView:
    """The key as it goes out."""
    return KeyView(
        id=key.id,
        name=key.name,
        scope=key.scope,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
    )


@endpoint("POST", "/v1/keys", scope=Scope.ADMIN, answers={201: NewKeyView})
async def create(call: Call[NoQuery, NewKey]) -> Answer:
    """Make a key. Its text is in this answer and nowhere else."""
    expires_at = None if call.body.expires_at is None else Instant(call.body.expires_at)
    if expires_at is not None and expires_at <= call.now:
        raise unprocessable("#/expires_at", "is not in the future", "in_the_past")
    id = new_id(KEY, call.now)
    text = api_keys.generate(id)
    key = ApiKey(
        id=id,
        name=call.body.name,
        scope=call.body.scope,
        sha256=api_keys.digest(text.reveal()),
        created_at=call.now,
        expires_at=expires_at,
    )
    made = NewKeyView(**dict(view_of(key)), key=text.reveal())
    answer = await call.write(
        partial(keys.insert, key=key), lambda _: Answer(201, made, {"location": f"/v1/keys/{key.id}"})
    )
    await call.reconfigured()
    return answer


@endpoint("GET", "/v1/keys", scope=Scope.ADMIN, answers={200: Paged[KeyView]})
async def page(call: Call[PageQuery, Nothing]) -> Answer:
    """The keys, newest first."""
    found = await call.services.database.read(partial(keys.page, window=pages.window(call)))
    return pages.answer(call, found, lambda item: item.id, view_of)


@endpoint("GET", "/v1/keys/{id}", scope=Scope.ADMIN, answers={200: KeyView}, prefix=KEY)
async def show(call: Call[NoQuery, Nothing]) -> Answer:
    """One key."""
    found = await call.services.database.read(partial(keys.get, id=call.id))
    if found is None:
        raise not_found("key")
    return Answer(200, view_of(found))


@endpoint("DELETE", "/v1/keys/{id}", scope=Scope.ADMIN, answers={204: None}, prefix=KEY)
async def revoke(call: Call[NoQuery, Nothing]) -> Answer:
    """Revoke a key. It stays in the list, with the time of its end."""
    if await call.services.database.write(partial(keys.revoke, id=call.id, now=call.now)) is None:
        raise not_found("key")
    await call.reconfigured()
    return Answer(204)
