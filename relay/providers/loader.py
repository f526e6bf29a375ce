"""Profiles from TOML: those that come with Relay and the user's own files.

Errors name file, key and what was expected, one line for each problem.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from relay.errors import ProfileError
from relay.providers import callback_section, fetch_section, sections, submit_section
from relay.providers.profile import Profile
from relay.providers.table import Table

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")
_ORIGIN: Final = re.compile(r"https://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[1-9][0-9]{0,4})?\Z")
_BASE_URL: Final = re.compile(r"(https://[^/?#@\\\s]+)(?:/[A-Za-z0-9._~/-]*)?\Z")


def load_profiles(extra_dir: Path | None) -> Mapping[str, Profile]:
    """The profiles that come with Relay and those of `*.toml` in `extra_dir`, which has to be there, by name.

    Raises ProfileError; also when a user's file has the name of another profile, so that none is shadowed silently.
    """
    profiles: dict[str, Profile] = {}
    sources: dict[str, str] = {}
    own = () if extra_dir is None else _parsed_files(extra_dir)
    for profile, source in (*_shipped(), *own):
        if profile.name in profiles:
            raise ProfileError(f"{source}: name: {profile.name!r} is already the name of {sources[profile.name]}")
        profiles[profile.name], sources[profile.name] = profile, source
    return MappingProxyType(profiles)


@cache
def _shipped() -> tuple[tuple[Profile, str], ...]:
    """The profiles that come with Relay, which do not change while it runs."""
    return tuple(_parsed_files(resources.files(__package__)))


def _parsed_files(directory: Traversable) -> Iterator[tuple[Profile, str]]:
    for file in sorted(_toml_files(directory), key=lambda file: file.name):
        yield parse_profile(_read(file), str(file)), str(file)


def check_file(path: Path) -> list[str]:
    """What is wrong with a user's profile file, one line for each problem; also a name that comes with Relay."""
    try:
        profile = parse_profile(_read(path), str(path))
    except ProfileError as error:
        return str(error).splitlines()
    shipped = load_profiles(None)
    return [f"{path}: name: {profile.name!r} comes with Relay; choose another"] if profile.name in shipped else []


def _toml_files(directory: Traversable) -> list[Traversable]:
    try:
        return [file for file in directory.iterdir() if file.name.endswith(".toml") and file.is_file()]
    except OSError as error:
        raise ProfileError(f"{directory}: cannot be read as a directory of profiles: {error.strerror}") from None


def _read(file: Traversable) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{file}: cannot be read as UTF-8 text: {error.__class__.__name__}") from error


def parse_profile(text: str, source: str) -> Profile:
    """One profile; `source` is what errors call the file. Raises ProfileError with all problems that there are."""
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ProfileError(f"{source}: is not TOML: {error}") from None
    problems: list[str] = []
    profile = _profile(values, problems)
    if problems:
        raise ProfileError("\n".join(f"{source}: {problem}" for problem in dict.fromkeys(problems)))
    return profile


def _profile(values: Mapping[str, Any], problems: list[str]) -> Profile:
    table = Table("", values, problems)
    parameters = sections.parameters(table)
    auth = sections.auth(table.table("auth"))
    profile = Profile(
        name=table.string("name"),
        title=table.string("title"),
        summary=table.string("summary", ""),
        origins=table.strings("origins", _origin_problem),
        base_url=_base_url(table),
        auth=auth,
        parameters=parameters,
        callback=callback_section.callback(table.optional_table("callback"), parameters),
        fetch=fetch_section.fetch(table.table("fetch"), parameters),
        retention=sections.retention(table.table("retention")),
        poll=sections.poll(table.table("poll")),
        submit=submit_section.submit(table.optional_table("submit"), parameters, auth),
        cancel=submit_section.cancel(table.optional_table("cancel"), parameters),
        notes=table.string("notes", ""),
    )
    if profile.name and not _NAME.match(profile.name):
        table.problem("name", f"expected lower-case letters, digits and hyphens, got {profile.name!r}")
    table.done()
    return profile


def _origin_problem(origin: str) -> str | None:
    if not _ORIGIN.match(origin) or origin.endswith(":443"):
        return "expected https://host or https://host:port, in lower case, without path or default port"
    return None


def _base_url(table: Table) -> str | None:
    url = table.string("base_url", "")
    if not url:
        return None
    match = _BASE_URL.match(url)
    if match is None or url.endswith("/") or _origin_problem(match[1]):
        table.problem("base_url", "expected https://host/path, without query and without a slash at the end")
    return url
