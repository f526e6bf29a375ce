"""What each delivery sends: the body in the subscription's format, made once where several want the same."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from relay.model import CLOUDEVENTS, ENVELOPE, RAW, THIN, Result, Subscription
from relay.pipeline.envelope import MAX_ENVELOPE_BYTES, build_envelope, event_envelope
from relay.pipeline.fanout import DeliveryWork
from relay.pipeline.floor import Floor
from relay.pipeline.formats import Message, cloudevent_headers, raw_headers
from relay.pipeline.room import Room
from relay.store import events, results

SURELY_FITS_BYTES: Final = 512 * 1024  # in base64 too
KEPT_BODIES_BYTES: Final = 8 * 1024 * 1024
LARGE_BODIES_BYTES: Final = 128 * 1024 * 1024  # of payloads over 1 MiB, which `raw` and `cloudevents` send whole

PayloadUrls = Callable[[str], str]  # where a payload can be had that is not in an envelope, by result id


class Outgoing:
    """Makes messages."""

    def __init__(self, floor: Floor, payload_url: PayloadUrls) -> None:
        self._floor = floor
        self._payload_url = payload_url
        self._bodies = _KeptBodies(KEPT_BODIES_BYTES)
        self._room = Room(LARGE_BODIES_BYTES)
        self._gone: set[str] = set()  # webhooks whose results have outlived them
        self._looks: dict[str, asyncio.Future[Message | None]] = {}  # under way, by result id

    async def message(self, work: DeliveryWork, subscription: Subscription) -> Message | None:
        """What goes out in the subscription's format; None when the result is gone. Raises NoRoom."""
        is_envelope = subscription.format == ENVELOPE
        if is_envelope and work.body is not None:
            return Message(work.job_id, work.body)
        if events.is_event(work.delivery.result_id):
            return await self._event_message(work.delivery.result_id)
        if is_envelope:
            return await self._envelope_message(work.delivery.result_id)
        result = await self._floor.database.read(partial(results.get, id=work.delivery.result_id))
        if result is None:
            return None
        await self._know_webhook(result)
        if subscription.format == THIN:
            return Message(result.job_id, self.envelope(result, None))
        return await self._payload_message(work.delivery.message_id, result, subscription)

    async def _envelope_message(self, result_id: str) -> Message | None:
        """The same for all who want it, so those who want it at the same time look once."""
        look = self._looks.get(result_id)
        if look is None:
            look = self._looks[result_id] = asyncio.ensure_future(self._look(result_id))
            look.add_done_callback(partial(self._looked, result_id))
        return await asyncio.shield(look)  # who gives up waiting leaves it to the others

    async def _look(self, result_id: str) -> Message | None:
        kept: bytes | None = None

        def wants(result: Result) -> bool:
            nonlocal kept
            kept = self._bodies.get(result)  # held from here on: others may push it out before the look is over
            return kept is None and (result.size_bytes or 0) <= MAX_ENVELOPE_BYTES

        read = partial(results.get_with_payload, id=result_id, wants=wants)
        found = await self._floor.database.read(read)
        if found is None:
            return None
        result, payload = found
        if kept is None:
            await self._know_webhook(result)
            kept = self.envelope(result, payload)
            self._bodies.keep(result, kept)
        return Message(result.job_id, kept)

    def _looked(self, result_id: str, look: asyncio.Future[Message | None]) -> None:
        del self._looks[result_id]
        if not look.cancelled():
            look.exception()  # whoever waited has it; perhaps nobody does any more

    async def _know_webhook(self, result: Result) -> None:
        """Its name goes into every format. Another node may have made it, or it is gone for good: asked once."""
        configuration = self._floor.configuration
        if result.webhook_id not in configuration.current.webhooks and result.webhook_id not in self._gone:
            if result.webhook_id not in (await configuration.refresh()).webhooks:
                self._gone.add(result.webhook_id)

    async def _event_message(self, event_id: str) -> Message | None:
        """An operational event: an envelope in every format, since there is no payload that could stand alone."""
        event = await self._floor.database.read(partial(events.get, id=event_id))
        return None if event is None else Message(event.subject_id, event_envelope(event))

    async def _payload_message(self, message_id: str, result: Result, subscription: Subscription) -> Message | None:
        """The provider's bytes, and what is told beside them. Large ones are not kept, and wait until there is room."""
        size, held = result.size_bytes or 0, 0
        names = self._names(result)
        if subscription.format == CLOUDEVENTS:
            headers = cloudevent_headers(result, *names, message_id)
        else:
            headers = raw_headers(result, *names)
        if size > MAX_ENVELOPE_BYTES:
            await self._room.take(subscription.id, size)
            held = size
        try:
            body = await (self._kept(RAW, result, self._payload) if not held else self._payload(result))
            if len(body) != size:  # erased between the two looks
                return None
            sent, held = held, 0
        finally:
            if held:
                self._room.give_back(subscription.id, held)
        return Message(result.job_id, body, result.content_type, headers, sent)

    async def _payload(self, result: Result) -> bytes:
        return b"" if result.payload_id is None else await self._floor.payloads.read(result.payload_id)

    async def _kept(self, kind: str, result: Result, load: Callable[[Result], Awaitable[bytes]]) -> bytes:
        kept = self._bodies.get(result, kind)
        if kept is None:
            kept = await load(result)
            self._bodies.keep(result, kept, kind)
        return kept

    def keep(self, result: Result, body: bytes) -> None:
        """Remember an envelope: its deliveries are about to be made."""
        self._bodies.keep(result, body)

    def forget_bodies(self) -> None:
        """Drop everything that is remembered; what is to be sent yet is made anew."""
        self._bodies = _KeptBodies(KEPT_BODIES_BYTES)

    def _names(self, result: Result) -> tuple[str, str]:
        """The webhook's name and its provider."""
        webhook = self._floor.configuration.current.webhooks.get(result.webhook_id)
        return (webhook.name, webhook.provider) if webhook is not None else ("", "")

    def envelope(self, result: Result, payload: bytes | None, is_json: bool | None = None) -> bytes:
        """The body for subscriptions of format `envelope`. `payload` may be left out where it is too large, or where
        its address is wanted instead; `is_json` is given where it is known already."""
        # Metadata may be as large as a request's body may be: beside them nothing surely fits.
        surely_fits = payload is not None and len(payload) <= SURELY_FITS_BYTES and not result.metadata
        url = None if result.payload_id is None or surely_fits else self._payload_url(result.id)
        return build_envelope(result, *self._names(result), payload, url, is_json)

    def sent(self, message: Message, subscription: Subscription) -> None:
        """The message is used no more: a large one leaves its room to others."""
        if message.held:
            self._room.give_back(subscription.id, message.held)


class _KeptBodies:
    """The latest envelopes and payloads, since several subscriptions want the same one. Bounded by bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._bodies: OrderedDict[tuple[str, str | None, str], bytes] = OrderedDict()

    def get(self, result: Result, kind: str = ENVELOPE) -> bytes | None:
        return self._bodies.get(self._key(result, kind))

    def keep(self, result: Result, body: bytes, kind: str = ENVELOPE) -> None:
        key = self._key(result, kind)
        if key in self._bodies:
            return
        self._bodies[key] = body
        self._size += len(body)
        while self._size > self._most and len(self._bodies) > 1:
            _, dropped = self._bodies.popitem(last=False)
            self._size -= len(dropped)

    def _key(self, result: Result, kind: str) -> tuple[str, str | None, str]:
        return result.id, result.payload_id, kind  # a payload that was erased since is not sent from here
