"""What is done by hand: signing, verifying, exporting, completing."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest

from relay.cli.export import COLUMNS, cell
from relay.client import unwrap
from relay.signing.asymmetric import generate_private_key, public_key_of
from relay.signing.standard_webhooks import generate_secret
from relay.web.api.results import ResultView
from tests.cli.conftest import Run
from tests.support.fake_api import FakeApi, page

BODY = '{"type": "x", "timestamp": "2026-11-21T19:00:00Z", "data": {"n": "é"}}\n'


def test_what_is_signed_verifies_here_and_in_a_receiver(run: Run) -> None:
    private, secret = generate_private_key(), generate_secret().reveal()
    for signing, verifying in ((secret, secret), (private.reveal(), public_key_of(private))):
        signed = run("sign", "--secret", signing, "--id", "res_1", stdin=BODY)
        headers = signed.stdout.splitlines()
        assert unwrap(BODY.encode(), dict(line.split(": ") for line in headers), verifying).data == {"n": "é"}
        flags = [word for line in headers for word in ("--header", line)]
        assert run("verify", "--secret", verifying, *flags, stdin=BODY).exit_code == 0
        changed = run("verify", "--secret", verifying, *flags, stdin=BODY.strip())
        assert (changed.exit_code, changed.stdout) == (1, "")
        assert "signature_wrong" in changed.stderr


def test_an_old_signature_verifies_if_it_may_be_old(run: Run, tmp_path: object) -> None:
    secret = generate_secret().reveal()
    with open("secret", "w") as file:
        file.write(secret + "\n")
    with open("headers", "w") as file:
        file.write(run("sign", "--secret", "@secret", "--timestamp", "1795287600", stdin=BODY).stdout)
    late = run("verify", "--secret", "@secret", "--header", "@headers", stdin=BODY)
    assert (late.exit_code, "timestamp_outside_tolerance" in late.stderr) == (1, True)
    args = ("verify", "--secret", "@secret", "--header", "@headers", "--tolerance", "99999d")
    assert run(*args, stdin=BODY).exit_code == 0


@pytest.mark.parametrize("command", ["sign", "verify"])
def test_a_secret_that_is_none_is_said_without_it(run: Run, command: str) -> None:
    more = ("--header", "webhook-id: x") if command == "verify" else ()
    refused = run(command, "--secret", "whsec_hush", *more, stdin=BODY)
    assert refused.exit_code == 2
    assert "hush" not in refused.output


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text).startswith("'")


def test_an_export_is_a_csv_that_nothing_obeys(api: FakeApi, run: Run) -> None:
    assert set(COLUMNS) < set(ResultView.model_fields)
    hostile = {"id": "res_1", "provider_job_id": '=HYPERLINK("x")', "error": 'a\x1b[2J,"b"\nc', "metadata": {"a": 1}}
    answers = [page(hostile, cursor="2"), page({"id": "res_2", "partial": False})]
    api.answers = lambda _: answers.pop(0)
    done = run("export", "--since", "7d", "--format", "csv", "--type", "result.failed")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["id"] for row in rows] == ["res_1", "res_2"]
    assert rows[0]["provider_job_id"] == '\'=HYPERLINK("x")'
    assert rows[0]["error"] == 'a[2J,"b"\nc'
    assert (rows[0]["metadata"], rows[1]["partial"]) == ('{"a":1}', "false")
    assert done.stderr == "2 results\n"
    assert set(api.last.query) == {"created_after", "type", "limit", "cursor"}


def test_an_export_is_a_json_object_on_each_line(api: FakeApi, run: Run) -> None:
    item = {"id": "res_1", "error": "a\x1b[2J\nb\u202e"}
    api.answers = lambda _: page(item, item)
    done = run("export", "--since", "1h")
    lines = done.stdout.splitlines()
    assert [json.loads(line) for line in lines] == [item, item] and done.stderr == "2 results\n"
    assert "\x1b" not in "".join(lines)
    api.answers = lambda _: page(item)
    assert run("export", "--since", "1h").stderr == "1 result\n"


def test_a_completion_script_is_one_that_the_shell_takes() -> None:
    for shell in ("bash", "zsh", "fish"):
        made = subprocess.run(
            [sys.executable, "-m", "relay", "completion", shell], capture_output=True, text=True, timeout=30
        )
        assert made.returncode == 0
        assert "_RELAY_COMPLETE" in made.stdout
        if shell == "bash":
            checked = subprocess.run(["bash", "-n"], input=made.stdout, capture_output=True, text=True, timeout=30)
            assert (checked.returncode, checked.stderr) == (0, "")
