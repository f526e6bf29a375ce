"""`/v1/providers`: the profiles that are loaded."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from relay.model import Scope
from relay.providers.profile import Profile
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import NoQuery, Nothing, View
from relay.web.problems import not_found


class ParameterView(View):
    """What a webhook of this provider is asked for besides credentials."""

    name: str
    required: bool
    summary: str


class ProviderView(View):
    """One loaded profile."""

    name: str
    title: str
    summary: str
    origins: list[str]
    base_url: str | None
    credentials: Annotated[list[str], Field(description="The credentials that a webhook of it must bring.")]
    parameters: list[ParameterView]
    verification: Annotated[str, Field(description="How notifications are verified; `none` where they cannot be.")]
    verification_required: bool
    calls_back: bool
    retention_seconds: Annotated[float | None, Field(description="How long it keeps results; null = not known.")]


class ProvidersView(View):
    """All of them, by name. There is no further page."""

    data: list[ProviderView]
    next_cursor: None = None


def view_of(profile: Profile) -> ProviderView:
    """The profile as it goes out."""
    callback = profile.callback
    return ProviderView(
        name=profile.name,
        title=profile.title,
        summary=profile.summary,
        origins=list(profile.origins),
        base_url=profile.base_url,
        credentials=list(profile.auth.credential_fields),
        parameters=[
            ParameterView(name=item.name, required=item.required, summary=item.summary) for item in profile.parameters
        ],
        verification=callback.verification.kind if callback else "none",
        verification_required=bool(callback and callback.verification.required),
        calls_back=callback is not None,
        retention_seconds=profile.retention.seconds,
    )


@endpoint("GET", "/v1/providers", scope=Scope.READ, answers={200: ProvidersView})
async def page(call: Call[NoQuery, Nothing]) -> Answer:
    """The profiles that are loaded, by name."""
    profiles = call.services.profiles
    return Answer(200, ProvidersView(data=[view_of(profiles[name]) for name in sorted(profiles)]))


@endpoint("GET", "/v1/providers/{name}", scope=Scope.READ, answers={200: ProviderView}, refusals=(404,))
async def show(call: Call[NoQuery, Nothing]) -> Answer:
    """One profile."""
    profile = call.services.profiles.get(call.request.path_params["name"])
    if profile is None:
        raise not_found("provider")
    return Answer(200, view_of(profile))
