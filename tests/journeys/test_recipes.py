"""The recipes of the guides, each in a process of its own with its framework's real package."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import pytest

from relay.demo.freddy import Freddy
from relay.model import Secret
from tests.crash.rig import Program, ended
from tests.journeys.test_readme import texts
from tests.support.journey import ADMIN_KEY, World, eventually, travelling
from tests.support.ports import free_port

TOP: Final = Path(__file__).parents[2]
RECIPE: Final = re.compile(r"<!-- recipe: (?P<name>[\w.]+) -->\n```python\n(?P<text>.*?)^```$", re.M | re.S)
RECIPES: Final = {
    found["name"]: found["text"]
    for page in ("deploy/guide/python.md", "deploy/recipes.md")
    for found in RECIPE.finditer((TOP / page).read_text("utf-8"))
}
PYTHON: Final = [sys.executable, "-u", "-W", "ignore"]
COMMANDS: Final = {
    "fastapi_receiver.py": ["-m", "uvicorn", "fastapi_receiver:app", "--port"],
    "flask_receiver.py": ["-m", "flask", "--app", "flask_receiver", "run", "--port"],
    "django_receiver.py": ["django_receiver.py", "runserver", "--noreload"],
}
CELERY: Final = """
broker_url = "filesystem://"
broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
result_backend = "file://%s/results"
worker_send_task_events = False
"""


@pytest.fixture
async def world(sqlite_stage_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with travelling(sqlite_stage_url, tmp_path, delivery_schedule_seconds=(0, 0.2, 0.2, 0.2)) as opened:
        yield opened


def test_every_recipe_is_run() -> None:
    assert set(RECIPES) == {*COMMANDS, "pull_worker.py", "articles.py"}


@pytest.mark.acceptance
@pytest.mark.parametrize("name", COMMANDS)
async def test_a_receiver_takes_what_is_signed_and_nothing_else(name: str, world: World, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/hooks"
    made = await world.post("/v1/subscriptions", {"name": "billing", "url": url})
    async with program(name, [*COMMANDS[name], str(port)], tmp_path, HOOK_SECRET=made["secret"]) as running:
        await until_it_listens(world.session, url)
        headers = {"webhook-id": "res_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
        async with world.session.post(url, data=b"{}", headers=headers) as forged:
            assert forged.status == 401
        await world.ask(await world.webhook(), "tea")
        page = await world.until("/v1/deliveries", lambda found: [d["status"] for d in found["data"]] == ["delivered"])
        assert f"got result.completed {page['data'][0]['result_id']}" in running.said()
        assert running.said().count("got ") == 1


@pytest.mark.acceptance
async def test_a_program_takes_its_messages(world: World, tmp_path: Path) -> None:
    made = await world.post("/v1/subscriptions", {"name": "batch", "kind": "pull"})
    env = {"RELAY_URL": world.url, "RELAY_API_KEY": ADMIN_KEY, "RESULTS_SUBSCRIPTION": made["id"]}
    async with program("pull_worker.py", ["pull_worker.py"], tmp_path, **env) as running:
        await world.ask(await world.webhook(), "tea")
        page = await world.until("/v1/deliveries", lambda found: [d["status"] for d in found["data"]] == ["delivered"])
        assert f"got result.completed {page['data'][0]['result_id']}" in running.said()


@pytest.mark.acceptance
async def test_the_guides_program_gets_its_result(world: World, tmp_path: Path) -> None:
    (text,) = texts("client.py")
    webhook = await world.webhook(base_url=world.netnut.url)
    env = os.environ | {"RELAY_URL": world.url, "RELAY_API_KEY": ADMIN_KEY}
    code = [*PYTHON, "-c", text.replace('"wh_…"', repr(webhook["id"]))]
    done = await asyncio.to_thread(subprocess.run, code, env=env, capture_output=True, text=True, timeout=60)
    (result,) = await world.page("/v1/results")
    assert done.returncode == 0, done.stderr
    assert "Is tea older" in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[1] == f"{result['id']} {result['provider_job_id']}"


@pytest.mark.acceptance
async def test_celery_tasks_wait_or_are_called_and_ask_once(sqlite_stage_url: str, tmp_path: Path) -> None:
    key = Secret("freddy-key-for-the-recipe")
    async with travelling(sqlite_stage_url, tmp_path, hurry=5) as world, Freddy(api_key=key) as freddy:
        wanted = {"name": "freddy", "provider": "freddy", "credentials": {"api_key": key.reveal()}}
        webhook = await world.post("/v1/webhooks", wanted | {"base_url": freddy.url, "origins": [freddy.url]})
        await world.subscribe()
        (tmp_path / "celeryconfig.py").write_text(CELERY % tmp_path)
        for folder in ("queue", "control", "results"):
            (tmp_path / folder).mkdir()
        env = {"RELAY_URL": world.url, "RELAY_API_KEY": ADMIN_KEY, "FREDDY_WEBHOOK": webhook["id"]}
        worker = ["-m", "celery", "-A", "articles", "worker", "--pool", "solo", "--without-mingle", "--without-gossip"]
        async with program("articles.py", worker, tmp_path, **env):
            written = await run(tmp_path, env, "write.apply_async(['tea'], task_id='one').get(timeout=60)")
            assert written["status"] == "completed"
            assert (await run(tmp_path, env, "write.apply_async(['tea'], task_id='one').get(timeout=60)")) == written
            assert freddy.counts["submitted"] == 1
            job_id = await run(tmp_path, env, "ask.delay('coffee').get(timeout=60)")
            job = await world.ended(job_id)
            finished = await run(tmp_path, env, f"finish.delay({job['result_id']!r}).get(timeout=60)")
            assert finished["id"] == job["provider_job_id"] != written["id"]
            assert freddy.counts["submitted"] == 2


@asynccontextmanager
async def program(name: str, arguments: list[str], directory: Path, **env: str) -> AsyncIterator[Program]:
    """A recipe in a process of its own, in a directory that holds nothing but it."""
    (directory / name).write_text(RECIPES[name], "utf-8")
    started = Program(
        name,
        ["bash", "-c", 'cd "$0" && exec "$@"', str(directory), *PYTHON, *arguments],
        directory / f"{name}.log",
        env,
    )
    with ended(started):
        yield started


async def until_it_listens(session: aiohttp.ClientSession, url: str) -> None:
    async def ask() -> dict[str, Any]:
        try:
            async with session.get(url) as answer:
                return {"status": answer.status}
        except aiohttp.ClientConnectorError:
            return {"status": None}

    await eventually(ask, lambda found: found["status"] is not None)


async def run(directory: Path, env: dict[str, str], call: str) -> Any:
    """What a call of the recipe's tasks brings, made by another process, as a web application would."""
    code = f"import json; from articles import *; print(json.dumps({call}))"

    def wait() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PYTHON, "-c", code], cwd=directory, env=os.environ | env, capture_output=True, text=True, timeout=90
        )

    done = await asyncio.to_thread(wait)
    assert done.returncode == 0, done.stderr
    return orjson.loads(done.stdout)
