"""The relay that a command speaks to: where it is and which key to show it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from relay.errors import SettingError

if TYPE_CHECKING:
    from relay.cli.exits import Failure
    from relay.client.http import Api

HEXADECIMAL: Final = frozenset("0123456789abcdef")
NO_KEY = (
    "RELAY_API_KEY is not set: give it a key of this relay (the first one is its RELAY_ADMIN_KEY, or stands in the file"
    " admin-key of its data directory)"
)


@contextmanager
def open_api() -> Iterator[Api]:
    """The API of the relay at RELAY_URL. Raises SettingError without a key.

    With neither set, the key that a relay keeps in the data directory here is used. It is never sent to a
    RELAY_URL: that could be anybody's.
    """
    from relay import settings
    from relay.client.http import Api

    loaded = settings.load()
    key = loaded.api_key
    if key is None and "url" not in loaded.model_fields_set:
        key = loaded.admin_key or settings.stored_admin_key(loaded)
    if key is None:
        raise SettingError(NO_KEY)
    with Api(loaded.url, key) as api:
        yield api


def find_id(api: Api, path: str, prefix: str, name_or_id: str) -> str:
    """The id of the thing that has this name; an id is taken as it is. Raises Failure where there is none."""
    head, _, digits = name_or_id.partition("_")
    if head == prefix and digits and set(digits) <= HEXADECIMAL:  # and not what begins like an id: a name may do so
        return name_or_id
    names = []
    for item in api.pages(path, {}):
        if item.get("name") == name_or_id:
            return str(item["id"])
        names.append(str(item.get("name")))
    raise no_such_name(path, name_or_id, names)


def no_such_name(path: str, name: str, names: list[str]) -> Failure:
    """That nothing at `path` is called so, and what there is that looks like it."""
    import difflib

    from relay.cli.exits import Exit, Failure

    noun = path.rpartition("/")[2].removesuffix("s")
    nearest = "".join(f"; the nearest is {like!r}" for like in difflib.get_close_matches(name, names, n=1))
    return Failure(f"there is no {noun} of the name {name!r}{nearest}", Exit.NOT_FOUND)


def segment(text: str) -> str:
    """A value as one segment of a path: what a person typed must not become another path."""
    from urllib.parse import quote

    return quote(text, safe="") if text not in (".", "..") else text.replace(".", "%2E")


def drop_none(body: dict[str, Any]) -> dict[str, Any]:
    """The fields that were given; what was not given is the relay's to decide."""
    return {name: value for name, value in body.items() if value is not None}
