"""Statuses that a profile does not know: jobs that have one go on waiting, and somebody should look at the profile."""

from __future__ import annotations

from typing import Final

import structlog

from relay.pipeline.bindings import Binding
from relay.pipeline.excerpt import redact, scrub
from relay.providers.reading import Verdict

log = structlog.get_logger(__name__)

MOST: Final = 1000  # words that are remembered: who makes up a new one each time is not warned of for ever


class OddStatuses:
    """Warns once for each webhook and word."""

    def __init__(self) -> None:
        self._warned: set[tuple[str, str]] = set()

    def warn(self, binding: Binding, verdict: Verdict) -> None:
        """Say that a status is not in the profile."""
        word = verdict.provider_status or ""
        key = (binding.webhook.id, word)
        if key in self._warned or len(self._warned) >= MOST:
            return
        self._warned.add(key)
        log.warning(
            "fetch.unknown_status",
            webhook_id=binding.webhook.id,
            provider=binding.profile.name,
            provider_status=scrub(redact(word, binding.confidential())),
        )
