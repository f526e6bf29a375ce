"""Making a webhook, changing it, deleting it: forms over the API's own endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response

from relay.model import Scope
from relay.providers.profile import Profile
from relay.web.api import providers as provider_api
from relay.web.api import webhooks as api
from relay.web.api.providers import ProviderView
from relay.web.api.webhook_views import WebhookView
from relay.web.auth import demand
from relay.web.problems import Problem
from relay.web.ui import forms
from relay.web.ui.forms import Field, Group
from relay.web.ui.visit import Visit

NAME: Final = Field(name="name", label="name", required=True, maximum=200, hint="Yours to choose; no two are alike.")
PLACES: Final = Group(
    title="Where results may be fetched from",
    note="Credentials go to these origins and nowhere else, whatever a notification says.",
    fields=(
        Field(
            name="origins",
            label="origins",
            kind="lines",
            rows=3,
            hint="One on each line, with scheme and host. Empty: those of the profile.",
        ),
        Field(name="base_url", label="base URL", hint="Where jobs are submitted, polled and cancelled, if elsewhere."),
    ),
)
MORE: Final = Group(
    title="Pace, retention, metadata",
    folded=True,
    fields=(
        Field(name="fetch_max_in_flight", label="fetches at a time", kind="number", placeholder="8"),
        Field(name="fetch_rate_per_second", label="fetches per second, at most", kind="number"),
        Field(name="notification_rate_per_second", label="notifications per second, at most", kind="number",
              hint="More are answered 503, for the provider to send again. Empty: as many as come."),
        Field(name="poll_seconds", label="waits between polls, in seconds", kind="numbers",
              hint="Such as 5, 10, 30: the last one repeats. Empty: as the provider's profile says."),
        Field(name="retention_seconds", label="seconds for which the provider keeps results", kind="number"),
        Field(name="retention_days", label="days for which this relay keeps what came in here", kind="number"),
        Field(name="retention_bytes", label="bytes of payload above which the oldest results go", kind="number"),
        Field(name="untracked", label="notifications of jobs that nobody tracks", kind="choice",
              options=(("accept", "accept them"), ("ignore", "ignore them"))),
        Field(name="metadata", label="metadata, as JSON", kind="json", rows=3, placeholder='{"team": "search"}'),
    ),
)  # fmt: skip
PROOFS: Final[Mapping[str, str]] = {
    "hmac": "an HMAC signature",
    "standard_webhooks": "their Standard Webhooks signature",
    "header_equals": "a shared secret in a header",
    "basic": "Basic auth",
    "ed25519_jwks": "a signature with published keys",
}
CLEAR: Final = "clear.verification"
EMPTY: Final[Mapping[str, Any]] = {"metadata": {}, "parameters": {}}


def _credentials(profile: Profile, *, needed: bool) -> Group:
    fields = tuple(
        Field(name=f"credentials.{name}", label=name.replace("_", " "), secret=True, maximum=4096, required=needed)
        for name in profile.auth.credential_fields
    )
    return Group(title="Credentials", fields=fields, note="Kept encrypted, and never shown again.")


def _verification(profile: Profile, *, is_set: bool) -> Group:
    scheme = profile.callback.verification if profile.callback is not None else None
    kind = scheme.kind if scheme is not None else "none"
    names = ("username", "password") if kind == "basic" else ("secret", "previous_secret")
    note = f"{profile.title} does not sign its notifications: what counts is the authenticated fetch."
    if kind == "ed25519_jwks":
        note = f"Notifications are verified with keys that {profile.title} publishes: no secret is needed."
    elif scheme is not None and kind != "none":
        must = "has to be" if scheme.required else "may be"
        note = f"Notifications prove by {PROOFS.get(kind, kind)} where they come from: what that needs {must} given."
    fields = [
        Field(
            name=f"verification.{name}", label=name.replace("_", " "), secret=True, maximum=4096,
            hint="While a secret is being rotated." if name == "previous_secret" else "",
        )
        for name in names
    ]  # fmt: skip
    if is_set:
        fields.append(Field(name=CLEAR, label="take away what is set", kind="flag"))
    return Group(title="Verification", fields=tuple(fields), note=note, folded=kind in ("none", "ed25519_jwks"))


def groups(profile: Profile, webhook: WebhookView | None = None) -> list[Group]:
    """What the form asks for: the provider's profile decides."""
    made = [Group(title="", fields=(NAME,))]
    if profile.auth.credential_fields:
        made.append(_credentials(profile, needed=webhook is None))
    if profile.parameters:
        fields = tuple(
            Field(name=f"parameters.{one.name}", label=one.name, hint=one.summary, required=one.required)
            for one in profile.parameters
        )
        made.append(Group(title=f"What {profile.title} asks for besides", fields=fields))
    is_set = bool(webhook and webhook.verification_set)
    return [*made, _verification(profile, is_set=is_set), PLACES, MORE]


def _read(wanted: Sequence[Group]) -> list[Field]:
    return [field for group in wanted for field in group.fields if field.kind != "flag"]


# --- making one ---


async def new(visit: Visit) -> Response:
    """First which provider, then what it needs."""
    demand(visit.caller, Scope.WRITE)
    name = visit.request.query_params.get("provider", "")
    if not name:
        found = [provider_api.view_of(visit.services.profiles[key]) for key in sorted(visit.services.profiles)]
        return visit.page("webhook_provider.html", "New webhook", providers=found, proofs=PROOFS)
    profile = visit.services.profiles.get(name)
    if profile is None:
        raise Problem(404, "not_found", "There is no such provider. Profiles are loaded when a relay starts.")
    wanted = groups(profile)
    start = {field.name: "" for field in _read(wanted)} | {"origins": "\n".join(profile.origins)}
    return _new(visit, profile, forms.page_of(wanted, start))


def _new(visit: Visit, profile: Profile, form: forms.Page, status: int = 200) -> Response:
    return visit.page(
        "webhook_form.html", f"New webhook of {profile.title}", status=status, form=form, webhook=None,
        provider=provider_api.view_of(profile), notes=profile.notes, action="/ui/webhooks",
    )  # fmt: skip


async def create(visit: Visit) -> Response:
    """Make it, and show its callback URL; or show the form again, with what is wrong."""
    demand(visit.caller, Scope.WRITE)
    profile = visit.services.profiles.get(visit.field("provider"))
    if profile is None:
        raise Problem(404, "not_found", "There is no such provider. Profiles are loaded when a relay starts.")
    wanted = groups(profile)
    body, wrong = forms.read(_read(wanted), visit.form)
    if body.get("origins") == list(profile.origins):
        del body["origins"]  # those of the profile, whatever it may say in the next release
    made: WebhookView | Problem = forms.unreadable(wrong)
    if not wrong:
        made = await forms.outcome(visit.ask(api.create, WebhookView, body={"provider": profile.name} | body))
    if isinstance(made, Problem):
        form = forms.page_of(wanted, forms.typed(_read(wanted), visit.form), made, visit.form)
        return _new(visit, profile, form, made.status)
    return visit.go(f"/ui/webhooks/{made.id}", "webhook_made")


# --- changing one ---


async def edit(visit: Visit) -> Response:
    """The form with what there is; secrets are not in it."""
    demand(visit.caller, Scope.WRITE)
    webhook, profile = await _existing(visit)
    wanted = groups(profile, webhook)
    shown = forms.filled(_read(wanted), webhook.model_dump())
    return _edit(visit, webhook, profile, forms.page_of(wanted, shown, before=forms.kept(shown)))


async def change(visit: Visit) -> Response:
    """Change what was changed in the form."""
    demand(visit.caller, Scope.WRITE)
    webhook, profile = await _existing(visit)
    wanted = groups(profile, webhook)
    body, wrong = forms.changes(_read(wanted), visit.form, EMPTY)
    if visit.field(CLEAR):
        body.setdefault("verification", {})
    made: WebhookView | Problem = forms.unreadable(wrong)
    if not wrong:
        made = await forms.outcome(visit.ask(api.change, WebhookView, id=visit.id, body=body))
    if isinstance(made, Problem):
        shown = forms.typed(_read(wanted), visit.form)
        form = forms.page_of(wanted, shown, made, visit.form, before=visit.field(forms.BEFORE))
        return _edit(visit, webhook, profile, form, made.status)
    return visit.go(f"/ui/webhooks/{visit.id}", "changed")


async def _existing(visit: Visit) -> tuple[WebhookView, Profile]:
    webhook = await visit.ask(api.show, WebhookView, id=visit.id)
    profile = visit.services.profiles.get(webhook.provider)
    if profile is None:
        raise Problem(404, "not_found", f"The profile {webhook.provider} is not loaded: it cannot be changed now.")
    return webhook, profile


def _edit(visit: Visit, webhook: WebhookView, profile: Profile, form: forms.Page, status: int = 200) -> Response:
    view: ProviderView = provider_api.view_of(profile)
    return visit.page(
        "webhook_form.html", f"Change {webhook.name}", status=status, form=form, webhook=webhook, provider=view,
        notes=profile.notes, action=f"/ui/webhooks/{webhook.id}/edit",
    )  # fmt: skip


# --- deleting one ---


async def confirm_deletion(visit: Visit) -> Response:
    """What deleting means, and the button."""
    demand(visit.caller, Scope.WRITE)
    webhook = await visit.ask(api.show, WebhookView, id=visit.id)
    return visit.page("webhook_delete.html", f"Delete {webhook.name}", webhook=webhook)


async def delete(visit: Visit) -> Response:
    """Delete it."""
    await visit.do(api.delete, id=visit.id)
    return visit.go("/ui/webhooks", "webhook_deleted")
