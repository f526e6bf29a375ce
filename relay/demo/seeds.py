"""The four stand-ins that users can rehearse with, by the names of their profiles."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

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


def stand_in(name: str, secret: Secret, *, port: int = 0) -> StandIn:
    """The one called so, to be entered; `secret` is the key or the password it wants. Raises KeyError."""
    kind = SEEDS[name]
    return NetNut(password=secret, port=port) if kind is NetNut else kind(api_key=secret, port=port)


def event(text: str) -> tuple[str, Outcome]:
    """`netnut.completed` as the name of a provider and how its jobs end. Raises ValueError that says what there is."""
    name, _, outcome = text.partition(".")
    if name not in SEEDS or outcome not in list(Outcome):
        names, outcomes = ", ".join(SEEDS), ", ".join(Outcome)
        raise ValueError(f"an event is provider.outcome, with a provider of {names} and an outcome of {outcomes}")
    return name, Outcome(outcome)
