"""`relay …` with faults built in: `python -m tests.support.faulty_relay serve`.

What is called `crash` makes the stage that works on it raise, with secrets in its local variables, so that a test can
look at what is written about such a surprise. None of this is a setting of Relay.
"""

from __future__ import annotations

from typing import Any, NoReturn

from relay.cli.main import main
from relay.model import Webhook
from relay.pipeline.asking import Asker
from relay.pipeline.bindings import Binding
from relay.pipeline.deliver import Deliverer
from relay.pipeline.receive import Receiver
from relay.store import webhooks


def break_everything() -> None:
    """Take one function of each stage and have it raise for what is called `crash`."""
    ask, headers, receive, insert = Asker.ask, Deliverer._headers, Receiver.receive, webhooks.insert
    soon = Receiver.receive_soon

    async def faulty_ask(self: Any, job: Any, binding: Binding, url: str) -> Any:
        if job.provider_job_id == "crash":
            _raise({name: value.reveal() for name, value in binding.webhook.credentials.items()})
        return await ask(self, job, binding, url)

    def faulty_headers(self: Any, work: Any, job_id: str, subscription: Any, body: bytes, now: Any) -> Any:
        made = headers(self, work, job_id, subscription, body, now)
        if subscription.name == "crash":
            _raise({**made, "secret": subscription.secrets[0].reveal()})
        return made

    async def faulty_receive(self: Any, admitted: Any, inbound: Any) -> Any:
        if inbound.suffix == "/crash":
            _raise(dict(inbound.headers))
        return await receive(self, admitted, inbound)

    def not_soon(self: Any, admitted: Any, inbound: Any, then: Any) -> bool:
        return inbound.suffix != "/crash" and soon(self, admitted, inbound, then)

    def faulty_insert(connection: Any, webhook: Webhook, seal: Any) -> None:
        if webhook.name == "crash":
            _raise({name: value.reveal() for name, value in webhook.credentials.items()})
        insert(connection, webhook, seal)

    for owner, name, function in (
        (Asker, "ask", faulty_ask),
        (Deliverer, "_headers", faulty_headers),
        (Receiver, "receive", faulty_receive),
        (Receiver, "receive_soon", not_soon),
        (webhooks, "insert", faulty_insert),
    ):
        setattr(owner, name, function)


def _raise(local: dict[str, str]) -> NoReturn:
    """With the secrets in the local variables of every frame on the way."""
    raise RuntimeError(f"a planted fault, with {len(local)} local secrets")


if __name__ == "__main__":
    break_everything()
    main()
