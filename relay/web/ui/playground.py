"""The playground: a whole life cycle between stand-ins, for who has no provider yet.

What it makes goes through the endpoints of the API as everything does here, as the person who is signed in; only the
call that starts a job goes to the submitter directly, because the endpoint for it wants a key in a header.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from relay.model import Scope, Secret, Subscription, SubscriptionStatus, Webhook
from relay.pipeline.calls import ClientCall, Rejected
from relay.web.api import jobs as job_api
from relay.web.api import subscriptions as subscription_api
from relay.web.api import webhooks as webhook_api
from relay.web.api.jobs import JobView
from relay.web.api.subscription_views import NewSubscriptionView
from relay.web.api.webhook_views import WebhookView
from relay.web.auth import demand
from relay.web.fields import Paged
from relay.web.playground import Ask, Playground, Scenario
from relay.web.problems import Problem, not_found, unprocessable
from relay.web.submit import problem_of
from relay.web.ui.pretty import shown_bytes
from relay.web.ui.story import Play, steps, summary
from relay.web.ui.visit import Visit
from relay.web.ui.waterfall_page import life_of

PLACE: Final = "/ui/playground"
PROMPT: Final = "What are the latest trends in the coffee industry?"
LONGEST_PROMPT: Final = 4000
SHOWN_BYTES: Final = 64 * 1024
HURRY_MS: Final = 400  # from one look to the next while something happens
EARLIER: Final = 10


async def show(visit: Visit) -> Response:
    """What can be played, and with `job` how it went."""
    stage = visit.services.playground
    if stage is None:
        return visit.page("playground_off.html", "Playground", is_sqlite=visit.desk.settings.is_sqlite)
    await visit.services.configuration.refresh()
    query = visit.request.query_params
    play = await _play(visit, stage, query["job"]) if query.get("job") else None
    provider = play.life.job.provider if play else query.get("provider") or stage.providers[0]
    if provider not in stage.providers:
        raise not_found("stand-in")
    return visit.page(
        "playground.html", "Playground", stage=stage, provider=provider, profiles=visit.services.profiles,
        prompt=PROMPT, longest=LONGEST_PROMPT, hurry=HURRY_MS, earlier=await _earlier(visit, stage),
        has_made=bool(_webhooks(visit, stage) or _subscriptions(visit, stage)), listeners=_listeners(visit, stage),
        play=play, **_told(play, visit),
    )  # fmt: skip


def _told(play: Play | None, visit: Visit) -> dict[str, Any]:
    """What the page says of a play."""
    if play is None:
        return {"steps": [], "summary": "", "body": None, "picture": None}
    last = play.received[-1].body if play.received else None
    body = None if last is None else shown_bytes(last[:SHOWN_BYTES], len(last), SHOWN_BYTES)
    told = {"steps": steps(play, visit.now), "summary": summary(play), "body": body}
    return {**told, "picture": play.life.picture}


async def play(visit: Visit) -> Response:
    """Have the stand-in asked for something, by what the scenario makes of it."""
    demand(visit.caller, Scope.WRITE)
    stage = _stage(visit)
    provider, prompt = visit.field("provider"), visit.field("prompt") or PROMPT
    scenario = _scenario(stage, provider, visit.field("scenario"))
    if len(prompt) > LONGEST_PROMPT:
        raise unprocessable("#/prompt", f"is longer than {LONGEST_PROMPT} characters", "too_long")
    webhook = await _registered(visit, stage.registration(provider, scenario.name))
    await _subscribed(visit, stage, webhook.id)
    async with stage.playing(provider, scenario.name, webhook.callback_url or "", prompt) as ask:
        job_id = await _submit(visit, webhook.id, ask)
    return visit.go(PLACE, job=job_id)


async def remove(visit: Visit) -> Response:
    """Delete the webhooks and the subscription that it made, and nothing else."""
    demand(visit.caller, Scope.WRITE)
    stage = _stage(visit)
    await visit.services.configuration.refresh()
    for subscription in _subscriptions(visit, stage):
        await visit.do(subscription_api.delete, id=subscription.id)
    for webhook in _webhooks(visit, stage):
        await visit.do(webhook_api.delete, id=webhook.id)
    return visit.go(PLACE, "playground_removed")


def _stage(visit: Visit) -> Playground:
    if visit.services.playground is None:
        raise not_found("playground")
    return visit.services.playground


def _scenario(stage: Playground, provider: str, name: str) -> Scenario:
    if provider not in stage.providers:
        raise unprocessable("#/provider", f"is none of {', '.join(stage.providers)}", "unknown_provider")
    for scenario in stage.scenarios(provider):
        if scenario.name == name:
            return scenario
    known = ", ".join(scenario.name for scenario in stage.scenarios(provider))
    raise unprocessable("#/scenario", f"is nothing that {provider} can play ({known})", "unknown_scenario")


# --- what it makes ---


def _webhooks(visit: Visit, stage: Playground) -> list[Webhook]:
    return [item for item in visit.webhooks() if stage.mark in item.metadata]


def _subscriptions(visit: Visit, stage: Playground) -> list[Subscription]:
    return [item for item in visit.subscriptions() if stage.mark in item.metadata]


def _listeners(visit: Visit, stage: Playground) -> list[str]:
    """Names of other subscriptions that take the results of all webhooks: those of the playground too."""
    others = (item for item in visit.subscriptions() if stage.mark not in item.metadata)
    return [item.name for item in others if item.webhook_ids is None and item.status is SubscriptionStatus.ACTIVE]


async def _registered(visit: Visit, wanted: Mapping[str, Any]) -> WebhookView:
    """The webhook for it; one of an earlier process, whose stand-ins are gone, is replaced."""
    await visit.services.configuration.refresh()
    stage = _stage(visit)
    for known in _webhooks(visit, stage):
        if known.name != wanted["name"]:
            continue
        if _is_current(known, wanted):
            return await visit.ask(webhook_api.show, WebhookView, id=known.id)
        await visit.do(webhook_api.delete, id=known.id)
    return await visit.ask(webhook_api.create, WebhookView, body=wanted)


def _is_current(known: Webhook, wanted: Mapping[str, Any]) -> bool:
    credentials = {name: Secret(value) for name, value in wanted["credentials"].items()}
    return dict(known.credentials) == credentials and list(known.origins) == wanted["origins"]


async def _subscribed(visit: Visit, stage: Playground, webhook_id: str) -> None:
    """See that the playground's subscriber gets the results of this webhook, and of no webhook but the playground's."""
    wanted = stage.subscription()
    ids = [item.id for item in _webhooks(visit, stage)]
    ids = ids if webhook_id in ids else [*ids, webhook_id]
    for known in _subscriptions(visit, stage):
        if known.url == wanted["url"] and known.secrets[:1] == (Secret(wanted["secret"]),):
            if webhook_id not in (known.webhook_ids or ()):
                await visit.do(subscription_api.change, id=known.id, body={"webhook_ids": ids})
            return
        await visit.do(subscription_api.delete, id=known.id)
    await visit.ask(subscription_api.create, NewSubscriptionView, body={**wanted, "webhook_ids": ids})


async def _submit(visit: Visit, webhook_id: str, ask: Ask) -> str:
    """Send the request on, as `/submit/` does; the job's id. Raises Problem."""
    submitter, webhooks = visit.services.submitter, visit.services.configuration.current.webhooks
    listed = submitter.look(webhooks[webhook_id], ask.method, ask.path)
    if isinstance(listed, Rejected):
        raise problem_of(listed)
    call = ClientCall(
        webhook_id=webhook_id, method=ask.method, path=ask.path, query="", body=ask.body, metadata=ask.metadata,
        headers=(("content-type", "application/json"),), taken=frozenset(), caller_id=visit.caller.key_id,
        key=Secret(secrets.token_hex(16)),  # no key was shown that would have to be kept from the provider
    )  # fmt: skip
    told = await submitter.submit(listed, call)
    if isinstance(told, Rejected):
        raise problem_of(told)
    if told.job_id is None:
        raise Problem(502, "provider_refused", f"The stand-in answered {told.http_status} and took no job.")
    return told.job_id


# --- what it shows ---


async def _play(visit: Visit, stage: Playground, job_id: str) -> Play:
    life = await life_of(visit, job_id)
    provider, name = life.job.provider, life.job.metadata.get(stage.mark)
    profile = visit.services.profiles.get(provider)
    known = stage.scenarios(provider) if provider in stage.providers else ()
    scenario = next((one for one in known if one.name == name), None)
    if scenario is None or profile is None:
        raise not_found("play")
    mine = {
        item.id for item in visit.services.configuration.current.subscriptions.values() if stage.mark in item.metadata
    }
    return Play(
        life=life,
        scenario=scenario,
        profile=profile,
        calls_back=stage.calls_back(provider),
        told=stage.notified(provider, life.job.provider_job_id or ""),
        sent=[item for item in life.stored.sent if item.delivery.subscription_id in mine],
        received=stage.received(job_id),
    )


async def _earlier(visit: Visit, stage: Playground) -> list[tuple[JobView, str]]:
    """The latest jobs of the playground's webhooks, each with the title of its scenario."""
    found: list[JobView] = []
    for webhook in _webhooks(visit, stage):
        listed = await visit.ask(job_api.page, Paged, query=[("webhook_id", webhook.id), ("limit", str(EARLIER))])
        found += listed.data
    newest = sorted(found, key=lambda job: job.id, reverse=True)[:EARLIER]
    titles = {one.name: one.title for provider in stage.providers for one in stage.scenarios(provider)}
    named = [(job, titles.get(str(job.metadata.get(stage.mark)))) for job in newest]
    return [(job, title) for job, title in named if title is not None]
