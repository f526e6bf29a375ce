"""`/v1/webhooks`: registered inbound addresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from relay.clock import after
from relay.ids import new_id
from relay.model import WEBHOOK, Scope, Webhook, WebhookStatus
from relay.store import webhooks
from relay.store.rows import Connection
from relay.web import pages
from relay.web.api.notifications import NotificationView
from relay.web.api.notifications import view_of as notification_view
from relay.web.api.webhook_rules import (
    check_credentials,
    check_parameters,
    check_verification,
    profile_of,
    read_origins,
)
from relay.web.api.webhook_views import NewWebhook, Rotation, WebhookChange, WebhookView, view_of
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import (
    NoQuery,
    Nothing,
    Paged,
    PageQuery,
)
from relay.web.problems import conflict, not_found


@endpoint("POST", "/v1/webhooks", scope=Scope.WRITE, answers={201: WebhookView}, refusals=(409,))
async def create(call: Call[NoQuery, NewWebhook]) -> Answer:
    """Register a webhook. It gives a callback URL to hand to the provider."""
    given = call.body
    profile = profile_of(call.services.profiles, given.provider)
    webhook = Webhook(
        id=new_id(WEBHOOK, call.now),
        name=given.name,
        provider=profile.name,
        credentials=check_credentials(profile, given.credentials or {}),
        verification=check_verification(profile, given.verification or {}),
        parameters=check_parameters(profile, given.parameters),
        status=WebhookStatus.ACTIVE,
        generation=0,
        previous_valid_until=None,
        created_at=call.now,
        updated_at=call.now,
        **read_origins(given.origins, given.base_url),
        **_plain(given, frozenset(NewWebhook.model_fields)),
    )
    store = partial(webhooks.insert, webhook=webhook, seal=call.services.vault.seal)
    made = Answer(201, _shown(call, webhook), {"location": f"/v1/webhooks/{webhook.id}"})
    answer = await call.write(store, lambda _: made)
    await call.reconfigured()
    return answer


@endpoint("GET", "/v1/webhooks", scope=Scope.READ, answers={200: Paged[WebhookView]})
async def page(call: Call[PageQuery, Nothing]) -> Answer:
    """The webhooks, newest first."""
    read = partial(webhooks.page, unseal=call.services.vault.unseal, window=pages.window(call))
    found = await call.services.database.read(read)
    return pages.answer(call, found, lambda item: item.id, lambda item: _shown(call, item))


@endpoint("GET", "/v1/webhooks/{id}", scope=Scope.READ, answers={200: WebhookView}, prefix=WEBHOOK)
async def show(call: Call[NoQuery, Nothing]) -> Answer:
    """One webhook."""
    return Answer(200, _shown(call, await _existing(call)))


@endpoint("PATCH", "/v1/webhooks/{id}", scope=Scope.WRITE, answers={200: WebhookView}, prefix=WEBHOOK, refusals=(409,))
async def change(call: Call[NoQuery, WebhookChange]) -> Answer:
    """Change what the body names. New credentials are tried at once on what waited for them."""
    given, names = call.body, call.given
    profile = profile_of(call.services.profiles, (await _existing(call)).provider)
    changes: dict[str, Any] = _plain(given, names)
    if "name" in names:
        changes["name"] = given.name
    if "credentials" in names:
        changes["credentials"] = check_credentials(profile, given.credentials or {})
    if "verification" in names:
        changes["verification"] = check_verification(profile, given.verification or {})
    if "parameters" in names:
        changes["parameters"] = check_parameters(profile, given.parameters)
    urls = read_origins(given.origins, given.base_url)
    changes |= {name: value for name, value in urls.items() if name in names}

    def edit(before: Webhook) -> Webhook:
        renewed = "credentials" in names and before.status is WebhookStatus.CREDENTIALS_REJECTED
        return replace(before, **changes, status=WebhookStatus.ACTIVE if renewed else before.status)

    answer = await _edit(call, edit)
    if "credentials" in names:
        await call.services.tracker.credentials_changed(call.id)
    return answer


@endpoint("DELETE", "/v1/webhooks/{id}", scope=Scope.WRITE, answers={204: None}, prefix=WEBHOOK)
async def delete(call: Call[NoQuery, Nothing]) -> Answer:
    """Delete a webhook: callbacks get 410, jobs under way finish, then the credentials are erased."""
    await _edit(call, lambda before: replace(before, deleted_at=call.now, status=WebhookStatus.DISABLED))
    return Answer(204)


@endpoint("POST", "/v1/webhooks/{id}/rotate", scope=Scope.WRITE, answers={200: WebhookView}, prefix=WEBHOOK)
async def rotate(call: Call[NoQuery, Rotation]) -> Answer:
    """A new callback URL; the old one stays valid for `overlap_seconds`."""
    overlap = call.body.overlap_seconds
    until = after(call.now, overlap) if overlap else None
    return await _edit(call, lambda it: replace(it, generation=it.generation + 1, previous_valid_until=until))


@endpoint("POST", "/v1/webhooks/{id}/disable", scope=Scope.WRITE, answers={200: WebhookView}, prefix=WEBHOOK)
async def disable(call: Call[NoQuery, Nothing]) -> Answer:
    """Callbacks get 410 until it is enabled; jobs under way finish."""
    return await _edit(call, lambda before: replace(before, status=WebhookStatus.DISABLED))


@endpoint("POST", "/v1/webhooks/{id}/enable", scope=Scope.WRITE, answers={200: WebhookView}, prefix=WEBHOOK)
async def enable(call: Call[NoQuery, Nothing]) -> Answer:
    """Take callbacks again, and fetch at once what waited for working credentials."""
    answer = await _edit(call, lambda before: replace(before, status=WebhookStatus.ACTIVE))
    await call.services.tracker.credentials_changed(call.id)
    return answer


@endpoint(
    "POST", "/v1/webhooks/{id}/test", scope=Scope.WRITE, answers={200: NotificationView}, prefix=WEBHOOK,
    refusals=(409,),
)  # fmt: skip
async def test(call: Call[NoQuery, Nothing]) -> Answer:
    """Take a test notification through the intake: it is stored as `ignored` and makes no job."""
    webhook = await _existing(call)
    if webhook.status is WebhookStatus.DISABLED:
        raise conflict("webhook_disabled", "The webhook is disabled: callbacks get 410.")
    return Answer(200, notification_view(await call.services.receiver.test(webhook)))


def _shown(call: Call[Any, Any], webhook: Webhook) -> WebhookView:
    return view_of(call.services, webhook, with_url=call.caller.may(Scope.WRITE))


async def _existing(call: Call[Any, Any]) -> Webhook:
    find = partial(webhooks.get, id=call.id, unseal=call.services.vault.unseal)
    return _there(await call.services.database.read(find))


def _there(found: Webhook | None) -> Webhook:
    if found is None or found.deleted_at is not None:
        raise not_found("webhook")
    return found


async def _edit(call: Call[Any, Any], edit: Callable[[Webhook], Webhook]) -> Answer:
    """Read, change and store in one transaction: the pipeline changes webhooks too."""
    vault = call.services.vault

    def effect(conn: Connection) -> Webhook:
        before = _there(webhooks.get(conn, call.id, vault.unseal, lock=True))
        changed = replace(edit(before), updated_at=call.now)
        webhooks.update(conn, changed, vault.seal)
        return changed

    answer = await call.write(effect, lambda changed: Answer(200, _shown(call, changed)))
    await call.reconfigured()
    return answer


def _plain(given: NewWebhook | WebhookChange, names: frozenset[str]) -> dict[str, Any]:
    """The fields that are stored as they came, of those named."""
    fields = {
        "retention_seconds": given.retention_seconds,
        "retention_days": given.retention_days,
        "retention_bytes": given.retention_bytes,
        "poll_seconds": None if given.poll_seconds is None else tuple(given.poll_seconds),
        "fetch_max_in_flight": given.fetch_max_in_flight,
        "fetch_rate_per_second": given.fetch_rate_per_second,
        "notification_rate_per_second": given.notification_rate_per_second,
        "untracked": given.untracked,
        "metadata": given.metadata,
    }
    return {name: value for name, value in fields.items() if name in names}
