"""Which subscriptions want a result: by webhook and type, and by content for those that have a filter.

Filters are compiled once for each configuration. Where no subscription has one, nothing of this is done; a payload is
parsed when the first filter looks into it, and not again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import structlog

from relay.frozen import frozen
from relay.jsontext import NOT_JSON, read_strict
from relay.model import RESULT_TYPES, Result, Subscription
from relay.pipeline.envelope import MAX_ENVELOPE_BYTES, envelope_head
from relay.pipeline.filter_language import FilterError, compile_filter
from relay.pipeline.filters import MISSING, Filter, Miss
from relay.store.configuration import Configuration

log = structlog.get_logger(__name__)

SHOWN_MISSES: Final = 20
_UNREAD: Final = object()


def matches(subscription: Subscription, result: Result) -> bool:
    """Whether this subscription wants this result, as far as webhook and type tell."""
    if subscription.deleted_at is not None:
        return False
    if subscription.webhook_ids is not None and result.webhook_id not in subscription.webhook_ids:
        return False
    return result.type in (RESULT_TYPES if subscription.event_types is None else subscription.event_types)


class Content:
    """A payload as filters see it: parsed when one of them looks, and only once."""

    __slots__ = ("_payload", "_value")

    def __init__(self, payload: bytes | None) -> None:
        self._payload = payload if payload is not None and len(payload) <= MAX_ENVELOPE_BYTES else None
        self._value: Any = MISSING if self._payload is None else _UNREAD

    @property
    def value(self) -> Any:
        """Its JSON value; MISSING where there is no payload, where it is not JSON, and where it is over 1 MiB."""
        if self._value is _UNREAD:
            read = read_strict(self._payload or b"")
            self._value = MISSING if read is NOT_JSON else read
        return self._value

    @property
    def is_json(self) -> bool | None:
        """Whether every strict parser takes it; None when nobody has looked."""
        return None if self._payload is None or self._value is _UNREAD else self._value is not MISSING


NO_PAYLOAD: Final = Content(None)


class Subject:
    """One result as filters see it."""

    __slots__ = ("_content", "head")

    def __init__(self, result: Result, configuration: Configuration, content: Content) -> None:
        webhook = configuration.webhooks.get(result.webhook_id)
        name, provider = ("", "") if webhook is None else (webhook.name, webhook.provider)
        self.head: Mapping[str, Any] = envelope_head(result, name, provider)
        self._content = content

    @property
    def payload(self) -> Any:
        """The payload's JSON value, MISSING where there is none."""
        return self._content.value


class Router:
    """Answers who wants a result."""

    def __init__(self) -> None:
        self._configuration: Configuration | None = None
        self._filters: Mapping[str, Filter | None] = {}

    def wanted(self, result: Result, configuration: Configuration, content: Content) -> list[Subscription]:
        """The subscriptions that want it."""
        found = [item for item in configuration.subscriptions.values() if matches(item, result)]
        filters = self._of(configuration)
        if not filters or not any(item.id in filters for item in found):
            return found
        subject = Subject(result, configuration, content)
        return [item for item in found if item.id not in filters or _passes(filters[item.id], subject)]

    def reads_payload(self, subscription: Subscription, configuration: Configuration) -> bool:
        """Whether its filter looks into payloads."""
        found = self._of(configuration).get(subscription.id)
        return found is not None and found.reads_payload

    def passes(self, subscription: Subscription, subject: Subject, configuration: Configuration) -> bool:
        """Whether its filter, if it has one, lets this through."""
        filters = self._of(configuration)
        return subscription.id not in filters or _passes(filters[subscription.id], subject)

    def _of(self, configuration: Configuration) -> Mapping[str, Filter | None]:
        if configuration is not self._configuration:
            items = configuration.subscriptions.values()
            self._filters = {item.id: _compiled(item) for item in items if item.filter and item.deleted_at is None}
            self._configuration = configuration
        return self._filters


def _compiled(subscription: Subscription) -> Filter | None:
    try:
        return compile_filter(subscription.filter or {})
    except FilterError as error:  # stored by another version: sent to nobody rather than to whom it is not meant for
        log.error("subscription.filter_unreadable", subscription_id=subscription.id, place=error.place)
        return None


def _passes(filter: Filter | None, subject: Subject) -> bool:
    return filter is not None and filter.matches(subject)


@frozen()
class Verdict:
    """Whether a subscription wants a result, and if not, why not."""

    matches: bool
    reason: str | None  # webhook_ids | event_types | filter
    misses: Sequence[Miss]
    payload: str | None  # why a filter that looks into the payload finds none: absent | too_large | not_json


def explain(
    subscription: Subscription,
    filter: Filter | None,
    result: Result,
    payload: bytes | None,
    configuration: Configuration,
) -> Verdict:
    """Judge with `filter` in the place of the subscription's own. `payload` may be left out where it is too large."""
    content = Content(payload)
    subject = Subject(result, configuration, content)
    looked = filter is not None and filter.reads_payload
    state = _state_of(result, content) if looked else None
    if subscription.webhook_ids is not None and result.webhook_id not in subscription.webhook_ids:
        return Verdict(False, "webhook_ids", (), state)
    if not matches(subscription, result):
        return Verdict(False, "event_types", (), state)
    if filter is None or filter.matches(subject):
        return Verdict(True, None, (), state)
    return Verdict(False, "filter", tuple(_first(filter.misses(subject))), state)


def _first(misses: Iterator[Miss]) -> Iterator[Miss]:
    for miss, _ in zip(misses, range(SHOWN_MISSES), strict=False):
        yield miss


def _state_of(result: Result, content: Content) -> str | None:
    if result.payload_id is None:
        return "absent"
    if (result.size_bytes or 0) > MAX_ENVELOPE_BYTES:
        return "too_large"
    return "not_json" if content.value is MISSING else None
