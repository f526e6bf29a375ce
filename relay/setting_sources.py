"""Where the values of settings come from, and how each source calls them when one is wrong."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from relay.errors import SettingError

PREFIX: Final = "RELAY_"

_PLATFORM: Final = {"DATABASE_URL": "database_url", "PORT": "port"}
# Variables of the test suite, and those that Kubernetes and Docker set for a service that is named `relay`.
_NOT_OURS: Final = re.compile(r"RELAY_(CONFIG$|(TEST|REQUIRE|BENCH|CRASH)(_|$)|SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP))")
_SERVICE_LINK: Final = re.compile(r"(tcp|udp)://")


class Given(NamedTuple):
    """A value that somebody gave."""

    value: object
    source: str  # how the person who wrote it would call it
    spelling: str  # what stands before the value where it is written

    def example(self, value: object) -> str:
        """How `value` would be written in its place."""
        return self.spelling + (json.dumps(value) if self.spelling.endswith(" = ") else str(value))


def from_options(overrides: Mapping[str, object], known: Collection[str]) -> dict[str, Given]:
    """What the command line gave (None = not given). Raises SettingError."""
    given = {}
    for name, value in overrides.items():
        option = "--" + name.replace("_", "-")
        if name not in known:
            raise SettingError(f"{option} is not a setting; the nearest is --{_nearest(name, known).replace('_', '-')}")
        if value is not None:
            given[name] = Given(value, option, f"{option} ")
    return given


def from_environ(environ: Mapping[str, str], known: Collection[str]) -> dict[str, Given]:
    """`RELAY_*` and what platforms set. An empty variable counts as not set. Raises SettingError."""
    given = {field: Given(environ[name], name, f"{name}=") for name, field in _PLATFORM.items() if environ.get(name)}
    for variable, value in environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or _NOT_OURS.match(variable):
            continue
        if name not in known:
            nearest = PREFIX + _nearest(name, known).upper()
            raise SettingError(f"{variable} is not a setting; the nearest is {nearest}")
        if value and not (name == "port" and _SERVICE_LINK.match(value)):
            given[name] = Given(value, variable, f"{variable}=")
    return given


def from_file(environ: Mapping[str, str], known: Collection[str]) -> dict[str, Given]:
    """The file that `RELAY_CONFIG` names, else `relay.toml` if there is one. Raises SettingError."""
    named = environ.get(f"{PREFIX}CONFIG")
    path = Path(named or "relay.toml")
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if not named:
            return {}
        raise SettingError(f"RELAY_CONFIG names {path}, and there is no such file") from None
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingError(f"{path} is not valid TOML: not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path} is not valid TOML: {error}") from None
    for name in table:
        if name not in known:
            raise SettingError(f"{name} in {path} is not a setting; the nearest is {_nearest(name, known)}")
    return {name: Given(value, f"{name} in {path}", f"{name} = ") for name, value in table.items()}


def switches(given: Mapping[str, Given]) -> Iterator[str]:
    """One sentence for each true or false: no setting is a switch, and `port = true` would otherwise be port 1."""
    for item in given.values():
        if isinstance(item.value, bool):
            yield f"{item.source} is not a switch: true and false mean nothing here"


def problems(error: ValidationError, given: Mapping[str, Given], fields: Mapping[str, FieldInfo]) -> Iterator[str]:
    """One sentence for each wrong setting. No value is shown but what a check of ours put into its message."""
    for detail in error.errors(include_input=False, include_url=False, include_context=False):
        name = str(detail["loc"][0])
        if name not in given:
            continue  # a default that could not be computed because the setting that it follows is wrong
        problem = re.sub(r"^(Value error, |Input |Value |String )", "", detail["msg"])
        example = given[name].example((fields[name].examples or [""])[0])
        yield f"{given[name].source} {problem}; for example {example}"


def _nearest(name: str, known: Collection[str]) -> str:
    return difflib.get_close_matches(name.lower(), known, n=1, cutoff=0)[0]
