"""What the fourteen providers say, in the shapes that their documents and clients show (shared by the tests here)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from relay.model import Secret
from relay.providers.loader import load_profiles
from relay.providers.profile import Profile
from relay.providers.reading import Notice, Verdict, read_answer, read_notification
from relay.providers.submitting import Filled, Matched, Submitted, fill_request, match_call, read_submit

PROFILES: Final = load_profiles(None)
FOURTEEN: Final = [
    *("netnut", "pulse", "inference-net", "freddy"),
    *("openai", "fal", "replicate", "runpod", "assemblyai", "oxylabs", "firecrawl", "apify", "reducto", "brightdata"),
]
CALLBACK: Final = "https://relay.example/in/t0ken"
PARAMETERS: Final[Mapping[str, Mapping[str, str]]] = {
    "inference-net": {"webhook_id": "AhALzdz8S"},
    "runpod": {"endpoint_id": "ep1"},
}


def raw(body: object) -> bytes:
    """JSON, unless it is bytes already."""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def parameters(provider: str) -> dict[str, str]:
    return dict(PARAMETERS.get(provider, {}))


def told(provider: str, body: object, headers: Mapping[str, str] | None = None, query: str = "") -> Notice:
    return read_notification(PROFILES[provider], "POST", query, headers or {}, raw(body))


def answered(provider: str, body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Verdict:
    return read_answer(PROFILES[provider], status, headers or {}, raw(body))


def submitted(provider: str, call: str, body: object, status: int = 200) -> Submitted:
    method, _, path = call.partition(" ")
    return read_submit(PROFILES[provider], method, path, status, {}, raw(body))


def matched(provider: str, call: str) -> Matched | None:
    method, _, path = call.partition(" ")
    return match_call(PROFILES[provider], method, path, parameters(provider))


def filled(
    provider: str,
    call: str,
    body: bytes = b"{}",
    *,
    query: str = "",
    content_type: str = "application/json",
    **more: str,
) -> Any:
    """What a request becomes (a `Filled`), or why it cannot be sent (an `Unfit`)."""
    found = matched(provider, call)
    assert found is not None and found.submission is not None
    values = {name: Secret(value) for name, value in {"callback_url": CALLBACK, **parameters(provider), **more}.items()}
    return fill_request(
        found.submission,
        values,
        query=query,
        content_type=content_type,
        body=body,
        own_url="https://relay.example/in/",
    )


def filled_body(provider: str, call: str, body: object, **more: str) -> Any:
    """The same where the body is JSON and the request can be sent: what the provider reads."""
    result = filled(provider, call, raw(body), **more)
    assert isinstance(result, Filled), result
    return json.loads(result.body)


def base_url(profile: Profile) -> str:
    assert profile.base_url is not None
    return profile.base_url
