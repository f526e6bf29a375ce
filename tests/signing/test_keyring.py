import dataclasses

import pytest

from relay.errors import SettingError
from relay.model import Secret
from relay.signing.keyring import usable_keys


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    keys: tuple[Secret, ...]


def test_keys_keep_their_order() -> None:
    assert usable_keys([Secret("n" * 32), Secret("é" * 32)]) == (b"n" * 32, "é".encode() * 32)


def test_the_key_that_is_too_short_is_counted_and_not_shown() -> None:
    with pytest.raises(SettingError, match="key 2 has 31 characters, at least 32") as caught:
        usable_keys([Secret("n" * 32), Secret("o" * 31)])
    assert "ooo" not in str(caught.value)


def test_no_key_at_all_is_refused() -> None:
    with pytest.raises(SettingError, match="RELAY_SECRET_KEYS is empty"):
        usable_keys([])


def test_what_holds_secrets_does_not_show_them() -> None:
    holder = Holder((Secret("hunter2"),))
    for text in (repr(holder), str(holder), f"{holder.keys[0]:>20}"):
        assert "hunter2" not in text
