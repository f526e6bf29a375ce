"""Notifications that the official packages signed come in at real callback URLs.

That the profiles verify them, and OpenAI's public test vector, is in tests/providers/test_verification.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import standardwebhooks

from relay.demo.stand_in import WRONG_SECRET
from tests.support.later import later
from tests.support.through import Through, through

svix = later("svix")

SIGNING: Final = ("openai", "pulse", "reducto", "replicate")
SIGN: Final[dict[str, Callable[[str, str, datetime, str], str]]] = {
    "webhook": lambda secret, id, moment, body: standardwebhooks.Webhook(secret).sign(id, moment, body),
    "svix": lambda secret, id, moment, body: svix.Webhook(secret).sign(id, moment, body),
}


@dataclass
class Provider:
    """Signs as its official package does, with the header names that belong to it."""

    relay: Through
    family: str

    async def tells(
        self, body: bytes, *, secret: str | None = None, age: float = 0.0, sent: bytes | None = None
    ) -> int:
        """The status of the answer to a notification; `sent` is what comes in place of what was signed."""
        moment = datetime.now(UTC) - timedelta(seconds=age)
        shown = self.relay.stand_in.signing_secret.reveal() if secret is None else secret
        signature = SIGN[self.family](shown, "msg_1", moment, body.decode())
        named = {"id": "msg_1", "timestamp": str(int(moment.timestamp())), "signature": signature}
        headers = {f"{self.family}_{name}": value for name, value in named.items()}
        url = self.relay.webhook["callback_url"]
        return (await self.relay.caller.notify(url, body if sent is None else sent, **headers)).status

    async def statuses(self) -> list[Any]:
        """Of the notifications, newest first."""
        return [note["status"] for note in await self.relay.caller.page("/v1/notifications")]


@pytest.fixture(params=[(name, family) for name in SIGNING for family in SIGN], ids="-".join)
async def provider(request: pytest.FixtureRequest, sqlite_stage_url: str, tmp_path: Path) -> AsyncIterator[Provider]:
    name, family = request.param
    async with through(sqlite_stage_url, tmp_path, name) as relay:
        yield Provider(relay, family)


async def test_what_the_official_packages_signed_is_accepted_and_anything_else_is_a_401(provider: Provider) -> None:
    stand_in = provider.relay.stand_in
    job = stand_in.open()
    body = orjson.dumps(stand_in.notification(job))
    assert await provider.tells(body, secret=WRONG_SECRET.reveal()) == 401
    assert await provider.tells(body, sent=body + b" ") == 401
    assert await provider.tells(body, age=600) == 401
    assert not stand_in.requests and not await provider.relay.caller.page("/v1/jobs")
    assert await provider.tells(body) == 200
    assert await provider.statuses() == ["accepted", "rejected", "rejected", "rejected"]
    ended = await provider.relay.caller.ended((await provider.relay.the_job())["id"])
    assert ended["provider_job_id"] == job.id
    (message,) = await provider.relay.sink.wait_for(1)
    assert message.verified and b"earlier, smaller, colder" in message.body
