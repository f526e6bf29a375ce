"""Excerpts of other people's answers."""

from __future__ import annotations

import base64

import pytest

from relay.model import Secret
from relay.pipeline.excerpt import REDACTED, redact, safe_excerpt, scrub, url_secrets, without_values
from relay.pipeline.shape import document_of, excerpt_of
from relay.signing.tokens import CallbackTokens
from tests.support.stopwatch import Stopwatch

BASIC = "Basic " + base64.b64encode(b"user:hunter22").decode()


def test_credentials_are_cut_out_in_every_form_they_were_sent_in() -> None:
    page = f"user:hunter22 said {BASIC}, that is {BASIC[6:]} or {base64.b64encode(b'hunter22').decode()}".encode()
    kept = safe_excerpt(page, [Secret("hunter22"), Secret(BASIC)])
    assert "hunter22" not in kept
    assert BASIC[6:] not in kept
    assert base64.b64encode(b"hunter22").decode() not in kept
    assert kept.count(REDACTED) == 4


def test_a_very_short_secret_does_not_redact_half_the_text() -> None:
    assert safe_excerpt(b"a banana", [Secret("a")]) == "a banana"


def test_nothing_that_a_terminal_would_obey_is_kept() -> None:
    assert safe_excerpt(b"a\x1b[2Jb\x00c\x07\td\ne\xff", []) == "a [2Jb c \td\ne�"


def test_direction_marks_are_blanked() -> None:
    assert "‮" not in safe_excerpt("a‮b".encode(), [])


@pytest.mark.parametrize("kept", range(4, 40))
def test_the_part_of_a_secret_that_a_cut_has_left_is_redacted_too(kept: int) -> None:
    secret = "Basic " + base64.b64encode(b"somebody:hunter22-and-more").decode()
    shown = redact(f"you sent {secret[:kept]}", [Secret(secret)])
    assert shown == f"you sent {REDACTED}"


def test_a_secret_that_was_escaped_is_found() -> None:
    for written in ("a%2Fb%2Bc%3Dd", r"a\/b+c=d", "a/b+c=d"):
        assert redact(f"you sent {written}!", [Secret("a/b+c=d")]) == f"you sent {REDACTED}!"


def test_the_values_of_headers_are_not_kept() -> None:
    assert without_values("x-key: opensesame", {"x-key": "opensesame"}) == f"x-key: {REDACTED}"
    assert without_values("x-key: opensesame", {}) == "x-key: opensesame"
    assert without_values(None, {"x-key": "opensesame"}) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("go to https://s.example/k?X-Amz-Signature=abc&x=1 now", "go to https://s.example/k?[redacted] now"),
        ('{"url": "https:\\/\\/s.example\\/k?sig=a\\u0026b=c"}', '{"url": "https:\\/\\/s.example\\/k?[redacted]"}'),
        ("<Url>HTTPS://s.example/k?a=b&amp;c=d</Url>", "<Url>HTTPS://s.example/k?[redacted]</Url>"),
        ("what? https://s.example/k", "what? https://s.example/k"),
    ],
)
def test_the_query_of_a_url_is_taken_out(text: str, shown: str) -> None:
    assert scrub(text) == shown
    assert safe_excerpt(text.encode(), []) == shown


def test_many_urls_in_a_row_are_gone_through_once() -> None:
    """A list of them held the event loop for minutes, when a notification was looked at whose shape was new."""
    body = b"why? " + b"https://a.example/b,http:\\/\\/c," * 8_000
    watch = Stopwatch()
    assert excerpt_of(document_of(body), []).startswith("why? https://a.example/b,")
    assert scrub("https://a.example/b,http://c.example/d?e=f") == "https://a.example/b,http://c.example/d?[redacted]"
    assert watch.own_seconds < 2


@pytest.mark.parametrize("job_id", [None, "job_" + "a" * 32])
def test_the_token_of_a_callback_url_is_taken_out(job_id: str | None) -> None:
    token = CallbackTokens([Secret("k" * 40)]).mint("wh_" + "1" * 32, 12, job_id)
    for text in (f'{{"callback_url": "https://relay.example/in/{token}"}}', token, f"x {token}/suffix"):
        excerpt = safe_excerpt(text.encode(), [])
        assert token not in excerpt and token.rpartition(".")[2] not in excerpt


def test_what_opens_a_presigned_url_is_its_longer_pieces() -> None:
    url = "https://s.example/bucket/0123456789abcdef?X-Amz-Expires=60&X-Amz-Signature=a%2Fb%2Fc0ffee"
    found = {secret.reveal() for secret in url_secrets(url)}
    assert found == {url, "a%2Fb%2Fc0ffee", "a/b/c0ffee", "0123456789abcdef"}
    assert {secret.reveal() for secret in url_secrets("https://s.example/x?a=b")} == {"https://s.example/x?a=b"}
