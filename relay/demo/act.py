"""The round trip itself: who plays, what happens in which order, and the lines that tell it."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson

from relay.clock import Clock, Instant, parse_rfc3339
from relay.demo.api import Api, DemoFailed
from relay.demo.netnut import NetNut
from relay.demo.sink import Message, Sink
from relay.demo.timeline import Moment, Timeline, size
from relay.model import Secret

WEBHOOK: Final = "netnut-demo"
SUBSCRIBERS: Final = ("billing", "search")
LOOK_AGAIN_SECONDS: Final = 0.05
PROMPT: Final = "What are the latest trends in the coffee industry?"


@dataclass(frozen=True)
class Cast:
    """Everybody on the stage."""

    netnut: NetNut
    sink: Sink
    api: Api
    session: aiohttp.ClientSession
    relay_url: str
    admin_key: Secret
    dashboard: str = ""  # a link that signs in


class Act:
    """One demo being played."""

    def __init__(self, cast: Cast, timeline: Timeline, clock: Clock) -> None:
        self._cast = cast
        self._timeline = timeline
        self._clock = clock
        self._started = clock.now()
        self._names: dict[str, str] = {}  # of subscriptions by id
        self._callback_url = ""
        self._webhook_id = ""
        self._shown = 0  # messages at the subscriber that the timeline has told

    async def play(self) -> None:
        """One round trip. Raises DemoFailed."""
        self._timeline.title("relay demo: one round trip, NetNut and the subscriber are stand-ins on this machine")
        self._timeline.say()
        await self._register()
        await self._ask()
        notification = await self._notification()
        job = await self._fetched(notification["job_id"])
        if job["result_id"] is None:
            raise DemoFailed(f"the job ended as {job['status']} without a result")
        await self._stored(job["result_id"])
        await self._delivered(job["result_id"])

    def invite(self) -> None:
        """What the person in front of it can do now."""
        cast, say = self._cast, self._timeline.say
        body = orjson.dumps({"prompt": "tea", "async": True, "callback_url": self._callback_url}).decode()
        user = f"{cast.netnut.username}:{cast.netnut.password.reveal()}"
        say()
        self._timeline.title("Relay stays up until you press Ctrl-C.")
        self._timeline.facts(
            {
                "dashboard": cast.dashboard,
                "playground": f"{cast.relay_url}/ui/playground",
                "API": f"{cast.relay_url}/v1",
                "API document": f"{cast.relay_url}/docs",
                "admin key": cast.admin_key.reveal(),
                "callback URL": self._callback_url,
                "NetNut": f"{cast.netnut.url}/search",
                "subscriber": " ".join(f"{cast.sink.url}/{name}" for name in SUBSCRIBERS),
            }
        )
        say()
        self._timeline.title("Ask NetNut for something more; its result shows up below, signed:")
        say(f"  curl -u {user} {cast.netnut.url}/search -H 'content-type: application/json' -d {shlex.quote(body)}")
        self._timeline.title("See what is stored:")
        say(f"  curl -H 'authorization: Bearer {cast.admin_key.reveal()}' {cast.relay_url}/v1/results")
        say()

    async def watch(self) -> None:
        """Show every delivery that arrives, for ever."""
        async for message in self._messages():
            self._show_message(message)

    async def _register(self) -> None:
        cast = self._cast
        credentials = {"username": cast.netnut.username, "password": cast.netnut.password.reveal()}
        wanted: dict[str, Any] = {"name": WEBHOOK, "provider": "netnut", "credentials": credentials}
        made = await cast.api.post("/v1/webhooks", {**wanted, "origins": [cast.netnut.url]})
        self._webhook_id, self._callback_url = made.body["id"], made.body["callback_url"]
        self._show("register", f"webhook {WEBHOOK}", made.status, made.took_ms, "gives a callback URL")
        for name in SUBSCRIBERS:
            made = await cast.api.post("/v1/subscriptions", {"name": name, "url": f"{cast.sink.url}/{name}"})
            cast.sink.trust(f"/{name}", Secret(made.body["secret"]))
            self._names[made.body["id"]] = name
            self._show("subscribe", name, made.status, made.took_ms, "gives a signing secret")

    async def _ask(self) -> None:
        cast, started = self._cast, self._clock.monotonic()
        password = cast.netnut.password.reveal()
        headers = {"authorization": aiohttp.encode_basic_auth(cast.netnut.username, password)}
        body = {"engine": "perplexity", "prompt": PROMPT, "async": True, "callback_url": self._callback_url}
        async with cast.session.post(f"{cast.netnut.url}/search", json=body, headers=headers) as answer:
            await answer.read()
        took = (self._clock.monotonic() - started) * 1000
        self._show("ask", "POST /search at NetNut", answer.status, took, "async, with the callback URL")

    async def _notification(self) -> dict[str, Any]:
        while not (page := await self._cast.api.get("/v1/notifications", webhook_id=self._webhook_id))["data"]:
            await self._clock.sleep(LOOK_AGAIN_SECONDS)
        while not self._cast.netnut.callbacks:
            await self._clock.sleep(LOOK_AGAIN_SECONDS)
        found: dict[str, Any] = page["data"][0]
        note, at = f"{found['status']}, on disk before it was answered", parse_rfc3339(found["received_at"])
        called = self._cast.netnut.callbacks[0]
        self._show("notified", "POST /in/… from NetNut", called.status, called.took_ms, note, at)
        return found

    async def _fetched(self, job_id: str) -> dict[str, Any]:
        shown = 0
        while True:
            job = await self._cast.api.get(f"/v1/jobs/{job_id}")
            attempts = (await self._cast.api.get(f"/v1/jobs/{job_id}/attempts"))["data"]
            attempts.sort(key=lambda attempt: attempt["number"])
            for attempt in attempts[shown:]:
                self._show_fetch(attempt)
            shown = len(attempts)
            if job["status"] not in ("waiting", "fetching"):
                return job
            await self._clock.sleep(LOOK_AGAIN_SECONDS)

    def _show_fetch(self, attempt: dict[str, Any]) -> None:
        status, code = attempt["http_status"], attempt["error_code"]
        note = "not ready yet, asked again soon" if status == 202 else (code or "the result")
        what, at = "GET response_url, Basic auth", parse_rfc3339(attempt["started_at"])
        self._show(f"fetch #{attempt['number']}", what, status, attempt["duration_ms"], note, at)

    async def _stored(self, result_id: str) -> None:
        result = await self._cast.api.get(f"/v1/results/{result_id}")
        note = f"{size(result['size_bytes'])}, sha256 {result['sha256'][:12]}…"
        self._show("stored", result["type"], None, None, note, parse_rfc3339(result["fetched_at"]))

    async def _delivered(self, result_id: str) -> None:
        messages: dict[str, Message] = {}
        async for message in self._messages():
            messages[message.path.strip("/")] = message
            if len(messages) == len(SUBSCRIBERS):
                break
        attempts = [(attempt, name) for name, made in await self._settled(result_id) for attempt in made]
        for attempt, name in sorted(attempts, key=lambda pair: str(pair[0]["started_at"])):
            self._show_delivery(name, attempt, messages[name])
        if any(message.verified is not True or message.message_id != result_id for message in messages.values()):
            raise DemoFailed("a delivery arrived whose signature does not verify")

    async def _settled(self, result_id: str) -> list[tuple[str, list[dict[str, Any]]]]:
        """The subscribers' names with the attempts to reach them, once the relay knows how each delivery ended."""
        api = self._cast.api
        while True:
            found = (await api.get("/v1/deliveries", result_id=result_id))["data"]
            if all(delivery["status"] != "pending" for delivery in found):
                whole = [await api.get(f"/v1/deliveries/{delivery['id']}") for delivery in found]
                return [(self._names[delivery["subscription_id"]], delivery["attempts"]) for delivery in whole]
            await self._clock.sleep(LOOK_AGAIN_SECONDS)

    def _show_delivery(self, name: str, attempt: dict[str, Any], message: Message) -> None:
        at, status = parse_rfc3339(attempt["started_at"]), attempt["http_status"]
        self._show("delivered", f"POST /{name}", status, attempt["duration_ms"], _verdict(message), at)

    async def _messages(self) -> AsyncIterator[Message]:
        """Every message at the subscriber that was not shown yet."""
        while True:
            for message in await self._cast.sink.after(self._shown):
                self._shown += 1
                yield message

    def _show_message(self, message: Message) -> None:
        self._show("delivered", f"POST {message.path}", message.answered, None, _verdict(message), message.at)

    def _show(
        self, stage: str, what: str, status: int | None, took_ms: float | None, note: str, at: Instant | None = None
    ) -> None:
        at_ms = (self._clock.now() if at is None else at) - self._started
        self._timeline.show(Moment(at_ms=at_ms, stage=stage, what=what, status=status, took_ms=took_ms, note=note))


def _verdict(message: Message) -> str:
    verdict = "signature verified" if message.verified else "signature NOT verified"
    trigger = message.headers.get("relay-trigger", "new")
    return verdict if trigger == "new" else f"{verdict}, {trigger}"
