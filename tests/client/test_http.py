from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from relay.client import http
from relay.client.http import Api, ApiError, Unexpected, Unreachable
from relay.model import Secret
from tests.support.fake_api import Answer, FakeApi, fake_api, page, problem


@pytest.fixture
def server() -> Iterator[FakeApi]:
    with fake_api() as fake:
        yield fake


@pytest.fixture
def api(server: FakeApi) -> Iterator[Api]:
    with Api(server.url, Secret("rk_key")) as opened:
        yield opened


def test_absent_parameters_are_not_sent(server: FakeApi, api: Api) -> None:
    api.call("GET", "/v1/jobs", params={"limit": 5, "cursor": None})
    assert server.last.query == {"limit": "5"}


def test_an_empty_answer_is_none(server: FakeApi, api: Api) -> None:
    server.answers = lambda _: Answer(b"", 204)
    assert api.call("DELETE", "/v1/keys/key_1") is None


def test_pages_are_asked_for_as_they_are_needed(server: FakeApi, api: Api) -> None:
    server.answers = lambda request: page({"n": len(server.requests)}, cursor=str(len(server.requests)))
    found = api.pages("/v1/jobs", {"status": "failed"})
    assert [next(found)["n"], next(found)["n"]] == [1, 2]
    assert server.requests[1].query == {"status": "failed", "limit": "200", "cursor": "1"}
    assert len(server.requests) == 2


def test_pages_end_with_the_last_one(server: FakeApi, api: Api) -> None:
    server.answers = lambda request: page({"n": 1}, cursor=None if request.query.get("cursor") else "2")
    assert len(list(api.pages("/v1/jobs", {}))) == 2


def test_a_download_comes_in_pieces(server: FakeApi, api: Api) -> None:
    server.answers = lambda _: Answer(b"x" * 200_000)
    pieces = list(api.download("/v1/results/res_1/payload"))
    assert b"".join(pieces) == b"x" * 200_000
    assert max(len(piece) for piece in pieces) <= http.CHUNK_BYTES


def test_a_problem_carries_what_a_caller_needs(server: FakeApi, api: Api) -> None:
    wrong = [{"pointer": "#/url", "detail": "is private", "code": "address_refused"}]
    server.answers = lambda _: problem(422, "validation_error", "1 field is wrong.", errors=wrong, hint="set X")
    with pytest.raises(ApiError) as caught:
        api.call("POST", "/v1/subscriptions", body={})
    error = caught.value
    assert (error.status, error.code, error.request_id) == (422, "validation_error", "req_1")
    assert str(error) == "1 field is wrong. (set X)"
    assert [(field.place, field.detail) for field in error.fields] == [("url", "is private")]


def test_a_problem_in_a_download_is_one_too(server: FakeApi, api: Api) -> None:
    server.answers = lambda _: problem(404, "not_found", "There is no such result.")
    with pytest.raises(ApiError, match="no such result"):
        list(api.download("/v1/results/res_1/payload"))


@pytest.mark.parametrize("errors", [None, "text", [1, None], {"pointer": "#/x"}])
def test_a_problem_of_another_shape_is_still_told(server: FakeApi, api: Api, errors: object) -> None:
    server.answers = lambda _: problem(422, "validation_error", "wrong", errors=errors)
    with pytest.raises(ApiError, match="wrong") as caught:
        api.call("GET", "/")
    assert caught.value.fields == ()


def test_the_key_goes_to_no_other_host(server: FakeApi, api: Api) -> None:
    with fake_api() as other:
        server.answers = lambda _: Answer(b"", 307, {"location": f"{other.url}/v1/jobs"})
        with pytest.raises(Unexpected, match="is RELAY_URL right"):
            api.call("GET", "/v1/jobs")
        assert other.requests == []


def test_a_relay_that_never_answers_is_given_up() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Api(f"http://127.0.0.1:{silent.getsockname()[1]}", None, answer_seconds=0.1) as api,
        pytest.raises(Unreachable, match="does not answer"),
    ):
        api.call("GET", "/v1/jobs")


def test_an_address_that_is_a_path_prefix_is_kept(server: FakeApi) -> None:
    with Api(f"{server.url}/relay", None) as api:
        api.call("GET", "/v1/jobs")
    assert server.last.path == "/relay/v1/jobs"
    assert "authorization" not in server.last.headers


def test_an_answer_that_cannot_be_decoded_is_a_broken_connection(server: FakeApi, api: Api) -> None:
    server.answers = lambda _: Answer(b"not gzip", 200, {"content-encoding": "gzip"})
    with pytest.raises(Unreachable):
        api.call("GET", "/v1/stats")
    with pytest.raises(Unreachable):
        list(api.download("/v1/results/res_1/payload"))
