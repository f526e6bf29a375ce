"""Database URLs as users write them."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from relay.errors import SettingError
from relay.frozen import frozen

FORMS = "write sqlite:///path/to/relay.db or postgresql://user:password@host/database"


@frozen()
class DatabaseUrl:
    """`sqlite:///file.db`, `postgresql://…` or `postgres://…`; the driver is ours to choose. Its repr hides it."""

    path: str  # of the SQLite file; empty for PostgreSQL
    sqlalchemy: str  # for the async driver
    address: str = ""  # of PostgreSQL, as its own clients read it

    @property
    def is_sqlite(self) -> bool:
        return bool(self.path)

    def __repr__(self) -> str:
        return f"DatabaseUrl({self.path or 'postgresql'})"

    @classmethod
    def parse(cls, url: str) -> DatabaseUrl:
        """Read a URL. Raises SettingError, without repeating it: it may hold a password."""
        scheme, separator, rest = url.partition("://")
        base = scheme.partition("+")[0]
        if not separator or base not in ("sqlite", "postgresql", "postgres"):
            raise SettingError(f"RELAY_DATABASE_URL is not a database that Relay knows: {FORMS}")
        if base == "sqlite":
            path = unquote(rest.removeprefix("/"))
            if not path or path.startswith(":memory:") or "?" in path:
                raise SettingError(f"RELAY_DATABASE_URL must name a SQLite file, without options: {FORMS}")
            return cls(path, f"sqlite+aiosqlite:///{path}")
        address = f"postgresql://{rest}"
        if not urlsplit(address).path.strip("/"):
            raise SettingError(f"RELAY_DATABASE_URL names no PostgreSQL database: {FORMS}")
        return cls("", f"postgresql+asyncpg://{rest}", address)
