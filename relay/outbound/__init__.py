"""The only code that opens outgoing connections: one engine, two doors.

A URL is read by refusal (`urls`), its name is resolved within limits (`resolver`), every address is judged before it is
dialled (`addresses`, `engine`). On that engine stand the door for deliveries, which never raises for network trouble,
and the door to providers, where credentials are bound to origins.
"""

from relay.outbound.addresses import AddressPolicy
from relay.outbound.authorization import Authorization
from relay.outbound.deliveries import DeliveryDoor, Refusal, Reply
from relay.outbound.provider_door import ProviderAnswer, ProviderDoor, ProviderRequest
from relay.outbound.resolver import LookupLimits, NameResolver
from relay.outbound.urls import Target, canonical_origin, parse_url

__all__ = [
    "AddressPolicy",
    "Authorization",
    "DeliveryDoor",
    "LookupLimits",
    "NameResolver",
    "ProviderAnswer",
    "ProviderDoor",
    "ProviderRequest",
    "Refusal",
    "Reply",
    "Target",
    "canonical_origin",
    "parse_url",
]
