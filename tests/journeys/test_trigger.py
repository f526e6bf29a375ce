"""`relay trigger` against a relay that runs: the commands as a shell runs them, on real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay.cli.main import cli
from relay.demo.rehearsal import EVENTS
from tests.journeys.test_readme import texts
from tests.support.journey import ADMIN_KEY, running, settings_of
from tests.support.ports import free_port

Trigger = Callable[..., Awaitable["Told"]]


@dataclass(frozen=True)
class Told:
    code: int
    out: str
    err: str


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def trigger(sqlite_stage_url: str, tmp_path: Path, port: int) -> AsyncIterator[Trigger]:
    settings = settings_of(sqlite_stage_url, tmp_path, provider_egress_allow=(f"127.0.0.1/32:{port}",))
    environment = {**os.environ, "RELAY_URL": settings.public_url, "RELAY_API_KEY": ADMIN_KEY}

    async def run(*arguments: str, at: int = port) -> Told:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "relay", "trigger", *arguments, "--port", str(at)),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip
        out, err = await process.communicate()
        return Told(process.returncode or 0, out.decode(), err.decode())

    async with running(settings):
        yield run


async def test_jobs_make_the_whole_trip_and_each_is_told(trigger: Trigger) -> None:
    told = await trigger("netnut.completed", "--count", "5", "--duplicate", "--pending", "1", "--json")
    assert told.code == 0, told.err
    rows = json.loads(told.out)
    assert len({row["job_id"] for row in rows}) == len({row["provider_job_id"] for row in rows}) == 5
    assert {(row["status"], row["notified"], row["error"]) for row in rows} == {("completed", "200 200", None)}
    assert all(row["attempts"] == 2 for row in rows)
    assert "5 of 5 jobs completed" in told.err and "\x1b" not in told.err


async def test_a_rehearsal_that_is_ended_from_outside_leaves_no_webhook(
    sqlite_stage_url: str, tmp_path: Path, port: int
) -> None:
    settings = settings_of(sqlite_stage_url, tmp_path, provider_egress_allow=(f"127.0.0.1/32:{port}",))
    environment = {**os.environ, "RELAY_URL": settings.public_url, "RELAY_API_KEY": ADMIN_KEY}
    command = [sys.executable, "-m", "relay"]
    async with running(settings):
        process = await asyncio.create_subprocess_exec(
            *(*command, "trigger", "netnut.completed", "--work", "5m", "--port", str(port)),
            stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip
        assert process.stderr is not None and b"0 of 1" in await process.stderr.readline()
        process.terminate()
        assert b"Traceback" not in await process.stderr.read()
        assert await process.wait() == 130
        listing = await asyncio.create_subprocess_exec(
            *(*command, "webhook", "list"), stdout=subprocess.PIPE, env=environment
        )
        assert (await listing.communicate())[0] == b""


@pytest.mark.acceptance
async def test_the_guides_commands_do_what_it_says(trigger: Trigger) -> None:
    (block,) = texts("rehearse")
    listed, happy, forged = (shlex.split(line) for line in block.splitlines())
    assert [command[:2] for command in (listed, happy, forged)] == [["relay", "trigger"]] * 3
    told = [await trigger(*command[2:]) for command in (listed, happy, forged)]
    assert [one.code for one in told] == [0, 0, 0], [one.err for one in told]
    assert "netnut.completed" in told[0].out
    assert told[1].out.count("\tcompleted\t") == 20
    (row,) = json.loads(told[2].out)
    assert (row["status"], row["notified"]) == ("failed", "401")


async def test_every_seed_can_be_rehearsed_with_its_knobs(trigger: Trigger, port: int) -> None:
    failed = await trigger("freddy.failed", "--work", "10ms")
    assert (failed.code, failed.out.split("\t")[2]) == (0, "failed"), failed.err
    silent = await trigger("inference-net.completed", "--never-call-back", "--work", "10ms")
    assert (silent.code, silent.out.split("\t")[2:5:2]) == (0, ["completed", ""]), silent.err


async def test_what_is_not_final_in_time_is_said(trigger: Trigger) -> None:
    late = await trigger("netnut.completed", "--work", "1m", "--timeout", "1s")
    assert late.code == 7 and "1 not final in time" in late.err
    assert late.out.split("\t")[2] == "waiting"


async def test_a_relay_that_may_not_call_the_stand_in_is_told_which_setting_to_change(trigger: Trigger) -> None:
    elsewhere = free_port()
    told = await trigger("netnut.completed", at=elsewhere)
    assert (told.code, told.out) == (1, "")
    assert f"RELAY_PROVIDER_EGRESS_ALLOW=127.0.0.1/32:{elsewhere}" in told.err


def test_what_there_is_is_listed_and_anything_else_is_refused() -> None:
    listed = CliRunner().invoke(cli, ["trigger", "--list"])
    assert listed.exit_code == 0
    assert listed.stdout.split() == [f"{name}.{outcome}" for name, outcomes in EVENTS.items() for outcome in outcomes]
    for arguments, why in (
        (["netnut.exploded"], "EVENT is one of: netnut.completed"),
        ([], "EVENT is one of"),
        (["netnut.completed", "--sign", "wrong"], "does not sign"),
        (["freddy.completed", "--duplicate"], "--duplicate: freddy never calls back"),
        (["netnut.completed", "--work", "soon"], "not a duration"),
    ):
        refused = CliRunner().invoke(cli, ["trigger", *arguments])
        assert refused.exit_code == 2 and why in refused.stderr, arguments
