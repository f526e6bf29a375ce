"""What a setting may be: each type reads the text that people write and says in words what is wrong with it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from relay.model import Secret


def _items(value: object) -> object:
    """A string as the list of what stands between its commas or line ends; anything else as it is."""
    return [item.strip() for item in re.split(r"[,\n]", value) if item.strip()] if isinstance(value, str) else value


def _lowered(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _some(waits: tuple[float, ...]) -> tuple[float, ...]:
    if not waits:
        raise ValueError("must have one wait at least")
    if waits[0]:
        raise ValueError("must begin with 0: the first attempt is made at once")
    return waits


def _host(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", name):
        raise ValueError("must be an address or host name alone, without brackets, port or path")
    return name


def _secret(least: int, most: int) -> Callable[[object], Secret]:
    def check(value: object) -> Secret:
        text = value.reveal() if isinstance(value, Secret) else value
        if not isinstance(text, str) or not all("!" <= character <= "~" for character in text):
            raise ValueError("must be a string of visible ASCII characters without spaces")
        if not least <= len(text) <= most:
            raise ValueError(f"must have {least} to {most} characters, has {len(text)}")
        return Secret(text)

    return check


def _network(item: str) -> str:
    host, port = item, None
    if item.startswith("["):  # an IPv6 network needs brackets before its port
        host, _, tail = item[1:].partition("]")
        port = tail.removeprefix(":") if tail else None
    elif item.count(":") == 1:
        host, port = item.split(":")
    if port is not None and not (re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= 65535):
        raise ValueError(f"{item!r} has no port from 1 to 65535 after the colon")
    try:
        ipaddress.ip_network(host)
    except ValueError as error:
        raise ValueError(f"{item!r} is not a network: {error}") from None
    return item


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("begins with the home directory of somebody who is not known here") from None


def _host_of_a_database(text: str) -> None:
    """The driver quotes what it takes for a port, which behind a slash that is not escaped is the password."""
    if not all(re.fullmatch(r"(\[[^]]*\]|[^][:]*)(:[0-9]{1,5})?", host) for host in text.rpartition("@")[2].split(",")):
        raise ValueError("has a port that is no number (in a password, write / ? # and @ as %2F %3F %23 and %40)")


def _database_url(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    kind = scheme.lower().partition("+")[0]  # a driver suffix says nothing: the driver is ours
    if kind in ("postgres", "postgresql") and separator:
        try:
            parts = urlsplit(f"postgresql://{rest}")
        except ValueError:
            raise ValueError("is not a URL") from None  # the parser's own message may quote the password
        _host_of_a_database(parts.netloc)
        if not parts.path.strip("/"):
            raise ValueError("names no database")
        return f"postgresql://{rest}"
    if kind != "sqlite" or not separator:
        raise ValueError("must begin with postgresql://, postgres:// or sqlite:///")
    path = rest.removeprefix("/")
    if not rest.startswith("/") or not path or path == ":memory:" or "?" in path:
        raise ValueError("must name a file after sqlite:/// (a relay in memory would lose what it acknowledged)")
    return f"sqlite:///{_at_home(Path(path))}"


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:  # reading a wrong port raises it too
        usable = False
    if not usable or re.search(r"[\s\\@?#]", url):
        raise ValueError("must be an http or https address without user, query or fragment")
    return url.rstrip("/")


Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(_items)]
Waits = Annotated[
    tuple[Annotated[float, Field(ge=0, le=2_592_000)], ...], BeforeValidator(_items), AfterValidator(_some)
]
EncryptionKeys = Annotated[tuple[Annotated[Secret, PlainValidator(_secret(32, 1024))], ...], BeforeValidator(_items)]
AdminKey = Annotated[Secret, PlainValidator(_secret(32, 128))]
AnyKey = Annotated[Secret, PlainValidator(_secret(1, 1024))]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Directory = Annotated[Path, AfterValidator(_at_home)]
Port = Annotated[int, Field(ge=0, le=65535)]  # 0 = any free one
Bytes = Annotated[int, Field(ge=1024)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Switch = Annotated[Literal["on", "off"], BeforeValidator(_lowered)]
LogFormat = Annotated[Literal["auto", "console", "json"], BeforeValidator(_lowered)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lowered)]
Host = Annotated[str, AfterValidator(_host)]
Days = Annotated[float, Field(gt=0, le=36_500)]
DaysOrZero = Annotated[float, Field(ge=0, le=36_500)]
Hours = Annotated[float, Field(gt=0, le=8_760)]
LeaseSeconds = Annotated[float, Field(ge=3, le=3_600)]
BytesOrZero = Annotated[int, Field(ge=0)]
