"""Profiles from TOML: those that come with Relay and the user's own files.

Errors name file, key and what was expected.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Final

from relay.errors import ProfileError
from relay.providers import sections
from relay.providers.profile import Parameter, Profile
from relay.providers.table import Table

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")
_PARAMETER: Final = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_ORIGIN: Final = re.compile(r"https://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[1-9][0-9]{0,4})?\Z")
_BASE_URL: Final = re.compile(r"(https://[^/?#@\\\s]+)(?:/[A-Za-z0-9._~/-]*)?\Z")


def load_profiles(extra_dir: Path | None) -> Mapping[str, Profile]:
    """The profiles that come with Relay and those of `*.toml` in `extra_dir`, by name.

    Raises ProfileError; also when a user's file has the name of another profile, so that none is shadowed silently.
    """
    files: list[Traversable] = sorted(_toml_files(resources.files(__package__)), key=lambda file: file.name)
    if extra_dir is not None and extra_dir.is_dir():
        files += sorted(_toml_files(extra_dir), key=lambda file: file.name)
    profiles: dict[str, Profile] = {}
    sources: dict[str, str] = {}
    for file in files:
        profile = parse_profile(_read(file), str(file))
        if profile.name in profiles:
            raise ProfileError(f"{file}: name: {profile.name!r} is already the name of {sources[profile.name]}")
        profiles[profile.name], sources[profile.name] = profile, str(file)
    return MappingProxyType(profiles)


def _toml_files(directory: Traversable) -> list[Traversable]:
    return [file for file in directory.iterdir() if file.name.endswith(".toml") and file.is_file()]


def _read(file: Traversable) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{file}: cannot be read as UTF-8 text: {error.__class__.__name__}") from error


def parse_profile(text: str, source: str) -> Profile:
    """One profile; `source` is what errors call the file. Raises ProfileError."""
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ProfileError(f"{source}: is not TOML: {error}") from None
    table = Table(source, "", values)
    parameters = _parameters(table)
    profile = Profile(
        name=table.string("name"),
        title=table.string("title"),
        summary=table.string("summary", ""),
        origins=table.strings("origins", _origin_problem),
        base_url=_base_url(table),
        auth=sections.auth(table.table("auth")),
        parameters=parameters,
        callback=sections.callback(table.optional_table("callback")),
        fetch=sections.fetch(table.table("fetch"), parameters),
        retention=sections.retention(table.table("retention")),
        poll=sections.poll(table.table("poll")),
        notes=table.string("notes", ""),
    )
    if not _NAME.match(profile.name):
        raise table.error("name", f"expected lower-case letters, digits and hyphens, got {profile.name!r}")
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
        raise table.error("base_url", "expected https://host/path, without query and without a slash at the end")
    return url


def _parameters(table: Table) -> tuple[Parameter, ...]:
    parameters = tuple(_parameter(one) for one in table.tables("parameters"))
    names = [parameter.name for parameter in parameters]
    if len(set(names)) < len(names):
        raise table.error("parameters", "expected every name once")
    return parameters


def _parameter(table: Table) -> Parameter:
    parameter = Parameter(
        name=table.string("name"), required=table.boolean("required"), summary=table.string("summary", "")
    )
    if not _PARAMETER.match(parameter.name) or parameter.name in ("job_id", "base_url"):
        raise table.error("name", f"expected lower-case letters, digits and underscores, got {parameter.name!r}")
    table.done()
    return parameter
