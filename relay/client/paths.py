"""Paths of the API."""

from __future__ import annotations

from urllib.parse import quote

from relay.client.things import Thing, id_of


def one(path: str, thing: Thing | str, *more: str) -> str:
    """The path of one thing: what a caller gives must not become another path. Raises ValueError for no id."""
    given = id_of(thing)
    if not given:
        raise ValueError(f"an id is needed for {path}")
    segment = quote(given, safe="") if given not in (".", "..") else given.replace(".", "%2E")
    return "/".join((path, segment, *more))
