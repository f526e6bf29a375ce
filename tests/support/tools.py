"""Programs that not every machine has."""

from __future__ import annotations

import os
import shutil

import pytest


def tool(name: str, package: str) -> str:
    """The path of a program. Where it is not installed the test is skipped, and says what Debian calls it; with
    RELAY_REQUIRE_TOOLS set it fails instead."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/bin")
    if found is None:
        if os.environ.get("RELAY_REQUIRE_TOOLS"):
            pytest.fail(f"{name} is not installed (apt-get install {package})")
        pytest.skip(f"NOT CHECKED: {name} is not installed (apt-get install {package})")
    return found
