"""What the command groups have in common: one way to list, to show, and to ask for an action."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from relay.cli.exits import Exit, Failure, report
from relay.cli.output import note, put, put_list, put_record
from relay.cli.session import drop_none, find_id, open_api, segment
from relay.errors import RelayError

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@dataclass(frozen=True, slots=True)
class Noun:
    """One noun of the API, as the command line sees it."""

    group: str  # the word on the command line
    path: str  # of its list in the API
    prefix: str  # of its ids
    columns: tuple[str, ...]  # of its list
    has_name: bool = False  # may be named instead of giving its id
    has_pages: bool = True  # its list comes in pages

    def address(self, api: Any, given: str) -> str:
        """The path of one: by its id, or by its name where it has one."""
        found = find_id(api, self.path, self.prefix, given) if self.has_name else given
        return f"{self.path}/{segment(found)}"

    @property
    def metavar(self) -> str:
        return "NAME_OR_ID" if self.has_name else "ID"


def text_filter(flag: str, parameter: str, help_text: str) -> click.Option:
    """A list filter that is passed on as it is."""
    return click.Option([flag, parameter], help=help_text)


def list_command(
    noun: Noun, filters: Sequence[click.Option] = (), resolve: dict[str, Noun] | None = None
) -> click.Command:
    """`list`: one page, newest first, with the noun's filters. `resolve`: which filters take another noun's name."""

    def run(as_json: bool, every: bool = False, **given: Any) -> None:
        with open_api() as api:
            for parameter, other in (resolve or {}).items():
                if given.get(parameter):
                    given[parameter] = find_id(api, other.path, other.prefix, given[parameter])
            if every:
                given = {**given, "limit": None, "cursor": None}
                put_list(list(api.pages(noun.path, given)), noun.columns, as_json=as_json)
                return
            page = api.page(noun.path, given)
        put_list(page["data"], noun.columns, as_json=as_json, page=page)
        if page["next_cursor"] and not as_json:
            note(f"there are more: repeat with --cursor {page['next_cursor']} or --all")

    params: list[click.Parameter] = [*filters, *(_paging() if noun.has_pages else ()), _json()]
    return click.Command("list", params=params, callback=run, help=f"List, newest first: {', '.join(noun.columns)}.")


def show_command(noun: Noun) -> click.Command:
    """`show`: everything about one."""

    def run(given: str, as_json: bool) -> None:
        with open_api() as api:
            item = api.call("GET", noun.address(api, given))
        put_record(item, as_json=as_json)

    return click.Command("show", params=[_one(noun), _json()], callback=run, help="Show one with all its fields.")


def action_command(
    noun: Noun,
    verb: str,
    help_text: str,
    *,
    done: str,
    show: str | None = None,
    ask: bool = False,
    delete: bool = False,
    options: Sequence[click.Option] = (),
) -> click.Command:
    """A verb on one or more of them, which prints the id of each that it was done to, and the field `show`.

    `ask`: on a terminal it asks before anything happens, elsewhere it wants `--yes`. `delete`: HTTP's DELETE instead of
    a POST to the verb. `options` go into the body.
    """

    def run(given: tuple[str, ...], as_json: bool, yes: bool = True, **body: Any) -> None:
        if not yes:
            confirm(f"{verb.capitalize()} {', '.join(given)}?")

        def act(one: str) -> None:
            with open_api() as api:
                address = noun.address(api, one)
                if delete:
                    item = api.call("DELETE", address)
                else:
                    item = api.call("POST", f"{address}/{verb}", body=drop_none(body) or None)
            if as_json:
                put_record(
                    item if item is not None else {"id": address.rpartition("/")[2], "status": done}, as_json=True
                )
            else:
                put("\t".join([one, *([str(item.get(show))] if show and item else [])]))
            note(f"{noun.group} {one}: {done}")

        each(given, act)

    params: list[click.Parameter] = [_many(noun), *options, _json()]
    if ask:
        params.append(click.Option(["--yes", "-y"], is_flag=True, help="Do not ask."))
    return click.Command(verb, params=params, callback=run, help=help_text)


def each(given: Sequence[str], act: Callable[[str], None]) -> None:
    """`act` on every one, whatever happens to the others. Raises Failure when some failed: exit 6 unless all did."""
    if len(given) == 1:
        act(given[0])
        return
    codes: list[Exit] = []
    for one in given:
        try:
            act(one)
        except RelayError as error:
            codes.append(report(error))
    if codes:
        raise Failure(f"{len(codes)} of {len(given)} failed", codes[0] if len(codes) == len(given) else Exit.PARTLY)


def confirm(question: str) -> None:
    """Ask before something that cannot be undone. Raises UsageError where nobody can answer."""
    if not sys.stdin.isatty():
        raise click.UsageError("this cannot be undone: say --yes")
    click.confirm(question, abort=True, err=True)


def _paging() -> list[click.Option]:
    return [
        click.Option(
            ["--limit"], type=click.IntRange(1, 200), default=50, show_default=True, help="Items of one page."
        ),
        click.Option(["--cursor"], help="Go on where an earlier page ended."),
        click.Option(["--all", "every"], is_flag=True, help="All pages."),
    ]


def _one(noun: Noun) -> click.Argument:
    return click.Argument(["given"], metavar=noun.metavar)


def _many(noun: Noun) -> click.Argument:
    return click.Argument(["given"], metavar=f"{noun.metavar}...", nargs=-1, required=True)


def _json() -> click.Option:
    return click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")
