"""`relay export`: the results of a time, for a spreadsheet or another program."""

from __future__ import annotations

import csv
import io
import json
from typing import Any, Final

import click

from relay.cli import values
from relay.cli.nouns import RESULT, WEBHOOK
from relay.cli.output import note, put
from relay.cli.session import find_id, open_api
from relay.cli.text import safe, safe_json
from relay.csvtext import inert

COLUMNS: Final = (
    "id", "type", "status", "provider", "webhook_id", "job_id", "provider_job_id", "error", "partial", "content_type",
    "size_bytes", "sha256", "fetched_at", "metadata",
)  # fmt: skip


@click.command()
@click.option("--since", required=True, metavar="AGE", help="Results of the last 30m, 6h, 7d.")
@click.option("--format", "how", type=click.Choice(["ndjson", "csv"]), default="ndjson", show_default=True)
@click.option("--webhook", metavar="NAME_OR_ID", help="Only of this webhook.")
@click.option("--type", "kind", help="Only this type, for example result.failed.")
def export(since: str, how: str, webhook: str | None, kind: str | None) -> None:
    """Print results without their payloads, newest first: a JSON object or a CSV row on each line.

    A cell of the CSV that a spreadsheet would run as a formula has an apostrophe in front.
    """
    params: dict[str, object] = {"created_after": values.since("--since", since), "type": kind}
    count = 0
    with open_api() as api:
        if webhook is not None:
            params["webhook_id"] = find_id(api, WEBHOOK.path, WEBHOOK.prefix, webhook)
        if how == "csv":
            put(_row(COLUMNS))
        for result in api.pages(RESULT.path, params):
            put(_json(result) if how == "ndjson" else _row([result.get(name) for name in COLUMNS]))
            count += 1
    note(f"{count} result{'s' * (count != 1)}")


def _json(result: dict[str, Any]) -> str:
    return safe_json(json.dumps(result, ensure_ascii=False, separators=(",", ":")))


def _row(cells: Any) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow([cell(value) for value in cells])
    return written.getvalue()


def cell(value: object) -> str:
    """One value as a cell: text that no terminal obeys and no spreadsheet runs."""
    if value is None:
        return ""
    text = _json(value) if isinstance(value, dict) else str(value).lower() if isinstance(value, bool) else str(value)
    return inert(safe(text))
