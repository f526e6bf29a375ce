"""Making a subscription, changing it, deleting it: forms over the API's own endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response

from relay.model import Scope
from relay.web.api import subscriptions as api
from relay.web.api.subscription_rules import EVENT_TYPES
from relay.web.api.subscription_views import NewSubscriptionView, SubscriptionView
from relay.web.auth import demand
from relay.web.problems import Problem, Wrong
from relay.web.ui import forms
from relay.web.ui.forms import Field, Group
from relay.web.ui.visit import Visit

PROVIDER_PATH: Final = "data.provider"
CLEAR: Final = "clear.headers"
EMPTY: Final[Mapping[str, Any]] = {"metadata": {}, "headers": {}}

NAME: Final = Field(name="name", label="name", required=True, maximum=200, hint="Yours to choose; no two are alike.")
KIND: Final = Field(
    name="kind", label="how results get there", kind="choice",
    options=(("push", "Relay posts them to the URL below"), ("pull", "they are taken from Relay: no URL")),
)  # fmt: skip
URL: Final = Field(name="url", label="URL", placeholder="https://billing.example.com/hooks")
FILTER: Final = Field(
    name="filter", label="filter, as JSON", kind="json", rows=4,
    placeholder='{"data.metadata.tenant": {"$eq": "acme"}}',
    hint="Paths of the delivered envelope with conditions. Empty: everything. Operators: $eq $neq $gt $gte $lt $lte $in"
    " $nin $startsWith $endsWith $exist $and $or $not.",
)  # fmt: skip
FORMAT: Final = Field(
    name="format", label="format", kind="choice",
    options=(
        ("envelope", "envelope: JSON with the payload in it"),
        ("thin", "thin: JSON with an address in place of the payload"),
        ("raw", "raw: the provider's bytes"),
        ("cloudevents", "cloudevents: those as a CloudEvent in binary mode"),
    ),
)  # fmt: skip
HEADERS: Final = Field(
    name="headers", label="headers sent along", kind="headers", rows=3, secret=True, placeholder="x-team: search",
    hint="One on each line, as name: value. Kept encrypted; the values are never shown again.",
)  # fmt: skip
SIGNING: Final = (
    Field(name="signing", label="signed with", kind="choice",
          options=(("hmac", "a secret that both sides have (v1)"), ("ed25519", "a key pair: no secret to hand over"))),
    Field(name="secret", label="your own secret", secret=True, maximum=4096,
          hint="Empty: Relay makes one, and shows it once."),
)  # fmt: skip
PACE: Final = (
    Field(name="max_in_flight", label="deliveries at a time", kind="number", placeholder="8"),
    Field(name="rate_per_second", label="deliveries per second, at most", kind="number"),
    Field(name="schedule_seconds", label="waits before each attempt, in seconds", kind="numbers",
          hint="Such as 0, 5, 30, 120: the first is 0. Empty: as the settings say."),
    Field(name="timeout_seconds", label="seconds that one attempt may take", kind="number"),
)  # fmt: skip
METADATA: Final = Field(
    name="metadata", label="metadata, as JSON", kind="json", rows=3, placeholder='{"team": "search"}'
)


def groups(visit: Visit, subscription: SubscriptionView | None = None) -> list[Group]:
    """What the form asks for; of one that there is, what can be changed."""
    made = [Group(title="", fields=(NAME, KIND, URL))]
    if subscription is not None:
        made = [Group(title="", fields=(NAME, URL) if subscription.kind == "push" else (NAME,))]
    headers = [HEADERS]
    if subscription is not None and subscription.header_names:
        headers.append(Field(name=CLEAR, label=f"take away {', '.join(subscription.header_names)}", kind="flag"))
    made += [
        Group(title="Which results", note="What is left open means all of them.", fields=_which(visit, subscription)),
        Group(title="What is sent", fields=(FORMAT, *headers, *(SIGNING if subscription is None else ()))),
        Group(title="Pace, retries, metadata", folded=True, fields=(*PACE, METADATA)),
    ]
    return made


def _which(visit: Visit, subscription: SubscriptionView | None) -> tuple[Field, ...]:
    known = {item.id: item.name for item in visit.webhooks()}
    # One that is deleted stays ticked: left out it would be taken away, and the last one taken away means all of them.
    gone = [id for id in (subscription.webhook_ids or () if subscription else ()) if id not in known]
    webhooks = (*known.items(), *((id, f"{visit.names().get(id, id)} (deleted)") for id in gone))
    types = tuple((name, name) for name in EVENT_TYPES)
    made = [
        Field(name="webhook_ids", label="of these webhooks", kind="several", options=webhooks,
              hint="" if webhooks else "There is no webhook yet."),
        Field(name="event_types", label="of these types", kind="several", options=types,
              hint="None chosen: the four result types."),
    ]  # fmt: skip
    if subscription is None:  # of one that there is, the filter says it
        used = sorted({item.provider for item in visit.webhooks()}) or sorted(visit.services.profiles)
        providers = tuple((name, name) for name in used)
        made.insert(1, Field(name="providers", label="of these providers", kind="several", options=providers))
    return (*made, FILTER)


def _read(wanted: Sequence[Group]) -> list[Field]:
    return [field for group in wanted for field in group.fields if field.kind != "flag"]


def _with_providers(body: dict[str, Any], wrong: list[Wrong]) -> dict[str, Any]:
    """Providers are a condition of the filter."""
    providers, given = body.pop("providers", None), body.get("filter")
    if not providers or (given is not None and not isinstance(given, dict)):
        return body
    if given and PROVIDER_PATH in given:
        wrong.append(Wrong(f"says {PROVIDER_PATH} already: choose providers there or here", "repeated", "#/providers"))
        return body
    return body | {"filter": {PROVIDER_PATH: {"$in": providers}, **(given or {})}}


# --- making one ---


async def new(visit: Visit) -> Response:
    """An empty form."""
    demand(visit.caller, Scope.WRITE)
    wanted = groups(visit)
    start: dict[str, Any] = {field.name: [] if field.kind == "several" else "" for field in _read(wanted)}
    if webhook_id := visit.request.query_params.get("webhook_ids"):
        start["webhook_ids"] = [webhook_id]
    return _new(visit, forms.page_of(wanted, start))


def _new(visit: Visit, form: forms.Page, status: int = 200) -> Response:
    return visit.page(
        "subscription_form.html", "New subscription", status=status, form=form, subscription=None,
        action="/ui/subscriptions",
    )  # fmt: skip


async def create(visit: Visit) -> Response:
    """Make it, and show its secret once, in this very answer; or show the form again, with what is wrong."""
    demand(visit.caller, Scope.WRITE)
    wanted = groups(visit)
    body, wrong = forms.read(_read(wanted), visit.form)
    body = _with_providers(body, wrong)
    made: NewSubscriptionView | Problem = forms.unreadable(wrong)
    if not wrong:
        made = await forms.outcome(visit.ask(api.create, NewSubscriptionView, body=body))
    if isinstance(made, Problem):
        form = forms.page_of(wanted, forms.typed(_read(wanted), visit.form), made, visit.form)
        return _new(visit, form, made.status)
    title = f"{made.name} is made"
    return visit.page("subscription_made.html", title, made=made, relay_url=visit.services.public_url)


# --- changing one ---


async def edit(visit: Visit) -> Response:
    """The form with what there is; with `filter`, that one in it. Secrets are not in it."""
    demand(visit.caller, Scope.WRITE)
    found = await visit.ask(api.show, SubscriptionView, id=visit.id)
    wanted = groups(visit, found)
    shown = forms.filled(_read(wanted), found.model_dump())
    before = forms.kept(shown)
    text = visit.request.query_params.get("filter")
    return _edit(
        visit, found, forms.page_of(wanted, shown if text is None else {**shown, "filter": text}, before=before)
    )


async def change(visit: Visit) -> Response:
    """Change what was changed in the form."""
    demand(visit.caller, Scope.WRITE)
    found = await visit.ask(api.show, SubscriptionView, id=visit.id)
    wanted = groups(visit, found)
    body, wrong = forms.changes(_read(wanted), visit.form, EMPTY)
    if visit.field(CLEAR):
        body.setdefault("headers", {})
    made: SubscriptionView | Problem = forms.unreadable(wrong)
    if not wrong:
        made = await forms.outcome(visit.ask(api.change, SubscriptionView, id=visit.id, body=body))
    if isinstance(made, Problem):
        shown = forms.typed(_read(wanted), visit.form)
        form = forms.page_of(wanted, shown, made, visit.form, before=visit.field(forms.BEFORE))
        return _edit(visit, found, form, made.status)
    return visit.go(f"/ui/subscriptions/{visit.id}", "changed")


def _edit(visit: Visit, found: SubscriptionView, form: forms.Page, status: int = 200) -> Response:
    return visit.page(
        "subscription_form.html", f"Change {found.name}", status=status, form=form, subscription=found,
        action=f"/ui/subscriptions/{found.id}/edit",
    )  # fmt: skip


# --- deleting one ---


async def confirm_deletion(visit: Visit) -> Response:
    """What deleting means, and the button."""
    demand(visit.caller, Scope.WRITE)
    found = await visit.ask(api.show, SubscriptionView, id=visit.id)
    return visit.page("subscription_delete.html", f"Delete {found.name}", subscription=found)


async def delete(visit: Visit) -> Response:
    """Delete it."""
    await visit.do(api.delete, id=visit.id)
    return visit.go("/ui/subscriptions", "subscription_deleted")
