"""What a page of Markdown points at, as the places where such pages are shown understand it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FENCED: Final = re.compile(r"^```.*?^```$", re.M | re.S)
LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|\bsrc(?:set)?=\"([^\"\s]+)\"")
HEADING: Final = re.compile(r"^#{1,6} +(.+)$", re.M)


def anchors(text: str) -> set[str]:
    """The names of its headings: lower case, no punctuation, hyphens for spaces, a number for the second of a name."""
    found: dict[str, int] = {}
    names = set()
    for heading in HEADING.findall(FENCED.sub("", text)):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = found[name] = found.get(name, -1) + 1
        names.add(f"{name}-{count}" if count else name)
    return names


def links(text: str) -> list[str]:
    """Where its links and pictures point."""
    return [link or source for link, source in LINK.findall(FENCED.sub("", text))]


def broken_links(page: Path) -> Iterator[str]:
    """Those of its links that lead to no file, or to no heading of one. Other sites are not asked."""
    text = page.read_text("utf-8")
    for link in links(text):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = page if not path else (page.parent / path).resolve()
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            yield link
