"""What calls providers on behalf of clients: submits that go through Relay, and cancels."""

from __future__ import annotations

from relay.outbound.provider_door import ProviderDoor
from relay.pipeline.cancel import Canceller
from relay.pipeline.concluding import Concluder
from relay.pipeline.floor import Floor
from relay.pipeline.receive import FetchHands
from relay.pipeline.submit import SubmitLimits, Submitter
from relay.pipeline.track import Tracker
from relay.pipeline.under_way import UnderWay
from relay.pipeline.watch import Watch
from relay.settings import Settings
from relay.signing.tokens import CallbackTokens


def submitter(
    settings: Settings,
    floor: Floor,
    tokens: CallbackTokens,
    door: ProviderDoor,
    hands: FetchHands,
    under_way: UnderWay,
) -> Submitter:
    """What sends clients' calls on."""
    limits = SubmitLimits(settings.fetch_timeout_seconds, settings.max_result_bytes)
    return Submitter(floor, tokens, door, hands, under_way, public_url=settings.public_url, limits=limits)


def tracker(
    settings: Settings, floor: Floor, door: ProviderDoor, concluder: Concluder, hands: FetchHands, watch: Watch
) -> Tracker:
    """Jobs as the API has them, and their end at the provider."""
    canceller = Canceller(floor, door, concluder, hands, watch, settings.fetch_timeout_seconds)
    return Tracker(floor, hands, watch, canceller)
