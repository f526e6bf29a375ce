"""`/v1/subscriptions`: where results go and which ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from relay.clock import Instant
from relay.ids import new_id
from relay.model import SUBSCRIPTION, Scope, Subscription, SubscriptionStatus
from relay.store import breakers, deliveries, subscriptions
from relay.store.breakers import Breaker
from relay.store.rows import Connection, Page
from relay.web import pages
from relay.web.api.subscription_matching import TestAnswer, TestRequest, check_filter, check_request, judge
from relay.web.api.subscription_rules import (
    check_address,
    check_headers,
    check_schedule,
    check_webhook_ids,
    new_secret,
    rotated,
)
from relay.web.api.subscription_views import (
    NewSubscription,
    NewSubscriptionView,
    SecretRotation,
    SubscriptionChange,
    SubscriptionView,
    TestView,
    view_of,
    with_secret,
)
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import (
    NoQuery,
    Nothing,
    Paged,
    PageQuery,
)
from relay.web.problems import conflict, not_found


@endpoint("POST", "/v1/subscriptions", scope=Scope.WRITE, answers={201: NewSubscriptionView}, refusals=(409,))
async def create(call: Call[NoQuery, NewSubscription]) -> Answer:
    """Make a subscription. Its signing secret is in this answer only."""
    given = call.body
    check_filter(given.filter)
    subscription = Subscription(
        id=new_id(SUBSCRIPTION, call.now),
        name=given.name,
        kind=given.kind,
        url=await check_address(call.services, given.kind, given.url),
        webhook_ids=await check_webhook_ids(call.services, given.webhook_ids),
        event_types=None if given.event_types is None else tuple(dict.fromkeys(given.event_types)),
        filter=given.filter,
        format=given.format,
        headers=check_headers(given.headers),
        secrets=(new_secret(given.secret, given.signing),),
        max_in_flight=given.max_in_flight,
        rate_per_second=given.rate_per_second,
        status=SubscriptionStatus.ACTIVE,
        status_reason=None,
        metadata=given.metadata,
        created_at=call.now,
        updated_at=call.now,
        schedule_seconds=check_schedule(given.schedule_seconds),
        timeout_seconds=given.timeout_seconds,
    )
    store = partial(subscriptions.insert, subscription=subscription, seal=call.services.vault.seal)
    made = Answer(201, with_secret(subscription, call.now), {"location": f"/v1/subscriptions/{subscription.id}"})
    answer = await call.write(store, lambda _: made)
    await call.reconfigured()
    return answer


@endpoint("GET", "/v1/subscriptions", scope=Scope.READ, answers={200: Paged[SubscriptionView]})
async def page(call: Call[PageQuery, Nothing]) -> Answer:
    """The subscriptions, newest first."""
    window, unseal = pages.window(call), call.services.vault.unseal

    def read(conn: Connection) -> tuple[Page[Subscription], dict[str, Breaker]]:
        found = subscriptions.page(conn, unseal, window=window)
        return found, breakers.of(conn, [item.id for item in found.items])

    found, failing = await call.services.database.read(read)
    view = partial(_view_among, failing=failing, now=call.now)
    return pages.answer(call, found, lambda item: item.id, view)


def _view_among(subscription: Subscription, failing: dict[str, Breaker], now: Instant) -> SubscriptionView:
    return view_of(subscription, now, failing.get(subscription.id))


@endpoint("GET", "/v1/subscriptions/{id}", scope=Scope.READ, answers={200: SubscriptionView}, prefix=SUBSCRIPTION)
async def show(call: Call[NoQuery, Nothing]) -> Answer:
    """One subscription."""
    subscription = await existing(call)
    failing = await call.services.database.read(partial(breakers.of, subscription_ids=[call.id]))
    return Answer(200, view_of(subscription, call.now, failing.get(call.id)))


@endpoint(
    "PATCH", "/v1/subscriptions/{id}", scope=Scope.WRITE, answers={200: SubscriptionView}, prefix=SUBSCRIPTION,
    refusals=(409,),
)  # fmt: skip
async def change(call: Call[NoQuery, SubscriptionChange]) -> Answer:
    """Change what the body names; deliveries already made are not touched."""
    kind = (await existing(call)).kind
    given = {name: getattr(call.body, name) for name in call.given}
    check_filter(given.get("filter"))
    if "url" in given:
        given["url"] = await check_address(call.services, kind, given["url"])
    if "webhook_ids" in given:
        given["webhook_ids"] = await check_webhook_ids(call.services, given["webhook_ids"])
    if "headers" in given:
        given["headers"] = check_headers(given["headers"])
    if "schedule_seconds" in given:
        given["schedule_seconds"] = check_schedule(given["schedule_seconds"])
    if given.get("event_types") is not None:
        given["event_types"] = tuple(dict.fromkeys(given["event_types"]))
    return await _edit(call, lambda before: replace(before, **given), reset="url" in given)


@endpoint("DELETE", "/v1/subscriptions/{id}", scope=Scope.WRITE, answers={204: None}, prefix=SUBSCRIPTION)
async def delete(call: Call[NoQuery, Nothing]) -> Answer:
    """Delete a subscription: its pending deliveries are cancelled, its secrets erased."""
    await _edit(
        call,
        lambda before: replace(
            before, deleted_at=call.now, status=SubscriptionStatus.DISABLED, secrets=(), headers={},
            previous_secret_until=None, secret_ends=(),
        ),
    )  # fmt: skip
    end_some = partial(deliveries.cancel_some, now=call.now, subscription_id=call.id)
    while await call.services.database.write(end_some):
        pass
    return Answer(204)


@endpoint(
    "POST", "/v1/subscriptions/{id}/rotate-secret", scope=Scope.WRITE, answers={200: NewSubscriptionView},
    prefix=SUBSCRIPTION, refusals=(409,),
)  # fmt: skip
async def rotate_secret(call: Call[NoQuery, SecretRotation]) -> Answer:
    """A new signing secret; the old one signs too for `overlap_seconds`, an older one until its own overlap is over."""
    given = call.body
    if given.signing is not None:
        secret = new_secret(given.secret, given.signing)
        return await _edit(call, lambda before: rotated(before, secret, given.overlap_seconds, call.now), with_secret)

    def edit(before: Subscription) -> Subscription:
        return rotated(before, new_secret(given.secret, before.signing), given.overlap_seconds, call.now)

    return await _edit(call, edit, with_secret)


@endpoint(
    "POST", "/v1/subscriptions/{id}/pause", scope=Scope.WRITE, answers={200: SubscriptionView}, prefix=SUBSCRIPTION,
    refusals=(409,),
)  # fmt: skip
async def pause(call: Call[NoQuery, Nothing]) -> Answer:
    """Keep deliveries waiting until it is resumed."""

    def edit(before: Subscription) -> Subscription:
        if before.status is SubscriptionStatus.DISABLED:
            raise conflict("subscription_disabled", "The subscription is disabled: its deliveries wait already.")
        return replace(before, status=SubscriptionStatus.PAUSED)

    return await _edit(call, edit)


@endpoint(
    "POST", "/v1/subscriptions/{id}/resume", scope=Scope.WRITE, answers={200: SubscriptionView}, prefix=SUBSCRIPTION,
    refusals=(409,),
)  # fmt: skip
async def resume(call: Call[NoQuery, Nothing]) -> Answer:
    """Send what waited while it was paused; a breaker that is open is closed."""

    def edit(before: Subscription) -> Subscription:
        if before.status is SubscriptionStatus.DISABLED:
            raise conflict("subscription_disabled", "The subscription is disabled, not paused: enable it.")
        return replace(before, status=SubscriptionStatus.ACTIVE)

    return await _edit(call, edit, reset=True)


@endpoint(
    "POST", "/v1/subscriptions/{id}/enable", scope=Scope.WRITE, answers={200: SubscriptionView}, prefix=SUBSCRIPTION
)
async def enable(call: Call[NoQuery, Nothing]) -> Answer:
    """Take it up again after it was disabled (a 410, days of failures), close its breaker, send what waited."""

    def edit(before: Subscription) -> Subscription:
        return replace(before, status=SubscriptionStatus.ACTIVE, status_reason=None)

    return await _edit(call, edit, reset=True)


@endpoint(
    "POST", "/v1/subscriptions/{id}/test", scope=Scope.WRITE, answers={200: TestAnswer}, prefix=SUBSCRIPTION,
    refusals=(409,),
)  # fmt: skip
async def test(call: Call[NoQuery, TestRequest]) -> Answer:
    """Send one signed test message now and say what the subscriber answered. It is not stored.

    With a `result_id` nothing is sent: the answer says whether the subscription would get that result, and why not.
    """
    check_request(call.body, call.given)
    subscription = await existing(call)
    if call.body.result_id is not None:
        return Answer(200, TestAnswer(await judge(call, subscription, call.body.result_id)))
    if subscription.kind == "pull":
        raise conflict("not_a_push_subscription", "Nothing is sent to this subscription: it takes its messages.")
    attempt = await call.services.tester.test(subscription)
    delivered = attempt.error_code is None and attempt.http_status is not None and 200 <= attempt.http_status < 300
    view = TestView(
        message_id=attempt.owner_id,
        delivered=delivered,
        http_status=attempt.http_status,
        error_code=attempt.error_code,
        duration_ms=attempt.duration_ms,
        response_excerpt=attempt.response_excerpt,
    )
    return Answer(200, TestAnswer(view))


def _there(found: Subscription | None) -> Subscription:
    if found is None or found.deleted_at is not None:
        raise not_found("subscription")
    return found


async def existing(call: Call[Any, Any]) -> Subscription:
    """The subscription that the path names. Raises Problem 404."""
    find = partial(subscriptions.get, id=call.id, unseal=call.services.vault.unseal)
    return _there(await call.services.database.read(find))


async def _edit(
    call: Call[Any, Any],
    edit: Callable[[Subscription], Subscription],
    view: Callable[[Subscription, Instant, Breaker | None], SubscriptionView] = view_of,
    *,
    reset: bool = False,
) -> Answer:
    """Read, change and store in one transaction: the pipeline changes subscriptions too. `reset`: it is healthy."""
    vault = call.services.vault

    def effect(conn: Connection) -> tuple[Subscription, Breaker | None]:
        before = _there(subscriptions.get(conn, call.id, vault.unseal, lock=True))
        changed = replace(edit(before), updated_at=call.now)
        subscriptions.update(conn, changed, vault.seal)
        if reset or changed.deleted_at is not None:
            breakers.clear(conn, call.id)
        return changed, breakers.of(conn, [call.id]).get(call.id)

    def answer(stored: tuple[Subscription, Breaker | None]) -> Answer:
        changed, breaker = stored
        return Answer(204) if changed.deleted_at is not None else Answer(200, view(changed, call.now, breaker))

    made = await call.write(effect, answer)
    await call.reconfigured()
    return made
