"""The files that hold the keys Relay made for itself: mode 0600, on stable storage before they are used.

A lost key file loses every credential that was encrypted with it, so a file is either there in full or not at all, and
of two processes that make it at the same moment both go on with the same key.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from relay.errors import SettingError


def read(path: Path) -> str | None:
    """The file's text without the white space around it, None where there is no file. Raises SettingError."""
    try:
        text = path.read_text("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(
            f"{path} cannot be read ({_reason(error)}); give Relay its own directory in RELAY_DATA_DIR"
        ) from None
    if not text:
        raise SettingError(f"{path} is empty; put the key back, or delete the file to have a new one made")
    return text


def read_or_make(path: Path, make: Callable[[], str]) -> str:
    """The file's text, which `make` gives when there is none yet. Raises SettingError."""
    text = read(path)
    if text is not None:
        return text
    try:
        made = [each for each in (path.parent, *path.parent.parents) if not each.exists()]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _publish(path, make())
        for directory in made:  # a directory is on stable storage only once the one above it is synced
            _sync(directory.parent)
    except OSError as error:
        raise SettingError(
            f"{path} cannot be written ({_reason(error)}); give a directory that Relay may write in RELAY_DATA_DIR"
        ) from None
    return read(path) or ""


def _publish(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mkstemp's mode is 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # unlike a rename it never replaces the key of a process that was quicker
        except FileExistsError:
            return
    finally:
        os.unlink(temporary)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return "it is not text" if isinstance(error, UnicodeDecodeError) else (error.strerror or "unknown error").lower()
