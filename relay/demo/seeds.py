"""The four stand-ins that users can rehearse with, by the names of their profiles."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from relay.clock import Clock
from relay.demo.freddy import Freddy
from relay.demo.inference_net import InferenceNet
from relay.demo.knobs import Outcome
from relay.demo.netnut import NetNut
from relay.demo.pulse import Pulse
from relay.demo.stand_in import StandIn
from relay.model import Secret

SEEDS: Final[Mapping[str, type[StandIn]]] = MappingProxyType(
    {one.NAME: one for one in (NetNut, Pulse, InferenceNet, Freddy)}
)


# Where work is asked for, and how.
SUBMITS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = MappingProxyType(
    {
        "netnut": ("/search", {"prompt": "coffee", "async": True}),
        "pulse": ("/extract", {"file_url": "https://example.com/report.pdf", "async": True}),
        "inference-net": ("/v1/slow/chat/completions", {"model": "m", "messages": [], "metadata": {}}),
        "freddy": ("/v1/model/response", {"model": "m", "background": True, "inputs": []}),
    }
)


def stand_in(name: str, secret: Secret, *, port: int = 0, clock: Clock | None = None, controls: bool = True) -> StandIn:
    """The one called so, to be entered; `secret` is the key or the password it wants. Raises KeyError."""
    kind = SEEDS[name]
    if kind is NetNut:
        return NetNut(password=secret, port=port, clock=clock, controls=controls)
    return kind(api_key=secret, port=port, clock=clock, controls=controls)


def registration(actor: StandIn, dashboard_id: str) -> dict[str, Any]:
    """What `POST /v1/webhooks` is told of it, but for a name; `dashboard_id` is that of Inference.net's dashboard."""
    body: dict[str, Any] = {"provider": actor.NAME, "origins": [actor.url]}
    body["credentials"] = {"api_key": actor.api_key.reveal()}
    if isinstance(actor, NetNut):
        body["credentials"] = {"username": actor.username, "password": actor.password.reveal()}
    if isinstance(actor, InferenceNet):
        body["parameters"] = {"webhook_id": dashboard_id}
    if isinstance(actor, Pulse):
        body["verification"] = {"secret": actor.signing_secret.reveal()}
    return body


def hand_over(actor: StandIn, dashboard_id: str, callback_url: str) -> None:
    """What a person does in the provider's dashboard, where it has one, with the webhook's callback URL."""
    actor.callback_url = callback_url
    if isinstance(actor, InferenceNet):
        actor.register(dashboard_id, callback_url)


def event(text: str) -> tuple[str, Outcome]:
    """`netnut.completed` as the name of a provider and how its jobs end. Raises ValueError that says what there is."""
    name, _, outcome = text.partition(".")
    if name not in SEEDS or outcome not in list(Outcome):
        names, outcomes = ", ".join(SEEDS), ", ".join(Outcome)
        raise ValueError(f"an event is provider.outcome, with a provider of {names} and an outcome of {outcomes}")
    return name, Outcome(outcome)
