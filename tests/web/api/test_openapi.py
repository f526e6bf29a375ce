"""The served OpenAPI document is true: schemathesis makes requests from it and judges the answers."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from relay.clock import Instant
from relay.model import JobStatus
from tests.support.clock import FakeClock
from tests.support.management import ADMIN_KEY, Management
from tests.support.noun_rows import (
    attempt,
    delivery,
    job,
    notification,
    put_attempt,
    put_delivery,
    put_job,
    put_notification,
    put_result,
    result,
)

CONFIG = """
headers = { Authorization = "Bearer %(key)s" }

[generation]
allow-x00 = false
max-examples = %(examples)s
database = "none"
deterministic = true

[phases]
stateful.enabled = false
coverage.enabled = false

[checks]
# What a provider's profile, a policy or the present state of things refuses cannot be said in a schema.
positive_data_acceptance.expected-statuses = ["2xx", 304, 400, 401, 403, 404, 409, 416, 422]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 416, 422]

# It never ends.
[[operations]]
include-path = "/v1/stream"
enabled = false

%(operations)s
"""

# Requests of each kind for each operation.
EXAMPLES = [pytest.param(3, marks=pytest.mark.acceptance), pytest.param(25, marks=pytest.mark.slow)]

OPERATION = """
[[operations]]
include-path-regex = "^/v1/%(noun)s/"
exclude-method = "DELETE"
parameters = { id = "%(id)s" }
"""


@pytest.fixture
async def base_url(management: Management) -> AsyncIterator[str]:
    config = uvicorn.Config(management.app, log_level="error", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await serving


@pytest.mark.timeout(300)
@pytest.mark.parametrize("examples", EXAMPLES)
async def test_the_document_is_true(
    management: Management, base_url: str, clock: FakeClock, tmp_path: Path, examples: int
) -> None:
    known = await fill(management, clock)
    operations = "".join(OPERATION % {"noun": noun, "id": id} for noun, id in known.items())
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG % {"key": ADMIN_KEY, "examples": examples, "operations": operations})
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config), "run"),
        *(f"{base_url}/openapi.json", "--url", base_url, "--no-color", "--continue-on-failure"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode(errors="replace")


async def fill(management: Management, clock: FakeClock) -> dict[str, str]:
    """One of everything; the ids of those that no request ends for good."""
    webhook, subscription = await management.webhook(), await management.subscription()
    now: Instant = clock.now()
    one = job(webhook["id"], now, status=JobStatus.COMPLETED, due_at=None, completed_at=now)
    payload = b'{"answer": 42}'
    stored = result(one.id, webhook["id"], now, payload)
    sent = delivery(stored.id, subscription["id"], now)
    seen = notification(webhook["id"], now, job_id=one.id)

    def put(conn: Any) -> None:
        put_job(conn, one)
        put_attempt(conn, attempt(one.id, 1, now))
        put_result(conn, stored, payload)
        put_delivery(conn, sent)
        put_attempt(conn, attempt(sent.id, 1, now))
        put_notification(conn, seen)

    await management.database.write(put)
    return {"jobs": one.id, "notifications": seen.id, "deliveries": sent.id, "results": stored.id}
