"""What is made of a request before anything of it is stored."""

from __future__ import annotations

import pytest

from tests.support.stage import URL, Stage


async def test_what_cannot_be_prepared_keeps_no_slot(sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One notification after the other took one, until nothing was fetched at once any more."""
    webhook = await sqlite_stage.add_webhook()

    def siblings(*_: object) -> tuple[str, ...]:
        raise KeyError("of another webhook, with a profile that was changed")

    monkeypatch.setattr(sqlite_stage.floor.bindings, "siblings", siblings)
    with pytest.raises(KeyError):
        await sqlite_stage.receive(webhook, {"response_url": URL})
    assert sqlite_stage.fetching.crew.slots.taken == 0
