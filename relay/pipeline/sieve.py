"""Which stored results a subscription wants, for replays: as the fan-out judges them, page by page.

A filter that looks into payloads needs them read, which must not happen while a transaction waits: so what such filters
say of a page is found out before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relay.frozen import frozen
from relay.model import Result, Subscription
from relay.pipeline.envelope import MAX_ENVELOPE_BYTES
from relay.pipeline.floor import Floor
from relay.pipeline.routing import NO_PAYLOAD, Content, Router, Subject, matches
from relay.store.configuration import Configuration


@frozen()
class Sieve:
    """What subscriptions want of the results of one page."""

    router: Router
    configuration: Configuration
    by_payload: Mapping[tuple[str, str], bool] | None  # by result and subscription; None: no filter looks into payloads

    def passes(self, subscription: Subscription, result: Result) -> bool:
        """Whether it wants the result."""
        if not matches(subscription, result):
            return False
        if self.by_payload is not None and (result.id, subscription.id) in self.by_payload:
            return self.by_payload[result.id, subscription.id]
        return subscription.filter is None or self.router.passes(
            subscription, Subject(result, self.configuration, NO_PAYLOAD), self.configuration
        )


class Sieves:
    """Makes sieves."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._router = Router()

    def by_heads(self, configuration: Configuration) -> Sieve:
        """One for subscriptions whose filters look into no payload."""
        return Sieve(self._router, configuration, None)

    async def of(
        self, stored: Sequence[Result], targets: Sequence[Subscription], configuration: Configuration
    ) -> Sieve:
        """One for these results; where filters ask for payloads, these are read one after the other."""
        curious = [target for target in targets if self._router.reads_payload(target, configuration)]
        if not curious:
            return self.by_heads(configuration)
        said: dict[tuple[str, str], bool] = {}
        for result in stored:
            subject: Subject | None = None
            for target in curious:
                if not matches(target, result):
                    said[result.id, target.id] = False
                    continue
                if subject is None:
                    subject = Subject(result, configuration, Content(await self._payload(result)))
                said[result.id, target.id] = self._router.passes(target, subject, configuration)
        return Sieve(self._router, configuration, said)

    async def _payload(self, result: Result) -> bytes | None:
        if result.payload_id is None or (result.size_bytes or 0) > MAX_ENVELOPE_BYTES:
            return None
        return await self._floor.payloads.read(result.payload_id)
