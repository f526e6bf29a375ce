"""No file names a package registry: whoever builds Relay chooses where packages come from."""

from __future__ import annotations

import re

from tests.architecture.tree import TOP, files

# Assembled here, so that this file does not name them.
HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("".join(("python", "hosted")), "org"),
        ("registry", "npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
        ("maven", "org"),
        ("deb", "debian", "org"),
        ("rubygems", "org"),
    )
)
NAMES_A_HOST = re.compile("|".join(re.escape(host) for host in HOSTS).encode(), re.IGNORECASE)


def test_no_file_names_a_package_registry() -> None:
    assert [str(path.relative_to(TOP)) for path in files() if NAMES_A_HOST.search(path.read_bytes())] == []


def test_a_registry_is_found_wherever_it_stands() -> None:
    assert NAMES_A_HOST.search(b"see https://files." + HOSTS[1].upper().encode() + b"/packages")
    assert not NAMES_A_HOST.search(b"sha256:0123 httpx2==2.16.2")
