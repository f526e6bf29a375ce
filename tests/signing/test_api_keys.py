import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.clock import Instant
from relay.ids import new_id
from relay.model import KEY, WEBHOOK
from relay.signing.api_keys import digest, generate, looks_like_key

NOW = Instant(1_795_000_000_000)
KEY_ID = new_id(KEY, NOW)


def test_a_key_names_its_id_and_could_be_an_admin_key() -> None:
    text = generate(KEY_ID).reveal()
    assert text.startswith(f"rk_{KEY_ID[4:]}_")
    assert 32 <= len(text) <= 128
    assert all("!" <= character <= "~" for character in text)
    assert "rk_" not in repr(generate(KEY_ID))


def test_keys_of_one_id_differ() -> None:
    assert len({generate(KEY_ID).reveal() for _ in range(100)}) == 100


@pytest.mark.parametrize("bad", ["", "key_1", new_id(WEBHOOK, NOW)], ids=["empty", "short", "a webhook's"])
def test_a_key_belongs_to_a_key_id(bad: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        generate(bad)


def test_scanners_tell_real_keys_from_look_alikes() -> None:
    for _ in range(50):
        text = generate(KEY_ID).reveal()
        assert looks_like_key(text)
        for place in range(len(text)):
            other = "1" if text[place] == "0" else "0"
            assert not looks_like_key(text[:place] + other + text[place + 1 :])
    for changed in (text[:-1], text + "0", text + "\n", " " + text, text.upper(), ""):
        assert not looks_like_key(changed)


@given(text=st.text(st.characters()))
@example("\ud800")
def test_any_text_has_a_digest_and_none_is_refused(text: str) -> None:
    assert len(digest(text)) == 64
    assert not looks_like_key(text)


def test_a_digest_is_the_sha256_of_the_text() -> None:
    text = "~" * 128
    assert digest(text) == hashlib.sha256(text.encode()).hexdigest()
