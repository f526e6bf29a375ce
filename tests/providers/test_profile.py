"""What a profile computes: request headers and result URLs."""

from __future__ import annotations

import base64

import pytest

from relay.model import Secret
from relay.providers.loader import parse_profile
from relay.providers.profile import Auth, Fetch
from tests.support.messages import FULL


def revealed(auth: Auth, **credentials: str) -> dict[str, str]:
    headers = auth.headers({name: Secret(value) for name, value in credentials.items()})
    return {name: value.reveal() for name, value in headers.items()}


def test_basic_is_built_with_utf8() -> None:
    expected = "Basic " + base64.b64encode("Ünser:p:ä".encode()).decode()
    assert revealed(Auth(kind="basic"), username="Ünser", password="p:ä") == {"Authorization": expected}


def test_basic_matches_the_example_of_rfc_7617() -> None:
    assert revealed(Auth(kind="basic"), username="test", password="123£") == {"Authorization": "Basic dGVzdDoxMjPCow=="}


def test_bearer_and_header_carry_the_key() -> None:
    assert revealed(Auth(kind="bearer"), api_key="k") == {"Authorization": "Bearer k"}
    assert revealed(Auth(kind="header", header="x-api-key"), api_key="k") == {"x-api-key": "k"}
    assert revealed(Auth(kind="header", value_prefix="Key "), api_key="k") == {"Authorization": "Key k"}
    assert revealed(Auth()) == {}


def test_a_profile_says_which_credentials_it_needs() -> None:
    kinds = [Auth().credential_fields, Auth(kind="basic").credential_fields, Auth(kind="bearer").credential_fields]
    assert kinds == [(), ("username", "password"), ("api_key",)]


@pytest.mark.parametrize(
    ("auth", "credentials", "field"),
    [
        (Auth(kind="basic"), {"password": "hush-hush"}, "username"),
        (Auth(kind="basic"), {"username": "hush:hush", "password": "p"}, "username"),
        (Auth(kind="basic"), {"username": "u", "password": "hush\nhush"}, "password"),
        (Auth(kind="bearer"), {}, "api_key"),
        (Auth(kind="bearer"), {"api_key": ""}, "api_key"),
        (Auth(kind="bearer"), {"api_key": "hush\r\nx-other: 1"}, "api_key"),
        (Auth(kind="header"), {"api_key": "hüsh"}, "api_key"),
    ],
)
def test_a_credential_that_cannot_be_sent_is_named_and_not_shown(
    auth: Auth, credentials: dict[str, str], field: str
) -> None:
    with pytest.raises(ValueError, match=f"'{field}'") as caught:
        revealed(auth, **credentials)
    assert "hush" not in str(caught.value)


def fetch() -> Fetch:
    return parse_profile(FULL, "acme.toml").fetch


def test_the_result_url_is_made_from_the_template() -> None:
    url = fetch().url("https://api.acme.example/v2/", "job/1?x", {"project": "a b", "organization_id": "o&1"})
    assert url == "https://api.acme.example/v2/projects/a%20b/jobs/job%2F1%3Fx?organizationId=o%261"


def test_a_query_parameter_that_is_not_given_is_left_out() -> None:
    assert fetch().url("https://h", "j", {"project": "p"}) == "https://h/projects/p/jobs/j"


def test_what_looks_like_a_placeholder_in_a_value_is_not_filled_in() -> None:
    assert fetch().url("https://h", "{project}", {"project": "p"}) == "https://h/projects/p/jobs/%7Bproject%7D"


@pytest.mark.parametrize("value", [".", ".."])
def test_a_dot_segment_does_not_get_into_a_path(value: str) -> None:
    with pytest.raises(ValueError, match="dot segment"):
        fetch().url("https://h", value, {"project": "p"})
    with pytest.raises(ValueError, match="dot segment"):
        fetch().url("https://h", "j", {"project": value})
