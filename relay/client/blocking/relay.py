"""The client: one object that has all of a relay."""

from __future__ import annotations

import json as texts
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

from relay.client.blocking.api import ANSWER_SECONDS, Api
from relay.client.blocking.deliveries import Deliveries
from relay.client.blocking.jobs import Jobs, Submission
from relay.client.blocking.live import happenings
from relay.client.blocking.pull import LEASE_SECONDS, Message, pulled
from relay.client.blocking.replays import Replays
from relay.client.blocking.results import Results
from relay.client.blocking.subscriptions import Subscriptions
from relay.client.blocking.webhooks import Webhooks
from relay.client.environment import from_environment
from relay.client.errors import ProviderRefused
from relay.client.pauses import Pause, pause
from relay.client.things import Happening, Subscription, Webhook, id_of
from relay.clock import Clock
from relay.model import Secret

RETRIES = 5


class Relay:
    """A relay, for a program. Use it as a context manager, or `aclose` it.

        with Relay("https://relay.internal", api_key="rk_…") as relay:
            webhook = relay.webhooks.create("netnut-prod", "netnut", credentials={…})

    `retries`: how often a request is repeated that met nobody, or a relay that is starting or busy; what is repeated
    takes effect once. `timeout`: seconds for one answer, besides what the relay was asked to wait. Methods raise
    `relay.client.ApiError` (and its kinds), `Unreachable` and `Unexpected`. One client may be used by many tasks.
    """

    def __init__(
        self,
        url: str,
        api_key: str | Secret,
        *,
        timeout: float = ANSWER_SECONDS,
        retries: int = RETRIES,
        pause: Pause = pause,
        clock: Clock | None = None,
    ) -> None:
        key = api_key if isinstance(api_key, Secret) else Secret(api_key)
        api = Api(url.rstrip("/"), key, retries=retries, answer_seconds=timeout, pause=pause, clock=clock)
        self._api = api
        self.webhooks = Webhooks(api)
        self.jobs = Jobs(api)
        self.results = Results(api)
        self.subscriptions = Subscriptions(api)
        self.deliveries = Deliveries(api)
        self.replays = Replays(api)

    @classmethod
    def from_env(cls, *, timeout: float = ANSWER_SECONDS, retries: int = RETRIES) -> Self:
        """The relay at RELAY_URL, with RELAY_API_KEY. Raises SettingError that names what is missing."""
        url, key = from_environment()
        return cls(url, key, timeout=timeout, retries=retries)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._api.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._api.close()

    def submit(
        self,
        webhook: Webhook | str,
        method: str,
        path: str,
        *,
        json: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Submission:
        """Have the provider asked for work, with the webhook's credentials and callback URL put in.

        `path`: the provider's own, such as "/v1/slow". `metadata` comes along with every delivery. Without an
        `idempotency_key` each call of this method is a request of its own. Raises ProviderRefused when the provider
        answers with an error.
        """
        more = dict(headers or {})
        if metadata is not None:
            more["relay-metadata"] = _json(metadata)
        if idempotency_key is not None:
            more["idempotency-key"] = idempotency_key
        address = f"/submit/{quote(id_of(webhook), safe='')}/{path.removeprefix('/')}"
        response = self._api.forward(method, address, headers=more, json=json, content=content)
        job_id = response.headers.get("relay-job-id")
        told = dict(response.headers)
        if not response.is_success:
            raise ProviderRefused(response.status_code, told, response.content, job_id)
        return Submission(self.jobs, response.status_code, told, response.content, job_id)

    def stream(
        self, *, types: Sequence[str] = (), webhook: Webhook | str | None = None, after: str | None = None
    ) -> Iterator[Happening]:
        """What happens, as it happens, for ever: resumed whenever it breaks, each event once.

        `types`: nouns or types, such as "result" or "delivery.exhausted". `after`: the `cursor` of an earlier event, at
        most an hour old. For looking, not for relying on: a subscription loses nothing, this may; what it may have
        missed it says with an event of the type `stream.gap`. Raises ApiError when the relay refuses for good.
        """
        params = {"types": tuple(types) or None, "webhook_id": None if webhook is None else id_of(webhook)}
        return happenings(self._api, params, after)

    def pull(
        self, subscription: Subscription | str, *, batch: int = 1, lease_seconds: int = LEASE_SECONDS
    ) -> Iterator[Message]:
        """The messages of a pull subscription (its id), for ever, through restarts of the relay.

            for message in relay.pull("sub_…"):
                with message:  # acknowledged at its end; given back if it raises
                    handle(message.event)

        A message whose lease ends before it is acknowledged comes again. `batch`: how many to lease at a time; all of
        them have to be handled within `lease_seconds`. Raises ApiError when the relay refuses for good.
        """
        return pulled(self._api, id_of(subscription), batch, lease_seconds)


def _json(value: Mapping[str, Any]) -> str:
    return texts.dumps(dict(value), separators=(",", ":"))
