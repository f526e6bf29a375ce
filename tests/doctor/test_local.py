"""Checks that ask nobody: each is seen to fail, and to be content."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from relay.doctor import local
from relay.doctor.findings import Finding, Level
from relay.settings import Settings

GOOD = secrets.token_urlsafe(48)
MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /mnt/share rw,relatime shared:1 - nfs4 server:/x rw
31 22 0:41 / /run rw,nosuid - tmpfs tmpfs rw
32 22 0:42 / /mnt/a\\040disk rw - xfs /dev/vdb rw
a line that is none
"""


def settings(tmp_path: Path, **given: Any) -> Settings:
    return Settings.model_validate({"data_dir": tmp_path} | given)


def levels(found: Iterable[Finding]) -> list[Level]:
    return [finding.level for finding in found]


@pytest.mark.parametrize(
    ("url", "level", "says"),
    [
        ("https://relay.example.com", Level.OK, "begin with"),
        ("http://relay.example.com", Level.WARN, "listens on the way"),
        ("https://localhost:8000", Level.WARN, "only this machine"),
        ("https://10.0.0.7", Level.WARN, "only this machine"),
        ("https://relay.internal", Level.WARN, "only this machine"),
        ("https://relay", Level.WARN, "only this machine"),
        ("https://[::1]", Level.WARN, "only this machine"),
        ("https://8.8.8.8", Level.OK, "begin with"),
    ],
)
def test_a_public_url_that_no_provider_reaches(tmp_path: Path, url: str, level: Level, says: str) -> None:
    (finding,) = local.public_url(settings(tmp_path, public_url=url))
    assert finding.level is level
    assert says in finding.says
    assert bool(finding.advice) == (level is not Level.OK)


def test_no_public_url_at_all(tmp_path: Path) -> None:
    (finding,) = local.public_url(settings(tmp_path))
    assert (finding.level, "RELAY_PUBLIC_URL is not set" in finding.says) == (Level.WARN, True)


def test_keys_that_are_missing_made_by_hand_or_the_same(tmp_path: Path) -> None:
    postgres = {"database_url": "postgresql://relay@db/relay"}
    assert levels(local.keys(settings(tmp_path, **postgres))) == [Level.FAIL, Level.FAIL]
    other = secrets.token_urlsafe(48)
    assert levels(local.keys(settings(tmp_path, **postgres, secret_keys=GOOD, admin_key=other))) == [Level.OK]
    assert levels(local.keys(settings(tmp_path, secret_keys="changeme" * 5, admin_key=other))) == [Level.WARN]
    assert levels(local.keys(settings(tmp_path, secret_keys=GOOD, admin_key=GOOD))) == [Level.FAIL]
    assert levels(local.keys(settings(tmp_path))) == [Level.OK]


def test_a_key_that_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "secret-keys"
    path.write_text(GOOD)
    path.chmod(0o640)
    (finding,) = local.keys(settings(tmp_path))
    assert (finding.level, finding.advice) == (Level.FAIL, f"chmod 600 {path}")
    path.chmod(0o600)
    assert levels(local.keys(settings(tmp_path))) == [Level.OK]
    assert GOOD not in repr(list(local.keys(settings(tmp_path))))


def test_the_keys_that_relay_keeps_are_read_and_none_is_made(tmp_path: Path) -> None:
    assert local.with_kept_keys(settings(tmp_path)).secret_keys == ()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "secret-keys").write_text(f"{GOOD}\n")
    (key,) = local.with_kept_keys(settings(tmp_path)).secret_keys
    assert key.reveal() == GOOD


@pytest.mark.parametrize(
    ("place", "level", "says"),
    [
        ("/mnt/share/relay", Level.FAIL, "nfs4"),
        ("/run/relay", Level.WARN, "tmpfs"),
        ("/mnt/a disk/relay", Level.OK, "will be made"),
        ("/srv/relay", Level.OK, "will be made"),
    ],
)
def test_a_file_system_that_does_not_keep_what_it_is_given(place: str, level: Level, says: str) -> None:
    (finding,) = local.directory(Settings.model_validate({"data_dir": place}), MOUNTS)
    assert finding.level is level, finding
    assert says in finding.says


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert levels(local.directory(settings(tmp_path, data_dir=file / "data"), MOUNTS)) == [Level.FAIL]


def test_a_database_that_others_can_read(tmp_path: Path) -> None:
    file = tmp_path / "relay.db"
    file.write_text("")
    file.chmod(0o644)
    (finding,) = local.directory(settings(tmp_path), MOUNTS)
    assert (finding.level, finding.advice) == (Level.WARN, f"chmod 600 {file}")


def test_a_disk_that_is_full_or_soon(tmp_path: Path) -> None:
    given = settings(tmp_path, free_disk_floor_bytes=1000)
    assert levels(local.disk(given, 999)) == [Level.FAIL]
    assert levels(local.disk(given, 3999)) == [Level.WARN]
    assert levels(local.disk(given, 4000)) == [Level.OK]


@pytest.mark.parametrize("entry", ["0.0.0.0/0", "::/0", "[::/0]:443", "0.0.0.0/0:8080", "169.254.0.0/16"])
def test_an_allow_list_that_lets_everything_through(tmp_path: Path, entry: str) -> None:
    for name in ("egress_allow", "provider_egress_allow"):
        (finding,) = local.egress(settings(tmp_path, **{name: entry}))
        assert (finding.level, name.upper() in finding.says) == (Level.FAIL, True)


def test_an_allow_list_that_names_networks(tmp_path: Path) -> None:
    allow = "10.0.0.0/8,192.168.1.7/32:8080,[fd00::/8]:443,fd01::1,127.0.0.1"
    assert levels(local.egress(settings(tmp_path, egress_allow=allow))) == [Level.OK]


def test_a_profile_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "providers").mkdir()
    (tmp_path / "providers" / "broken.toml").write_text("name = 'broken'\n")
    (finding,) = local.profiles(settings(tmp_path))
    assert (finding.level, "broken" in finding.says) == (Level.FAIL, True)
    (tmp_path / "providers" / "broken.toml").unlink()
    assert levels(local.profiles(settings(tmp_path))) == [Level.OK]
