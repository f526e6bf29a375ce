"""The commands of deploy/README.md, run in order beside a relay with something to lose; and the lines that it logs."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.crash.rig import Program, ended
from tests.deploy.documents import blocks, table
from tests.journeys.test_readme import Shell, reader, replaced
from tests.support.journey import LOOPBACK, World, stand_ins
from tests.support.ports import free_port


@pytest.mark.acceptance
async def test_a_copy_is_taken_while_relay_works_and_comes_back_to_life(tmp_path: Path) -> None:
    env, port, data = reader(tmp_path), free_port(), tmp_path / "data"
    words = {
        "/opt/relay/bin/python": sys.executable, "/var/lib/relay": str(data), "/backup": str(tmp_path / "backup"),
        "/vault": str(tmp_path / "vault"), "/restore": str(tmp_path / "restore"),
    }  # fmt: skip
    for name in ("backup", "vault"):
        (tmp_path / name).mkdir()
    own = {
        "RELAY_DATA_DIR": str(data), "RELAY_PORT": str(port), "RELAY_EGRESS_ALLOW": LOOPBACK,
        "RELAY_PROVIDER_EGRESS_ALLOW": LOOPBACK, "RELAY_LOG_FORMAT": "json", "RELAY_LOG_LEVEL": "debug",
    }  # fmt: skip
    async with stand_ins() as (netnut, sink, session):
        relay = Program("relay", [sys.executable, "-m", "relay", "serve"], tmp_path / "log", env | own)
        with ended(relay):
            await asyncio.to_thread(relay.await_ready)
            key = (data / "admin-key").read_text().strip()
            world = World(session, f"http://127.0.0.1:{port}", netnut, sink, key)
            webhook = await world.webhook()
            await world.subscribe()
            await world.ask(webhook)
            await world.sink.wait_for(1)
            await world.until("/v1/deliveries", lambda page: page["data"][0]["status"] == "delivered")
            shell = Shell(tmp_path, env | own | {"RELAY_URL": world.url, "RELAY_API_KEY": key})
            try:
                for block in blocks("session"):
                    await asyncio.to_thread(shell.run, replaced(block, words))
            finally:
                shell.end()
            assert await asyncio.to_thread(relay.stop) == 0
    assert "fail " not in shell.said
    assert "relay_build_info{" in shell.said
    assert "ok: schema" in shell.said
    _restored(tmp_path / "restore")
    _logged(relay.said())


def _restored(directory: Path) -> None:
    """The copy has what was there, and its keys open it."""
    with closing(sqlite3.connect(f"file:{directory}/relay.db?mode=ro", uri=True)) as copy:
        assert copy.execute("SELECT count(*) FROM results").fetchone() == (1,)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    env = {"RELAY_DATA_DIR": str(directory), "RELAY_PORT": str(free_port()), "RELAY_SHUTDOWN_SECONDS": "1"}
    relay = Program("restored", [sys.executable, "-m", "relay", "serve"], directory / "log", env)
    with ended(relay):
        relay.await_ready()  # it refuses to start with a key that does not open what is stored
        assert relay.stop() == 0


def _logged(text: str) -> None:
    """Every line is JSON of an event that is described, with no field but those that are told of it."""
    always = {"ts", "level", "event"}
    fields = {row[0].strip("`"): set(row[3].replace("`", "").split(", ")) | always for row in table("events")}
    levels = {row[0].strip("`"): row[1] for row in table("events")}
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert {"notification.received", "fetch.attempted", "delivery.attempted", "stopping"} <= {
        line["event"] for line in lines
    }
    assert [line for line in lines if "logger" in line] == []  # libraries are quiet, at debug too
    for line in lines:
        assert set(line) <= fields[line["event"]], line
        assert line["level"] == levels[line["event"]] or line["event"] == "request.answered", line
    quiet = {line["route"] for line in lines if line["event"] == "request.answered" and line["level"] == "debug"}
    assert {"/readyz", "/metrics"} <= quiet
