"""What answers: a relay that runs, and whatever stands between it and the providers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

import relay
from relay.client.errors import NotAllowed
from relay.client.http import Api
from relay.client.probe import Told, ask
from relay.clock import Clock
from relay.doctor.findings import Finding, fail, ok, warn
from relay.errors import RelayError
from relay.model import Secret
from relay.outbound.addresses import AddressPolicy
from relay.outbound.deliveries import DeliveryDoor, Refusal
from relay.settings import Settings

NO_TOKEN: Final = "/in/doctor"  # no callback URL: answered 404 whatever is sent
FAR_OFF_SECONDS: Final = 5.0


def proxy(settings: Settings) -> Iterator[Finding]:
    """Whether a notification of the largest size gets through to a relay at the public address."""
    url, size = settings.public_url, settings.max_notification_bytes
    answer = ask(f"{url}/livez")
    if isinstance(answer, str):
        yield warn("public-url", f"nothing answers at {url}: {answer}",
                   "if Relay runs: does the name lead here, and does the proxy's certificate stand?")  # fmt: skip
        return
    if 300 <= answer.status < 400:
        yield fail("public-url", f"{url} answers with a redirect to {answer.location}, which providers do not follow",
                   "set RELAY_PUBLIC_URL to the address that it leads to")  # fmt: skip
        return
    if not _is_alive(answer):
        yield fail("public-url", f"something else than Relay answers at {url} (HTTP {answer.status})",
                   "have the proxy pass /in/, /livez and /readyz to Relay")  # fmt: skip
        return
    yield from _largest(f"{url}{NO_TOKEN}", size)
    if settings.management_port is not None:
        yield from _hidden(url)


def _largest(url: str, size: int) -> Iterator[Finding]:
    answer = ask(url, "POST", size)
    if isinstance(answer, Told) and answer.status == 404 and answer.content_type.startswith("application/problem+json"):
        yield ok("proxy", f"bodies up to RELAY_MAX_NOTIFICATION_BYTES ({size}) come through")
    elif isinstance(answer, Told) and answer.status == 413:
        yield fail("proxy", f"what is in front of Relay refuses a notification of {size} bytes (413)",
                   "raise its limit (nginx: client_max_body_size, Caddy: max_size) under /in/")  # fmt: skip
    else:
        told = answer if isinstance(answer, str) else f"HTTP {answer.status}"
        yield fail("proxy", f"a POST under /in/ does not come through: {told}",
                   "have the proxy pass /in/ to Relay with any method, path and body")  # fmt: skip


def _hidden(url: str) -> Iterator[Finding]:
    answer = ask(f"{url}/v1/stats")
    if isinstance(answer, Told) and answer.status in (200, 401):
        yield warn("proxy", f"the API answers at {url}, although it has a port of its own",
                   "pass only /in/, /livez, /readyz and /v1/results/ from the public address")  # fmt: skip


def _is_alive(answer: Told) -> bool:
    return answer.status == 200 and _json(answer.body).get("status") == "ok"


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def running(url: str, key: Secret | None, clock: Clock, *, expected: bool) -> Iterator[Finding]:
    """The relay that commands speak to. `expected` = somebody says that one runs there."""
    answer = ask(f"{url}/readyz")
    if isinstance(answer, str):
        if expected:
            yield fail("running", f"nothing answers at {url}: {answer}", "is it running, and is RELAY_URL right?")
        else:
            yield ok("running", "no relay runs here now: only its settings were looked at")
        return
    states = _json(answer.body).get("components")
    if not isinstance(states, dict):
        yield fail("running", f"something else than Relay answers at {url} (HTTP {answer.status})", "set RELAY_URL")
        return
    wrong = [f"{name} {state}" for name, state in states.items() if state not in (True, "ok")]
    if answer.status != 200:
        yield fail("running", f"it is not ready: {', '.join(wrong) or 'the database does not answer'}",
                   "its log says more; `relay doctor` on its machine, too")  # fmt: skip
    else:
        yield ok("running", f"{url} is ready")
    yield from time_of(answer.date, clock)
    yield from version(url)
    if key is not None:
        yield from trouble(url, key)
    elif expected:
        yield warn("key", "RELAY_API_KEY is not set: nobody asked the relay what troubles it",
                   "set it to a key of this relay; the scope read is enough")  # fmt: skip


def time_of(date: str, clock: Clock) -> Iterator[Finding]:
    """The clock of whoever answered with this `Date`, against ours."""
    try:
        off = parsedate_to_datetime(date).timestamp() - clock.now() / 1000
    except (TypeError, ValueError):
        return
    if abs(off) > FAR_OFF_SECONDS:
        yield warn("clock", f"the relay's clock is {off:+.0f} s off this machine's: subscribers check the time",
                   "have chrony or systemd-timesyncd keep the time on both")  # fmt: skip


def version(url: str) -> Iterator[Finding]:
    """Whether the relay is of this version."""
    answer = ask(f"{url}/openapi.json")
    info = {} if isinstance(answer, str) or answer.status != 200 else _json(answer.body).get("info") or {}
    theirs = info.get("version")
    if theirs == relay.__version__:
        yield ok("version", f"{theirs}, here and there")
    elif theirs is not None:
        yield warn("version", f"the relay is {theirs}, this command is {relay.__version__}", "install the same version")


def trouble(url: str, key: Secret) -> Iterator[Finding]:
    """What needs somebody, as the relay itself tells those who show a key."""
    try:
        with Api(url, key) as api:
            stats = api.call("GET", "/v1/stats")
            hooks = [item["name"] for item in api.pages("/v1/webhooks", {}) if item["status"] == "credentials_rejected"]
            held = [item["name"] for item in api.pages("/v1/subscriptions", {}) if item["status"] == "disabled"]
    except NotAllowed as error:
        yield fail("key", f"{url} does not take the key: {error}", "set RELAY_API_KEY to a key of this relay")
        return
    except RelayError as error:
        yield fail("running", str(error), "its log says more")
        return
    yield ok("key", "the relay takes it")
    if hooks:
        yield warn("credentials", f"providers refuse the credentials of {', '.join(hooks)}",
                   "PATCH them; what waits is fetched at once")  # fmt: skip
    if held:
        yield warn("subscriptions", f"disabled: {', '.join(held)}", "mend the subscriber, then `relay sub enable NAME`")
    if stats["jobs_overdue"]:
        yield warn("deadlines", f"{stats['jobs_overdue']} jobs are past their deadline",
                   "`relay job list --status waiting,fetching`: last_error says what the provider answers")  # fmt: skip


def subscribers(settings: Settings, key: Secret, clock: Clock) -> Iterator[Finding]:
    """Whether the allow list lets deliveries go where subscriptions want them. Asks for names, calls nobody."""
    try:
        with Api(settings.url, key) as api:
            urls = {item["name"]: item["url"] for item in api.pages("/v1/subscriptions", {}) if item.get("url")}
    except RelayError:
        return  # said already
    found = asyncio.run(_refused(urls, settings, clock))
    for name, refusal in found.items():
        advice = f"add {refusal.setting} to RELAY_EGRESS_ALLOW" if refusal.setting else "change the subscription's URL"
        if "egress_allow" in settings.model_fields_set:
            yield fail("egress", f"deliveries to {name} are refused: {refusal.detail}", advice)
        else:  # the relay may have been started with others than whoever asks
            says = f"deliveries to {name} would be refused without RELAY_EGRESS_ALLOW, which is not set here"
            yield warn("egress", says, f"{advice}, unless the relay has it already")
    if urls and not found:
        yield ok("egress", f"the URLs of all {len(urls)} subscriptions may be called")


async def _refused(urls: Mapping[str, str], settings: Settings, clock: Clock) -> dict[str, Refusal]:
    door = DeliveryDoor(AddressPolicy(settings.egress_allow), clock)
    try:
        looked = {name: await door.check(url) for name, url in urls.items()}
    finally:
        await door.close()
    return {name: refusal for name, refusal in looked.items() if refusal is not None}


def is_local(url: str) -> bool:
    """Whether `url` is of this machine."""
    return (urlsplit(url).hostname or "") in ("127.0.0.1", "localhost", "::1")
