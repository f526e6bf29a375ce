"""Excerpts of other people's answers."""

from __future__ import annotations

import base64

from relay.model import Secret
from relay.pipeline.excerpt import REDACTED, safe_excerpt

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
