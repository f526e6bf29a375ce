"""The official libraries verify what a subscriber receives, byte for byte, also while two secrets sign."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import standardwebhooks

from relay.demo.sink import Message
from tests.support.journey import World, travelling
from tests.support.later import later

svix = later("svix")

TOP: Final = Path(__file__).parents[2]
PACKAGES: Final = ("standardwebhooks@1.1.1", "svix@2.5.0")
INSTALL_SECONDS: Final = 180  # a busy machine needs them; without a network npm gives up sooner by itself
VERIFY: Final = """
(async () => {
  const libraries = { standardwebhooks: await import("standardwebhooks"), svix: await import("svix") };
  const judge = (Webhook, { secret, headers, body }) => {
    try {
      new Webhook(secret).verify(Buffer.from(body, "base64"), headers);
      return "verified";
    } catch (error) {
      return error.constructor.name;
    }
  };
  const cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const judged = cases.map((given) =>
    Object.fromEntries(Object.entries(libraries).map(([name, { Webhook }]) => [name, judge(Webhook, given)]))
  );
  console.log(JSON.stringify(judged));
})();
"""


@dataclass(frozen=True)
class Case:
    """Something for a library to judge."""

    secret: str
    headers: Mapping[str, str]
    body: bytes
    good: bool

    @property
    def as_json(self) -> dict[str, Any]:
        return {"secret": self.secret, "headers": self.headers, "body": base64.b64encode(self.body).decode()}


async def _cases(url: str, directory: Path) -> list[Case]:
    """Deliveries as they arrived: signed by one secret, then by two, and each of them forged."""
    async with travelling(url, directory) as world:
        webhook, subscription = await world.webhook(), await world.subscribe()
        first = subscription["secret"]
        before = await _delivered(world, webhook)
        path = f"/v1/subscriptions/{subscription['id']}/rotate-secret"
        second = (await world.post(path, {"overlap_seconds": 60}))["secret"]
        during = await _delivered(world, webhook)
        third = (await world.post(path, {"overlap_seconds": 0}))["secret"]
        after = await _delivered(world, webhook)
    assert [len(message.headers["webhook-signature"].split()) for message in (before, during, after)] == [1, 2, 1]
    return [
        Case(first, before.headers, before.body, True),
        Case(second, before.headers, before.body, False),
        Case(first, during.headers, during.body, True),
        Case(second, during.headers, during.body, True),
        Case(second, after.headers, after.body, False),
        Case(third, after.headers, after.body, True),
        Case(first, before.headers, before.body.replace(b"tea", b"pea", 1), False),
        Case(first, before.headers, before.body + b" ", False),
        Case(first, {**before.headers, "webhook-id": "res_" + "0" * 32}, before.body, False),
        Case(first, {**before.headers, "webhook-timestamp": "1700000000"}, before.body, False),
    ]


async def _delivered(world: World, webhook: Mapping[str, Any]) -> Message:
    seen = world.sink.received
    await world.ask(webhook, "tea")
    return (await world.sink.wait_for(seen + 1))[-1]


def _by_python(case: Case) -> dict[str, str]:
    verifiers: dict[str, Callable[[], Any]] = {
        "standardwebhooks": lambda: standardwebhooks.Webhook(case.secret).verify(case.body, dict(case.headers)),
        "svix": lambda: svix.webhooks.Webhook(case.secret).verify(case.body, dict(case.headers)),
    }
    judged = {}
    for name, verify in verifiers.items():
        try:
            verify()
            judged[name] = "verified"
        except (standardwebhooks.WebhookVerificationError, svix.webhooks.WebhookVerificationError) as error:
            judged[name] = type(error).__name__
    return judged


def _expected(case: Case) -> dict[str, str]:
    return dict.fromkeys(("standardwebhooks", "svix"), "verified" if case.good else "WebhookVerificationError")


async def test_the_official_python_libraries_verify_deliveries(sqlite_stage_url: str, tmp_path: Path) -> None:
    cases = await _cases(sqlite_stage_url, tmp_path)
    assert [_by_python(case) for case in cases] == [_expected(case) for case in cases]


async def test_the_official_javascript_libraries_verify_deliveries(
    node_modules: Path, sqlite_stage_url: str, tmp_path: Path
) -> None:
    cases = await _cases(sqlite_stage_url, tmp_path)
    node = await asyncio.create_subprocess_exec(
        "node", "-e", VERIFY, cwd=node_modules.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    said, _ = await node.communicate(json.dumps([case.as_json for case in cases]).encode())
    assert node.returncode == 0
    assert json.loads(said) == [_expected(case) for case in cases]


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The pinned packages, installed once and kept under `build/`. RELAY_REQUIRE_NODE=1 fails where that cannot be."""
    home = TOP / "build" / ("npm-" + "-".join(PACKAGES).replace("@", "-"))
    if shutil.which("node") is None:
        _missing("there is no node")
    if not home.exists():
        if shutil.which("npm") is None:
            _missing("there is no npm")
        _install(home)
    return home / "node_modules"


def _install(home: Path) -> None:
    """Beside its place and then moved into it, so that a run that was cut off leaves nothing half-made there."""
    home.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="npm-") as temporary:
        place = Path(temporary) / "made"
        place.mkdir()
        command = ["npm", "install", "--prefix", str(place), "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
        try:
            made = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            _missing(f"npm did not end within {INSTALL_SECONDS} s")
        if made.returncode:
            _missing(f"npm failed: {made.stderr[-500:]}")
        if not home.exists():
            place.rename(home)


def _missing(why: str) -> None:
    reason = f"NO OFFICIAL JAVASCRIPT LIBRARIES: {why}"
    if os.environ.get("RELAY_REQUIRE_NODE") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
