"""README and guides hang together: links lead somewhere, lists are complete, and what is told twice is told alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import click

from relay.cli.exits import Exit
from relay.cli.main import cli
from relay.providers.loader import load_profiles
from tests.architecture.tree import TOP, files
from tests.deploy.commands import named
from tests.journeys.test_readme import PAGES, README
from tests.support.pages import anchors, broken_links, links

FRONT_LINES: Final = 240
GUIDES: Final = TOP / "deploy/guide"
SCOPES: Final = ("read", "write", "admin")
SVG: Final = "{http://www.w3.org/2000/svg}"


def test_every_link_leads_to_a_file_and_a_heading_that_are_there() -> None:
    pages = [path for path in files() if path.suffix == ".md"]
    assert len(pages) > 12
    assert {str(page.relative_to(TOP)): list(broken_links(page)) for page in pages if any(broken_links(page))} == {}


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One: `two`\n## Same\n## Same\n```\n# no heading [a](no-link.md)\n```\n[a](other.md) ![b](b.png) [c](#gone) "
        "[d](#one-two) [e](page.md#same-1) [f](https://example.com/x.md)\n"
        '<picture><source srcset="dark.png"><img src="page.md" alt="g"></picture>'
    )
    assert list(broken_links(page)) == ["other.md", "b.png", "#gone", "dark.png"]
    assert anchors(page.read_text()) == {"one-two", "same", "same-1"}


def test_the_front_page_stays_one_that_is_read() -> None:
    """What is more goes into the guides."""
    assert README.count("\n") <= FRONT_LINES


def test_every_guide_is_in_both_lists() -> None:
    guides = {path.name for path in GUIDES.glob("*.md")} - {"README.md"}
    index = (GUIDES / "README.md").read_text("utf-8")
    assert {link for link in links(index) if "/" not in link} == guides
    assert {Path(link.partition("#")[0]).name for link in links(README) if "deploy/guide/" in link} >= guides
    assert guides == set(PAGES) - {"README.md"}


def test_the_numbers_are_those_that_operators_are_told() -> None:
    measured = set((TOP / "deploy/README.md").read_text("utf-8").splitlines())
    rows = re.findall(r"^\|.*`make bench ARGS=\w+` \|$", README, re.M)
    assert len(rows) >= 4 and [row for row in rows if row not in measured] == []
    assert "November\n2026" in README and "in November 2026" in (TOP / "deploy/README.md").read_text("utf-8")


def test_the_front_page_names_every_provider() -> None:
    section = README.partition("## Providers")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([\w-]+)`", section)) == set(load_profiles(None))


def test_every_command_is_in_the_list_of_commands_and_every_exit_code() -> None:
    page = PAGES["cli.md"]
    table = page.partition("<!-- commands -->")[2].partition("<!-- end of commands -->")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `relay ")]
    assert sorted(re.findall(r"`relay (\w+)`", table)) == sorted(cli.list_commands(click.Context(cli)))
    for row in rows:
        group, _ = named(re.findall(r"`relay (\w+)`", row)[:1])
        if isinstance(group, click.Group):
            told = {word.split()[0] for word in re.findall(r"`([a-z][^`]*)`", row)} - {"relay", *SCOPES}
            assert told <= set(group.list_commands(click.Context(group))), row
    codes = page.partition("<!-- exit codes -->")[2].partition("<!-- end of exit codes -->")[0]
    assert re.findall(r"^\| (\d) \|", codes, re.M) == [str(int(code)) for code in Exit]
    assert cli.help is not None
    said = " ".join(cli.help.split())
    assert all(f"{number} {meaning}" in said for number, meaning in re.findall(r"^\| (\d) \| (.+) \|$", codes, re.M))


def test_the_picture_is_for_light_and_dark_for_those_who_cannot_see_it_and_asks_nobody() -> None:
    text = (GUIDES / "flow.svg").read_text("utf-8")
    picture = ElementTree.fromstring(text)
    names = {element.get("id") for element in picture.iter()}
    assert picture.get("role") == "img" and set((picture.get("aria-labelledby") or "").split()) <= names
    assert all(picture.findtext(f"{SVG}{name}") for name in ("title", "desc"))
    assert "@media (prefers-color-scheme: dark)" in text
    assert {element.tag for element in picture.iter()} & {
        f"{SVG}{name}" for name in ("script", "image", "use", "foreignObject")
    } == set()
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\((?!#)", text) == []
    told = [alt or other for alt, other in re.findall(r"!\[([^\]]*)\]|<img [^>]*alt=\"([^\"]*)\"", README)]
    assert len(told) == 2 and all(len(alt) > 40 for alt in told)
