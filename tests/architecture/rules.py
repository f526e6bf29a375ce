"""The import rules of the house, read from the source with `ast`: pure functions from a file's text to its offences."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BASE: Final = frozenset({"model", "ids", "errors", "clock", "jsontext", "frozen"})
TOOLS: Final = frozenset({"store", "outbound", "providers", "signing"})
SETTINGS: Final = frozenset({"settings", "setting_types", "setting_sources", "keyfiles"})

# What each room may import of relay, besides itself. A room is a folder or a file right under relay/.
MAY_IMPORT: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(BASE, BASE),
    **dict.fromkeys(SETTINGS, BASE | SETTINGS),
    **dict.fromkeys(TOOLS, BASE),
    "metrics": BASE,
    "tracing": BASE,
    "pipeline": BASE | TOOLS | {"metrics", "tracing"},
    "workers": BASE | {"store"},
    "web": BASE | TOOLS | {"pipeline", "settings", "metrics", "tracing", "csvtext"},
    "client": BASE | {"signing"},
    "app": BASE | TOOLS | SETTINGS | {"pipeline", "workers", "web", "logs", "metrics", "tracing"},
    "doctor": BASE | TOOLS | SETTINGS | {"client"},
    "demo": BASE | TOOLS | SETTINGS | {"client", "app"},
    "cli": BASE | TOOLS | SETTINGS | {"client", "app", "demo", "doctor", "logs", "csvtext"},
    "logs": BASE,
    "csvtext": frozenset(),
    "__main__": frozenset({"cli"}),
    "__init__": frozenset(),
}

# Who else's packages belong to which rooms; what is not named here is everybody's.
OWNERS: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(("sqlalchemy", "alembic", "aiosqlite", "asyncpg", "sqlite3"), frozenset({"store"})),
    **dict.fromkeys(
        ("aiohttp", "httpx2", "httpx", "requests", "urllib3", "urllib.request", "http.client", "aiodns", "pycares"),
        frozenset({"outbound", "client", "demo"}),
    ),
    "starlette": frozenset({"web", "demo"}),
    **dict.fromkeys(("time", "random"), frozenset({"clock"})),
}

CONNECTING: Final = frozenset({"open_connection", "create_connection", "sock_connect", "open_unix_connection"})
MAY_CONNECT: Final = frozenset({"outbound", "client", "demo"})
# The client lives in other people's programs, which shall not load a relay's settings to find its address.
READ_THE_ENVIRONMENT: Final = (Path("relay/settings.py"), Path("relay/client/environment.py"))
WALL_CLOCK: Final = frozenset({"now", "utcnow", "today"})


@dataclass(frozen=True)
class Imported:
    """One imported module, with the names taken from it."""

    line: int
    module: str
    names: tuple[str, ...] = ()


def room_of(path: Path) -> str:
    """The room of a file, given its path from the top (`relay/store/jobs.py` is in `store`)."""
    return path.with_suffix("").parts[1]


def offences(path: Path, source: str) -> list[str]:
    """Every broken rule, as `file:line what`."""
    tree = ast.parse(source)
    room = room_of(path)
    found = [
        *_direction(room, path, tree),
        *_ownership(room, path, tree),
        *_environment(path, tree),
        *_time(room, tree),
        *_connections(room, tree),
    ]
    return [f"{path}:{line} {what}" for line, what in sorted(found)]


def _imports(path: Path, tree: ast.AST) -> Iterator[Imported]:
    package = path.with_suffix("").parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Imported(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (start, node.module) if part)
            yield Imported(node.lineno, module, tuple(alias.name for alias in node.names))


def _rooms_imported(imported: Imported) -> set[str]:
    parts = imported.module.split(".")
    if parts[0] != "relay":
        return set()
    return {parts[1]} if len(parts) > 1 else {name for name in imported.names if name != "__version__"}


def _direction(room: str, path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for imported in _imports(path, tree):
        for other in sorted(_rooms_imported(imported) - {room} - MAY_IMPORT.get(room, frozenset())):
            yield imported.line, f"{room} may not import {other}"


def _ownership(room: str, path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for imported in _imports(path, tree):
        modules = {imported.module, *(f"{imported.module}.{name}" for name in imported.names)}
        for package, owners in OWNERS.items():
            if room not in owners and any(f"{module}.".startswith(f"{package}.") for module in modules):
                yield imported.line, f"only {', '.join(sorted(owners))} may import {package}"


def _environment(path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for line, name in _used(tree, "os"):
        if path not in READ_THE_ENVIRONMENT and name in ("environ", "environb", "getenv", "putenv"):
            yield line, f"only settings.py may read the environment (os.{name})"


def _time(room: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    if room == "clock":
        return
    for owner in ("datetime", "date"):
        for line, name in _used(tree, owner):
            if name in WALL_CLOCK:
                yield line, f"only clock.py may ask for the time ({owner}.{name})"
    for node in ast.walk(tree):
        match node:
            # sleep(0) takes no time: it lets others run.
            case ast.Call(func=ast.Attribute(value=ast.Name(id="asyncio"), attr="sleep"), args=[ast.Constant(value=0)]):
                continue
            case ast.Call(func=ast.Attribute(value=ast.Name(id="asyncio"), attr="sleep")):
                yield node.lineno, "only clock.py may sleep (asyncio.sleep)"
            case ast.ImportFrom(module="asyncio", names=names) if any(alias.name == "sleep" for alias in names):
                yield node.lineno, "only clock.py may sleep (asyncio.sleep)"


def _connections(room: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in CONNECTING and room not in MAY_CONNECT and isinstance(node, ast.expr):
            yield node.lineno, f"only {', '.join(sorted(MAY_CONNECT))} may connect ({name})"


def _used(tree: ast.AST, owner: str) -> Iterator[tuple[int, str]]:
    """Names used of a module or class: `owner.name`, `x.owner.name`, or `from owner import name`."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=base), attr=name) if base == owner:
                yield node.lineno, name
            case ast.Attribute(value=ast.Attribute(attr=base), attr=name) if base == owner:
                yield node.lineno, name
            case ast.ImportFrom(module=base, names=names) if base == owner:
                yield from ((node.lineno, alias.name) for alias in names)
