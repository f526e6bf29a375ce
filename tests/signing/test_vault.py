import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import KeyMissing, SettingError, SignatureError
from relay.model import Secret
from relay.signing.vault import Vault

NEW = Secret("n" * 32)
OLD = Secret("o" * 40)
VAULT = Vault([NEW])
PLACE = ("webhooks", "credentials_sealed", "wh_1")


@given(plaintext=st.binary(max_size=2000))
def test_what_is_sealed_opens(plaintext: bytes) -> None:
    assert VAULT.unseal(*PLACE, VAULT.seal(*PLACE, plaintext)) == plaintext


def test_equal_plaintexts_look_different() -> None:
    sealed = {VAULT.seal(*PLACE, b"same") for _ in range(100)}
    assert len(sealed) == 100
    assert all(b"same" not in value for value in sealed)


@pytest.mark.parametrize("bit", range(8))
def test_no_byte_can_be_changed(bit: int) -> None:
    sealed = VAULT.seal(*PLACE, b"hunter2")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1 << bit
        # In the key's id it names a key that nobody has.
        with pytest.raises(KeyMissing if 1 <= place < 9 else SignatureError):
            VAULT.unseal(*PLACE, bytes(changed))


def test_it_can_be_neither_truncated_nor_extended() -> None:
    sealed = VAULT.seal(*PLACE, b"hunter2")
    for changed in [*(sealed[:cut] for cut in range(len(sealed))), sealed + b"x", b"x" + sealed]:
        with pytest.raises(SignatureError):
            VAULT.unseal(*PLACE, changed)


@given(garbage=st.binary(max_size=200))
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises((SignatureError, KeyMissing)):
        VAULT.unseal(*PLACE, garbage)


@pytest.mark.parametrize(
    "elsewhere",
    [
        ("webhooks", "credentials_sealed", "wh_2"),
        ("webhooks", "verification_sealed", "wh_1"),
        ("subscriptions", "credentials_sealed", "wh_1"),
        ("webhooks", "credentials_sealed", ""),
    ],
)
def test_it_opens_only_where_it_was_sealed(elsewhere: tuple[str, str, str]) -> None:
    with pytest.raises(SignatureError):
        VAULT.unseal(*elsewhere, VAULT.seal(*PLACE, b"hunter2"))


def test_no_two_places_have_one_name() -> None:
    sealed = VAULT.seal("a", "b", "c|d", b"")
    assert VAULT.unseal("a", "b", "c|d", sealed) == b""
    for table, column in (("a|b", "c"), ("a", "b|c")):
        with pytest.raises(ValueError, match="holds a |"):
            VAULT.unseal(table, column, "d", sealed)


def test_the_newest_key_seals_and_older_ones_still_open() -> None:
    before, after = Vault([OLD]), Vault([NEW, OLD])
    old_value = before.seal(*PLACE, b"hunter2")
    assert after.unseal(*PLACE, old_value) == b"hunter2"
    assert after.needs_reseal(old_value)
    new_value = after.seal(*PLACE, b"hunter2")
    assert not after.needs_reseal(new_value)
    assert VAULT.unseal(*PLACE, new_value) == b"hunter2"
    assert after.newest_key_id == VAULT.newest_key_id == Vault.key_id_of(new_value)
    assert Vault.key_id_of(old_value) == before.newest_key_id != after.newest_key_id
    assert after.knows(before.newest_key_id)
    assert not before.knows(after.newest_key_id)


def test_a_missing_key_is_named() -> None:
    sealed = Vault([OLD]).seal(*PLACE, b"hunter2")
    with pytest.raises(KeyMissing, match=Vault.key_id_of(sealed)):
        VAULT.unseal(*PLACE, sealed)


@pytest.mark.parametrize("garbage", [b"", b"\x01", b"\x02" + bytes(100), bytes(100)])
def test_only_sealed_values_have_a_key_id(garbage: bytes) -> None:
    with pytest.raises(SignatureError):
        Vault.key_id_of(garbage)
    with pytest.raises(SignatureError):
        VAULT.needs_reseal(garbage)


@pytest.mark.parametrize("keys", [[], [Secret("x" * 31)], [NEW, Secret("")]])
def test_keys_under_32_characters_are_refused_without_being_shown(keys: list[Secret]) -> None:
    with pytest.raises(SettingError, match="RELAY_SECRET_KEYS") as caught:
        Vault(keys)
    assert "xxx" not in str(caught.value)


def test_the_layout_is_stable() -> None:
    assert VAULT.newest_key_id == "5d486a7b122aee7d"
    sealed = bytes.fromhex("015d486a7b122aee7d8618a67c137b24b81c42ed934e632a1854d3445e628f9dd252cbcd4b578f8673ae39be")
    assert VAULT.unseal(*PLACE, sealed) == b"hunter2"


def test_json_goes_in_and_comes_out_with_secrets_as_their_text() -> None:
    sealed = VAULT.seal_json(*PLACE, {"username": Secret("u"), "more": [1, None, "é\ud800"]})
    assert VAULT.unseal_json(*PLACE, sealed) == {"username": "u", "more": [1, None, "é\ud800"]}
    assert b"username" not in sealed


def test_what_json_cannot_hold_is_not_sealed() -> None:
    with pytest.raises(TypeError, match="object cannot be sealed"):
        VAULT.seal_json(*PLACE, {"x": object()})


def test_an_error_about_json_does_not_carry_the_plaintext() -> None:
    with pytest.raises(SignatureError) as caught:
        VAULT.unseal_json(*PLACE, VAULT.seal(*PLACE, b"hunter2"))
    error: BaseException = caught.value
    assert error.__suppress_context__
    assert "hunter2" not in str(error)
    with pytest.raises(json.JSONDecodeError):
        json.loads(b"hunter2")


def test_a_vault_shows_no_key() -> None:
    for text in (repr(VAULT), str(VAULT), repr(Vault([NEW, OLD])._ciphers)):
        assert "nnnn" not in text
        assert "oooo" not in text
