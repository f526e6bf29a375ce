"""One webhook of one provider's stand-in, made as its users would: what journeys over all fourteen providers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from relay.demo.stand_in import StandIn
from relay.providers.loader import load_profiles
from relay.providers.pages import join_pages
from relay.providers.profile import Profile
from tests.support.providers import Fal
from tests.support.providers.customer import Customer
from tests.support.providers.ways import KEY, SHARED

PARAMETERS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "inference-net": {"webhook_id": SHARED},
        "runpod": {"endpoint_id": "ep1"},
        "assemblyai": {"webhook_auth_header_name": "x-team"},
    }
)
SIGNING: Final = ("pulse", "openai", "replicate", "reducto", "firecrawl")
SHOWING: Final = ("assemblyai", "brightdata")
INLINE: Final = ("inference-net", "fal", "replicate")  # an authentic notification is the payload
BY_URL: Final = ("netnut", "fal")  # nothing can be asked by the id alone


def verification(stand_in: StandIn) -> dict[str, str]:
    """What a webhook is given to verify this stand-in's notifications by."""
    if stand_in.NAME in SIGNING:
        return {"secret": stand_in.signing_secret.reveal()}
    return {"secret": SHARED} if stand_in.NAME in SHOWING else {}


def webhook_body(stand_in: StandIn, **more: Any) -> dict[str, Any]:
    """A webhook of this stand-in."""
    keys = {"username": stand_in.username, "password": KEY} if hasattr(stand_in, "username") else {"api_key": KEY}
    wanted = {
        "name": stand_in.NAME,
        "provider": stand_in.NAME,
        "credentials": keys,
        "origins": [stand_in.url],
        "parameters": PARAMETERS.get(stand_in.NAME, {}),
        "verification": verification(stand_in),
    }
    return wanted | more


def profiles_with_keys_of(stand_in: StandIn) -> Mapping[str, Profile]:
    """The shipped profiles; fal's keys are the stand-in's."""
    profiles = dict(load_profiles(None))
    if isinstance(stand_in, Fal):
        fal = profiles["fal"]
        assert fal.callback is not None
        scheme = replace(fal.callback.verification, jwks_url=stand_in.jwks_url)
        profiles["fal"] = replace(fal, callback=replace(fal.callback, verification=scheme))
    return MappingProxyType(profiles)


def named(customer: Customer, job_id: str) -> dict[str, Any]:
    """What to tell Relay of a job to have it followed."""
    found: dict[str, Any] = {"provider_job_id": job_id}
    if customer.stand_in.NAME in BY_URL:
        found["response_url"] = customer.stand_in.url + customer.way.result.format(id=job_id)
    return found


async def truth_of(customer: Customer, job_id: str) -> bytes:
    """What the provider serves for the job: the result as its customer gets it, from wherever it lies."""
    said, name = await customer.result(job_id), customer.stand_in.NAME
    if name == "pulse" and said.json["result"].get("is_url"):
        return (await customer.call("GET", said.json["result"]["url"], credentials=False)).body
    if name == "reducto" and said.json["result"]["result"].get("type") == "url":
        return (await customer.call("GET", said.json["result"]["result"]["url"], credentials=False)).body
    pages = [said]
    while name == "firecrawl" and pages[-1].json["next"]:
        pages.append(await customer.call("GET", pages[-1].json["next"]))
    return join_pages([page.body for page in pages])
