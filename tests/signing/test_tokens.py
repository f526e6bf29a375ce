import base64
import time
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from itsdangerous import Signer

from relay.clock import Instant, after
from relay.errors import SettingError
from relay.ids import new_id
from relay.model import JOB, RESULT, SUBSCRIPTION, WEBHOOK, Secret
from relay.signing.tokens import (
    MAXIMUM_LENGTH,
    REMEMBERED_TOKENS,
    CallbackToken,
    CallbackTokens,
    Cursors,
    PayloadLinks,
    SignedText,
    token_fingerprint,
)

NOW = Instant(1_795_000_000_000)
NEW, OLD = Secret("n" * 32), Secret("o" * 32)
WEBHOOK_ID, JOB_ID, RESULT_ID = new_id(WEBHOOK, NOW), new_id(JOB, NOW), new_id(RESULT, NOW)
TOKENS = CallbackTokens([NEW])
TOKEN = TOKENS.mint(WEBHOOK_ID, 3, JOB_ID)
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def fresh() -> CallbackTokens:
    """One that remembers nothing."""
    return CallbackTokens([NEW])


@pytest.mark.parametrize("job_id", [None, JOB_ID], ids=["any job", "one job"])
@pytest.mark.parametrize("generation", [0, 1, 10, 10**18 - 1])
def test_a_token_says_which_webhook_generation_and_job(generation: int, job_id: str | None) -> None:
    token = TOKENS.mint(WEBHOOK_ID, generation, job_id)
    assert fresh().read(token) == CallbackToken(WEBHOOK_ID, generation, job_id)


def test_a_token_is_one_short_path_segment() -> None:
    assert set(TOKEN) <= set(BASE64 + ".")
    assert len(TOKENS.mint(WEBHOOK_ID, 1)) == 78
    assert len(TOKENS.mint(WEBHOOK_ID, 1, JOB_ID)) == 111


def test_what_a_token_says_is_frozen() -> None:
    token = TOKENS.read(TOKEN)
    assert token is not None
    with pytest.raises(FrozenInstanceError):
        token.generation = 4  # type: ignore[misc]  # the point of the test
    assert not hasattr(token, "__dict__")


@pytest.mark.parametrize(
    "bad",
    ["", "wh_1", JOB_ID, WEBHOOK_ID + "\n", WEBHOOK_ID.upper(), "wh_" + "é" * 32],
    ids=["empty", "short", "a job's", "newline", "upper case", "not ASCII"],
)
def test_only_ids_are_minted(bad: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        TOKENS.mint(bad, 1)
    with pytest.raises(ValueError, match="not an id"):
        TOKENS.mint(WEBHOOK_ID, 1, bad if bad != JOB_ID else WEBHOOK_ID)


@pytest.mark.parametrize("generation", [-1, 10**18])
def test_only_generations_are_minted(generation: int) -> None:
    with pytest.raises(ValueError, match="generation"):
        TOKENS.mint(WEBHOOK_ID, generation)


@pytest.mark.parametrize("place", range(len(TOKEN)))
def test_no_character_can_be_changed(place: int) -> None:
    tokens = fresh()
    for character in BASE64 + ".~ é":
        if character != TOKEN[place]:
            assert tokens.read(TOKEN[:place] + character + TOKEN[place + 1 :]) is None


def test_it_can_be_neither_truncated_nor_extended() -> None:
    tokens = fresh()
    for cut in range(len(TOKEN)):
        assert tokens.read(TOKEN[:cut]) is None
        assert tokens.read(TOKEN[cut + 1 :]) is None
    for changed in (TOKEN + "=", TOKEN + "\n", TOKEN + ".", TOKEN + "A", " " + TOKEN, TOKEN + "\x00", TOKEN.upper()):
        assert tokens.read(changed) is None


def test_a_text_that_itsdangerous_would_decode_leniently_is_refused() -> None:
    value, _, signature = TOKEN.rpartition(".")
    twin = f"{value}.{signature[:5]}é!{signature[5:]}"
    lenient = Signer(NEW.reveal() + "x", salt="s")
    assert lenient.validate(lenient.sign("x").decode() + "é!")  # the reason for our own comparison
    assert fresh().read(twin) is None


@given(garbage=st.text(st.characters(), max_size=600))
@example("a.\ud800")
@example("\ud800.a")
def test_garbage_is_no_token_and_raises_nothing(garbage: str) -> None:
    assert TOKENS.read(garbage) is None
    assert PayloadLinks([NEW]).read(garbage, NOW) is None
    assert Cursors([NEW]).read(garbage, "q") is None
    token_fingerprint(garbage)


@pytest.mark.parametrize("character", ["a", ".", "é", "\ud800"])
def test_long_garbage_costs_nothing(character: str) -> None:
    garbage, tokens = character * 100_000, fresh()
    fastest = min(_seconds(tokens, garbage) for _ in range(20))
    assert fastest < 0.001
    signed = SignedText([NEW], "callback-token")
    assert tokens.read("0" * MAXIMUM_LENGTH + TOKEN) is None
    with pytest.raises(ValueError, match="at most"):
        signed.sign("0" * MAXIMUM_LENGTH)


def _seconds(tokens: CallbackTokens, text: str) -> float:
    before = time.perf_counter()
    assert tokens.read(text) is None
    return time.perf_counter() - before


def test_texts_of_one_purpose_do_not_pass_for_another() -> None:
    value = f"{RESULT_ID[4:]}.{NOW}"
    link = PayloadLinks([NEW]).mint(RESULT_ID, NOW)
    assert link.startswith(value)
    assert fresh().read(link) is None
    assert SignedText([NEW], "callback-token").sign(value) != link
    assert PayloadLinks([NEW]).read(SignedText([NEW], "callback-token").sign(value), Instant(0)) is None
    assert Cursors([NEW]).read(TOKEN, "") is None


def test_a_signed_text_of_another_form_is_no_token() -> None:
    signed = SignedText([NEW], "callback-token")
    digits = WEBHOOK_ID[3:]
    for value in ("", "x", digits, f"{digits}.01", f"{digits}.-1", f"{digits}.1.", f"{digits}.1.x", f"{digits}.1\n"):
        assert fresh().read(signed.sign(value)) is None


def test_the_newest_key_mints_and_older_ones_are_still_read() -> None:
    before, rotated, later = CallbackTokens([OLD]), CallbackTokens([NEW, OLD]), CallbackTokens([NEW])
    old_token = before.mint(WEBHOOK_ID, 1)
    assert rotated.read(old_token) == CallbackToken(WEBHOOK_ID, 1, None)
    assert later.read(old_token) is None
    assert rotated.mint(WEBHOOK_ID, 1) == later.mint(WEBHOOK_ID, 1) != old_token


def test_other_keys_sign_differently() -> None:
    assert CallbackTokens([OLD]).read(TOKEN) is None


@pytest.mark.parametrize("keys", [[], [Secret("short")]])
def test_missing_and_short_keys_are_refused(keys: list[Secret]) -> None:
    for kind in (CallbackTokens, PayloadLinks, Cursors):
        with pytest.raises(SettingError, match="RELAY_SECRET_KEYS"):
            kind(keys)


def test_verified_tokens_are_remembered_up_to_a_number_and_garbage_is_not() -> None:
    tokens = fresh()
    assert tokens.read(TOKEN) is tokens.read(TOKEN)
    tokens.read(TOKEN[:-1])
    assert list(tokens._verified) == [TOKEN]
    for generation in range(REMEMBERED_TOKENS - 1):
        tokens.read(tokens.mint(WEBHOOK_ID, generation))
    tokens.read(TOKEN)
    tokens.read(tokens.mint(WEBHOOK_ID, REMEMBERED_TOKENS))
    assert len(tokens._verified) == REMEMBERED_TOKENS
    assert TOKEN in tokens._verified
    assert tokens.mint(WEBHOOK_ID, 0) not in tokens._verified
    assert tokens.read(tokens.mint(WEBHOOK_ID, 0)) is not None


def test_nothing_that_holds_keys_shows_them() -> None:
    for thing in (TOKENS, PayloadLinks([NEW]), Cursors([NEW]), SignedText([NEW], "x")):
        assert "nnnn" not in repr(thing) + str(thing)


def test_a_fingerprint_names_a_token_without_being_one() -> None:
    assert token_fingerprint("abc") == "ba7816bf"
    assert token_fingerprint(TOKEN) not in TOKEN


def test_a_link_is_good_until_its_instant() -> None:
    links = PayloadLinks([NEW, OLD])
    link = links.mint(RESULT_ID, after(NOW, 3600))
    assert links.read(link, NOW) == RESULT_ID
    assert links.read(link, after(NOW, 3599.999)) == RESULT_ID
    assert links.read(link, after(NOW, 3600)) is None
    assert PayloadLinks([OLD]).read(link, NOW) is None
    later = link.replace(str(after(NOW, 3600)), str(after(NOW, 9999)))
    assert later != link
    assert links.read(later, NOW) is None
    assert links.read(PayloadLinks([OLD]).mint(RESULT_ID, after(NOW, 1)), NOW) == RESULT_ID


def test_only_results_get_links() -> None:
    with pytest.raises(ValueError, match="not an id"):
        PayloadLinks([NEW]).mint(new_id(SUBSCRIPTION, NOW), NOW)
    with pytest.raises(ValueError, match="instant"):
        PayloadLinks([NEW]).mint(RESULT_ID, Instant(-1))


@given(position=st.text(max_size=50), fingerprint=st.text(st.characters()))
def test_a_cursor_gives_its_position_back_to_its_own_query_only(position: str, fingerprint: str) -> None:
    cursors = Cursors([NEW])
    cursor = cursors.mint(position, fingerprint)
    assert cursors.read(cursor, fingerprint) == position
    assert cursors.read(cursor, fingerprint + "x") is None
    assert cursors.read(cursor[:-1], fingerprint) is None
    assert set(cursor) <= set(BASE64 + ".")


def test_a_cursor_survives_a_rotation_and_no_forgery() -> None:
    cursor = Cursors([OLD]).mint("job_1", "q")
    assert Cursors([NEW, OLD]).read(cursor, "q") == "job_1"
    assert Cursors([NEW]).read(cursor, "q") is None
    other = base64.urlsafe_b64encode(b"job_2").rstrip(b"=").decode()
    assert Cursors([OLD]).read(other + cursor[cursor.index(".") :], "q") is None


def test_a_cursor_that_no_reader_would_take_is_not_minted() -> None:
    cursors = Cursors([NEW])
    assert cursors.read(cursors.mint("x" * 340, "q"), "q") == "x" * 340
    with pytest.raises(ValueError, match="at most"):
        cursors.mint("x" * 400, "q")


def test_a_value_cannot_imitate_a_value_with_a_context() -> None:
    signed = SignedText([NEW], "x")
    text = signed.sign("value", "context")
    assert signed.open(text, "context") == "value"
    assert signed.open(text) is None
    assert signed.open(signed.sign("value"), "context") is None
    with pytest.raises(ValueError, match="ASCII"):
        signed.sign("é")
