"""Excerpts of other people's answers."""

from __future__ import annotations

import base64

import pytest

from relay.model import Secret
from relay.pipeline.excerpt import REDACTED, redact, safe_excerpt, without_values

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
