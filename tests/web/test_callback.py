"""Every row of the callback URL's answer table, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from relay.clock import SystemClock
from relay.errors import StoreFull, StoreUnavailable
from relay.pipeline.admission import TurnedAway
from relay.pipeline.receive import Answer
from relay.web.callback import split_path
from tests.support.edge import GOOD, PATH, Edge, SilentLog, post

BROWSER = "accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n"


def ask_with(method: str, path: str = PATH, headers: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: relay\r\n{headers}\r\n".encode()


async def test_a_stored_notification_is_answered_with_its_ids(edge: Edge) -> None:
    await edge.start()
    reply = await edge.ask(post())
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.json() == {"notification_id": "ntf_" + "2" * 32, "job_id": "job_" + "3" * 32, "status": "accepted"}


async def test_the_receiver_gets_the_request_as_it_was_sent(edge: Edge) -> None:
    await edge.start()
    path = f"{PATH}/what%2Fever/?job=4%202&x=%ff"
    await edge.ask(post(b"\x00\xff body", path=path, headers="X-Name: caf\xe9\r\nx-name: twice\r\n"))
    [inbound] = edge.receiver.received
    assert (inbound.method, inbound.suffix, inbound.query) == ("POST", "/what%2Fever/", "job=4%202&x=%ff")
    assert inbound.body == b"\x00\xff body"
    assert [value for name, value in inbound.headers if name == "x-name"] == ["caf\xe9", "twice"]
    assert abs(inbound.received_at - SystemClock().now()) < 5000


async def test_an_authentic_but_unusable_notification_says_why(edge: Edge) -> None:
    edge.receiver.answer = Answer(200, "unprocessable", "ntf_1", None, "not JSON", None)
    await edge.start()
    expected = {"notification_id": "ntf_1", "job_id": None, "status": "unprocessable", "reason": "not JSON"}
    assert (await edge.ask(post())).json() == expected


async def test_a_notification_that_is_not_authentic_gets_401(edge: Edge) -> None:
    edge.receiver.answer = Answer(401, "rejected", "ntf_1", None, "the signature is wrong", None)
    await edge.start()
    reply = await edge.ask(post())
    assert (reply.status, reply.headers["content-type"]) == (401, "application/problem+json")
    assert (reply.json()["code"], reply.json()["detail"]) == ("not_authentic", "the signature is wrong")


async def test_over_its_rate_a_webhook_gets_503(edge: Edge) -> None:
    edge.receiver.answer = Answer(503, "unavailable", None, None, None, 7)
    await edge.start()
    reply = await edge.ask(post())
    assert (reply.status, reply.headers["retry-after"]) == (503, "7")


async def test_wrong_tokens_of_every_kind_get_the_same_404_before_their_body_is_read(edge: Edge) -> None:
    await edge.start()
    paths = ["/in/forged", "/in/", "/in/" + "x" * 5000, "/in/a.b.c/more?x=1", "/in/%00%ff", "/in/..%2f", "/in//"]
    replies = []
    for path in paths:
        client = await edge.connect()
        await client.send(f"POST {path} HTTP/1.1\r\ncontent-length: 100\r\n\r\n".encode())
        replies.append(await client.reply())
    for reply in replies:
        assert reply.status == 404
        body = reply.json()
        assert body.pop("request_id").startswith("req_")
        assert body == {"type": "about:blank", "title": "Not Found", "status": 404, "code": "not_found"}
    assert len({reply.headers["content-length"] for reply in replies}) == 1
    assert len({tuple(sorted(set(reply.headers) - {"date"})) for reply in replies}) == 1


@pytest.mark.parametrize(
    ("refused", "code", "header"),
    [
        (TurnedAway(410, None, None), "gone", None),
        (TurnedAway(405, None, "POST"), "method_not_allowed", ("allow", "POST")),
        (TurnedAway(503, 3, None), "unavailable", ("retry-after", "3")),
    ],
)
async def test_what_the_receiver_refuses(
    edge: Edge, refused: TurnedAway, code: str, header: tuple[str, str] | None
) -> None:
    edge.receiver.refusals[GOOD] = refused
    await edge.start()
    reply = await edge.ask(post())
    assert (reply.status, reply.json()["code"]) == (refused.http_status, code)
    if header is not None:
        assert reply.headers[header[0]] == header[1]
    assert edge.receiver.received == []


async def test_a_method_that_the_profile_uses_is_taken(edge: Edge) -> None:
    edge.receiver.methods = ("GET", "PUT")
    await edge.start()
    assert (await edge.ask(ask_with("GET", f"{PATH}?id=1"))).status == 200
    assert (await edge.ask(post())).status == 405
    assert edge.receiver.received[0].query == "id=1"


async def test_a_browser_gets_the_same_page_whether_the_token_is_real_or_not(edge: Edge) -> None:
    await edge.start()
    real, forged = [await edge.ask(ask_with("GET", path, BROWSER)) for path in (PATH, "/in/forged")]
    assert (real.status, real.body) == (forged.status, forged.body)
    assert b"This is a callback address" in real.body
    assert "default-src 'none'" in real.headers["content-security-policy"]
    assert real.headers["referrer-policy"] == "no-referrer"
    assert real.headers["cache-control"] == "no-store"
    assert edge.receiver.admitted == 0


async def test_looking_is_never_answered_with_a_success_that_could_pass_for_stored(edge: Edge) -> None:
    await edge.start()
    for headers in (BROWSER, "accept: text/html, image/gif, *; q=.2\r\n"):
        reply = await edge.ask(ask_with("GET", PATH, headers))
        assert (reply.status, reply.headers["allow"]) == (405, "POST")


async def test_a_library_that_accepts_html_is_no_browser_where_the_profile_uses_get(edge: Edge) -> None:
    edge.receiver.methods = ("GET",)
    await edge.start()
    headers = "accept: text/html, image/gif, *; q=.2\r\n"
    assert (await edge.ask(ask_with("GET", PATH, headers))).json()["status"] == "accepted"
    assert (await edge.ask(ask_with("GET", PATH, "sec-fetch-mode: navigate\r\n"))).status == 405
    assert (await edge.ask(ask_with("GET", "/in/forged", headers))).body == (
        await edge.ask(ask_with("GET", PATH, BROWSER))
    ).body


async def test_head_and_options_say_the_same_of_every_address(edge: Edge) -> None:
    await edge.start()
    for path in (PATH, "/in/forged"):
        head = await edge.ask(ask_with("HEAD", path), head=True)
        options = await edge.ask(ask_with("OPTIONS", path))
        assert (head.status, options.status, options.headers["allow"]) == (405, 204, "POST, OPTIONS")
    assert edge.receiver.admitted == 0


async def test_a_chunked_body_is_put_together(edge: Edge) -> None:
    await edge.start()
    client = await edge.connect()
    await client.send(f"POST {PATH} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".encode())
    for piece in (b"5\r\nhello\r\n", b"1;ext=1\r\n \r\n5\r\nworld\r\n", b"0\r\n\r\n"):
        await client.send(piece)
        await asyncio.sleep(0.01)
    assert (await client.reply()).status == 200
    assert edge.receiver.received[0].body == b"hello world"


async def test_a_declared_body_over_the_cap_gets_413_at_once(edge: Edge) -> None:
    await edge.start(maximum=1000)
    client = await edge.connect()
    await client.send(f"POST {PATH} HTTP/1.1\r\ncontent-length: 1001\r\n\r\n".encode())
    reply = await client.reply()
    assert (reply.status, reply.json()["code"]) == (413, "too_large")


async def test_a_body_of_exactly_the_cap_is_taken(edge: Edge) -> None:
    await edge.start(maximum=1000)
    assert (await edge.ask(post(b"x" * 1000))).status == 200


async def test_a_chunked_body_over_the_cap_gets_413_before_it_ends(edge: Edge) -> None:
    endpoint = await edge.start(maximum=1000)
    client = await edge.connect()
    await client.send(f"POST {PATH} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".encode())
    await client.send(b"1f4\r\n" + b"x" * 500 + b"\r\n1f5\r\n" + b"x" * 501 + b"\r\n")
    assert (await client.reply()).status == 413
    assert endpoint.budget.used == 0
    assert edge.receiver.received == []


async def test_over_the_byte_budget_a_notification_gets_503_until_there_is_room(edge: Edge) -> None:
    endpoint = await edge.start(maximum=1000, budget=1500)
    first = await edge.connect()
    await first.send(f"POST {PATH} HTTP/1.1\r\ncontent-length: 1000\r\n\r\n".encode())
    while endpoint.budget.used < 1000:  # noqa: ASYNC110  # another connection's progress is only to be seen here
        await asyncio.sleep(0.005)
    declared = await edge.ask(post(b"x" * 501))
    chunked = await edge.ask(
        f"POST {PATH} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1f5\r\n".encode() + b"x" * 501 + b"\r\n0\r\n\r\n"
    )
    for reply in (declared, chunked):
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert (await edge.ask(post(b"x" * 500))).status == 200
    await first.send(b"x" * 1000)
    assert (await first.reply()).status == 200
    assert endpoint.budget.used == 0


async def test_the_budget_is_held_while_the_receiver_works(edge: Edge) -> None:
    edge.receiver.hold = asyncio.Event()
    endpoint = await edge.start()
    client = await edge.connect()
    await client.send(post(b"x" * 700))
    await edge.receiver.until_received()
    assert endpoint.budget.used == 700
    edge.receiver.hold.set()
    await client.reply()
    assert endpoint.budget.used == 0


async def test_a_caller_that_leaves_in_the_middle_leaves_nothing_behind(edge: Edge) -> None:
    log = SilentLog()
    endpoint = await edge.start(log=log)
    client = await edge.connect()
    await client.send(f"POST {PATH} HTTP/1.1\r\ncontent-length: 1000\r\n\r\nxx".encode())
    while not endpoint.budget.used:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    client.close()
    while not log.lines:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert endpoint.budget.used == 0
    assert edge.receiver.received == []
    assert log.lines[0][1]["status"] == "disconnected"


@pytest.mark.parametrize(
    "error", [StoreUnavailable("the disk"), StoreFull("no room"), RuntimeError("secret"), KeyError()]
)
@pytest.mark.parametrize("where", ["admit", "receive"])
async def test_whatever_goes_wrong_on_our_side_is_a_503(edge: Edge, error: Exception, where: str) -> None:
    endpoint = await edge.start()
    if where == "admit":
        edge.receiver.admit_error = error
    else:
        edge.receiver.error = error
    reply = await edge.ask(post())
    assert (reply.status, reply.headers["retry-after"], reply.json()["code"]) == (503, "5", "unavailable")
    assert b"secret" not in reply.body
    edge.receiver.admit_error = edge.receiver.error = None
    assert (await edge.ask(post())).status == 200
    assert endpoint.budget.used == 0


async def test_continue_is_said_to_a_caller_with_a_good_token_only(edge: Edge) -> None:
    await edge.start()
    expecting = "POST {} HTTP/1.1\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
    client = await edge.connect()
    await client.send(expecting.format(PATH).encode())
    assert (await client.reply()).status == 100
    await client.send(b"{}")
    assert (await client.reply()).status == 200
    stranger = await edge.connect()
    await stranger.send(expecting.format("/in/forged").encode())
    reply = await stranger.reply()
    assert (reply.status, reply.headers["connection"]) == (404, "close")
    assert await stranger.ended() == b""


async def test_an_http_1_0_caller_gets_its_answer_and_the_end(edge: Edge) -> None:
    await edge.start()
    client = await edge.connect()
    await client.send(post(version="1.0"))
    reply = await client.reply()
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert await client.ended() == b""


async def test_each_call_is_one_line_that_does_not_name_the_token(edge: Edge) -> None:
    log = SilentLog()
    await edge.start(log=log)
    await edge.ask(post(b"12345", path=f"{PATH}/suffix?q=1"))
    await edge.ask(post(path="/in/forged"))
    [(event, line), (_, refused)] = log.lines
    assert event == "notification.received"
    assert (line["status"], line["http_status"], line["bytes"]) == ("accepted", 200, 5)
    assert (line["webhook_id"], line["notification_id"]) == ("wh_" + "1" * 32, "ntf_" + "2" * 32)
    assert len(line["token"]) == 8
    assert (refused["status"], refused["http_status"], refused["webhook_id"]) == ("unknown", 404, None)
    assert GOOD not in repr(log.lines)
    assert "suffix" not in repr(log.lines)


async def test_the_token_may_be_percent_encoded() -> None:
    assert split_path(b"/in/abc.d%2Ee/x%2fy") == ("abc.d.e", "/x%2fy")
    assert split_path(b"/in/abc") == ("abc", "")
    assert split_path(b"/in//") == ("", "/")
