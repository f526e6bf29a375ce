"""Which headers go to which origin."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ForeignOrigin
from relay.model import Secret
from relay.outbound.authorization import CREDENTIAL_HEADERS, FRAMING_HEADERS, Authorization, headers_for

ORIGINS = st.sampled_from(
    [
        "https://good.test",
        "http://good.test",
        "https://good.test:8443",
        "https://evil.test",
        "https://good.test.evil.test",
    ]
)


def basic(origins: Iterable[str]) -> Authorization:
    return Authorization(frozenset(origins), {"Authorization": Secret("Basic dXNlcjpwYXNz"), "X-Key": Secret("k")})


@given(
    origin=ORIGINS,
    own=st.none() | st.frozensets(ORIGINS),
    allowed=st.frozensets(ORIGINS),
    given_headers=st.dictionaries(st.sampled_from(["Accept", "X-Key", "Host"]), st.just("given")),
)
def test_credentials_go_where_they_belong_and_is_allowed_and_nowhere_else(
    origin: str, own: frozenset[str] | None, allowed: frozenset[str], given_headers: dict[str, str]
) -> None:
    authorization = None if own is None else basic(own)
    try:
        headers = headers_for(origin, given_headers, authorization, allowed)
    except ForeignOrigin:
        assert (own is not None and origin not in own) or (allowed and origin not in allowed)
        return
    assert own is None or origin in own
    assert not allowed or origin in allowed
    assert headers.get("authorization") == (None if own is None else "Basic dXNlcjpwYXNz")
    assert headers.get("x-key") == (
        "given" if own is None and "X-Key" in given_headers else None if own is None else "k"
    )


@pytest.mark.parametrize("name", sorted(CREDENTIAL_HEADERS))
@pytest.mark.parametrize("spelling", [str.lower, str.upper, str.title])
def test_credentials_among_the_other_headers_are_refused(name: str, spelling: Callable[[str], str]) -> None:
    for authorization in (None, basic(["https://good.test"])):
        with pytest.raises(ForeignOrigin, match="through Authorization"):
            headers_for("https://good.test", {spelling(name): "x"}, authorization, frozenset())


@pytest.mark.parametrize("name", sorted(FRAMING_HEADERS))
@pytest.mark.parametrize("spelling", [str.lower, str.upper, str.title])
def test_what_frames_a_request_is_left_to_the_http_library(name: str, spelling: Callable[[str], str]) -> None:
    headers = headers_for("https://good.test", {spelling(name): "x", "X-A": "b"}, None, frozenset())
    assert headers == {"x-a": "b"}
