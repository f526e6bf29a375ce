"""The files of the work tree: what git tracks or would track."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

TOP = Path(__file__).parents[2]
SKIPPED = {"build", "dist", "node_modules"}


def files() -> list[Path]:
    """Every file of the repository (without git: of the folder, less what tools leave there)."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"], cwd=TOP, capture_output=True
    )
    if listed.returncode == 0:
        paths = [TOP / name for name in os.fsdecode(listed.stdout).split("\0") if name]
    else:
        paths = [path for path in TOP.rglob("*") if not _is_left_by_a_tool(path.relative_to(TOP))]
    return sorted(path for path in paths if path.is_file())


def _is_left_by_a_tool(path: Path) -> bool:
    return any(
        part in SKIPPED or (part.startswith(".") and part != ".ci") or part.endswith(("__pycache__", ".egg-info"))
        for part in path.parts[:-1]
    )
