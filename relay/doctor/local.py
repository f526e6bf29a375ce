"""Settings, keys, directory and disk: checks that ask nobody."""

from __future__ import annotations

import ipaddress
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from relay import keyfiles
from relay.doctor.findings import Finding, fail, ok, warn
from relay.errors import RelayError, SettingError
from relay.model import Secret
from relay.providers.loader import load_profiles
from relay.settings import Settings
from relay.signing.strength import weakness

MOUNTS: Final = Path("/proc/self/mountinfo")
REMOTE: Final = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "ceph",
    "glusterfs",
    "lustre",
    "afs",
    "fuse.sshfs",
    "fuse.s3fs",
)
MAKE_ONE: Final = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
FLEETING: Final = ("tmpfs", "ramfs")
METADATA_SERVICE: Final = ipaddress.ip_address("169.254.169.254")
ROOMY: Final = 4  # times the floor


def public_url(settings: Settings) -> Iterator[Finding]:
    """Whether providers could reach the address that callback URLs begin with, by its looks."""
    url, check = urlsplit(settings.public_url), "public-url"
    host = url.hostname or ""
    if _is_private(host):
        unset = "" if "public_url" in settings.model_fields_set else " (RELAY_PUBLIC_URL is not set)"
        yield warn(
            check,
            f"callback URLs begin with {settings.public_url}{unset}: only this machine or network reaches that",
            "set RELAY_PUBLIC_URL to the https address that providers reach; providers that cannot call are polled",
        )
    elif url.scheme != "https":
        yield warn(
            check,
            f"callback URLs begin with {settings.public_url}: whoever listens on the way reads and may use them",
            "put a reverse proxy with a certificate in front and set RELAY_PUBLIC_URL to its https address",
        )
    else:
        yield ok(check, f"callback URLs begin with {settings.public_url}")


def _is_private(host: str) -> bool:
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host


def keys(settings: Settings) -> Iterator[Finding]:
    """Whether the keys are there, differ, were made by a machine, and are their owner's alone."""
    check, found = "keys", False
    if not settings.is_sqlite:
        for name in ("secret_keys", "admin_key"):
            if not getattr(settings, name):
                found = True
                yield fail(check, f"RELAY_{name.upper()} is not set, and processes on PostgreSQL must share it",
                           MAKE_ONE)  # fmt: skip
    given: list[tuple[str, Secret]] = [("RELAY_SECRET_KEYS", key) for key in settings.secret_keys]
    if settings.admin_key is not None:
        given.append(("RELAY_ADMIN_KEY", settings.admin_key))
    for name, key in given:
        if (why := weakness(key.reveal(), key.reveal().encode())) is not None:
            found = True
            yield warn(check, f"a key in {name} {why}: it can be guessed", f"{MAKE_ONE}, and put it first")
    if settings.admin_key is not None and settings.admin_key in settings.secret_keys:
        found = True
        yield fail(check, "RELAY_ADMIN_KEY is also in RELAY_SECRET_KEYS: who is given the API can read every secret",
                   "use two different keys")  # fmt: skip
    for path in (settings.data_dir / "secret-keys", settings.data_dir / "admin-key"):
        if _open_to_others(path):
            found = True
            yield fail(check, f"others on this machine can read {path}", f"chmod 600 {path}")
    if not found:
        yield ok(check, "there, different, and nobody else's" if given else "kept in the data directory")


def _open_to_others(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
    except OSError:
        return False


def with_kept_keys(settings: Settings) -> Settings:
    """The same settings with the keys that Relay keeps in the data directory; makes none. Raises SettingError."""
    if not settings.is_sqlite:
        return settings
    kept = {name: getattr(settings, name) for name in settings.model_fields_set}
    for name in ("secret_keys", "admin_key"):
        if not kept.get(name) and (text := keyfiles.read(settings.data_dir / name.replace("_", "-"))) is not None:
            kept[name] = text
    try:
        return Settings.model_validate(kept)
    except ValidationError:
        raise SettingError(f"a key in {settings.data_dir} is no key; put the right one back") from None


def directory(settings: Settings, mounts: str | None = None) -> Iterator[Finding]:
    """Whether the data directory can be written, is private, and lies on a disk that keeps what it is given."""
    path, check = settings.data_dir, "directory"
    if not settings.is_sqlite:
        return
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield fail(check, f"{there} cannot be written by this user", "give it to Relay's user, or set RELAY_DATA_DIR")
        return
    kind = _filesystem(settings.sqlite_path.absolute(), _read(MOUNTS) if mounts is None else mounts)
    if kind in REMOTE:
        yield fail(check, f"the SQLite file is on {kind}: locks and fsync do not hold there, so it can be corrupted",
                   "use a local disk, or PostgreSQL")  # fmt: skip
    elif kind in FLEETING:
        yield warn(check, f"the SQLite file is on {kind}: it is gone when the machine restarts", "use a disk")
    elif there == path and _open_to_others(settings.sqlite_path):
        yield warn(
            check, f"others on this machine can read {settings.sqlite_path}", f"chmod 600 {settings.sqlite_path}"
        )
    else:
        yield ok(check, f"{path} {'is writable' if there == path else 'will be made'}")


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:  # not Linux: nothing is known, nothing is said
        return ""


def _filesystem(path: Path, mounts: str) -> str:
    """The type of the file system that `path` is on, by Linux's table of mounts; empty if it does not say."""
    longest, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = fields[4].replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= longest:
            longest, kind = len(point), after.split()[0]
    return kind


def disk(settings: Settings, free_bytes: int | None = None) -> Iterator[Finding]:
    """Whether there is room."""
    if not settings.is_sqlite:
        return
    there = next(each for each in (settings.data_dir, *settings.data_dir.absolute().parents) if each.exists())
    free, floor = shutil.disk_usage(there).free if free_bytes is None else free_bytes, settings.free_disk_floor_bytes
    says = f"{free // 1024**2} MiB are free at {there}, RELAY_FREE_DISK_FLOOR_BYTES is {floor // 1024**2} MiB"
    if free < floor:
        yield fail("disk", f"{says}: notifications are answered 503", "make room, or set RELAY_RETENTION_DAYS lower")
    elif free < ROOMY * floor:
        yield warn("disk", says, "make room: below that nothing is taken")
    else:
        yield ok("disk", says)


def egress(settings: Settings) -> Iterator[Finding]:
    """Whether the allow lists let more through than anybody wants."""
    found = False
    for name in ("egress_allow", "provider_egress_allow"):
        for entry in getattr(settings, name):
            network = ipaddress.ip_network(entry.partition("]")[0].removeprefix("[") if "[" in entry else _host(entry))
            if network.prefixlen == 0:
                found = True
                yield fail("egress", f"RELAY_{name.upper()} lists everything ({entry}): Relay can be sent anywhere",
                           "list the networks that you mean")  # fmt: skip
            elif METADATA_SERVICE in network:
                found = True
                yield fail("egress", f"RELAY_{name.upper()} lists the cloud's metadata service ({entry})",
                           "leave 169.254.0.0/16 out: credentials of this machine are there")  # fmt: skip
    if not found:
        listed = ", ".join([*settings.egress_allow, *settings.provider_egress_allow])
        yield ok("egress", f"private addresses that are called: {listed or 'none'}")


def _host(entry: str) -> str:
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def profiles(settings: Settings) -> Iterator[Finding]:
    """Whether the providers' profiles can be read."""
    try:
        known = load_profiles(settings.own_profiles)
    except RelayError as error:
        yield fail("profiles", str(error), "mend it: `relay provider check FILE` says where")
    else:
        yield ok("profiles", f"{len(known)} providers")
