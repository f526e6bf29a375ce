"""Cells of CSV files that no spreadsheet runs."""

from __future__ import annotations

from typing import Final

# A spreadsheet takes a cell that begins so for a formula, and runs it; the wide ones it takes for the narrow ones.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def inert(text: str) -> str:
    """With an apostrophe in front of what would be a formula: it is shown as the text that it is."""
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text
