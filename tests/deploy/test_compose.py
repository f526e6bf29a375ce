"""The compose files, against what they name: files, settings, commands, services and volumes."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest

from relay.settings import describe, load
from tests.deploy.commands import named
from tests.deploy.documents import DEPLOY, load_yaml
from tests.deploy.test_image import ENV

FILES = ("compose.sqlite.yml", "compose.postgres.yml")
ASKED = {"RELAY_PUBLIC_URL": "https://relay.example.com", "POSTGRES_PASSWORD": "a:b", "RELAY_SECRET_KEYS": "s" * 40,
         "RELAY_ADMIN_KEY": "a" * 40}  # fmt: skip
NAMED = re.compile(r"\$\{(\w+)(?::(?P<how>[-?])[^}]*)?\}")


def of_relay(name: str) -> dict[str, dict[str, Any]]:
    """The services that are Relay."""
    return {key: value for key, value in load_yaml(name)["services"].items() if value["image"] == "relay"}


@pytest.mark.parametrize("name", FILES)
def test_what_is_named_exists(name: str) -> None:
    compose = load_yaml(name)
    settings = {row.name for row in describe()}
    for service in compose["services"].values():
        for dependency in service.get("depends_on", ()):
            assert dependency in compose["services"]
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in compose["volumes"]
    for service in of_relay(name).values():
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        assert set(service["environment"]) <= settings


@pytest.mark.parametrize("name", FILES)
def test_every_command_and_environment_is_one_that_relay_takes(name: str) -> None:
    for service in of_relay(name).values():
        command, words = named(list(service["command"]))
        command.make_context("relay", [*words, "--help"], resilient_parsing=True)
        given = {key: NAMED.sub(_filled, value) for key, value in service["environment"].items()}
        loaded = load(environ={**{key: value for key, value in ENV.items() if key.startswith("RELAY_")}, **given})
        assert loaded.public_url == ASKED["RELAY_PUBLIC_URL"]
        assert loaded.host == "0.0.0.0"


def _filled(found: re.Match[str]) -> str:
    return ASKED.get(found[1], "")


@pytest.mark.parametrize("name", FILES)
def test_nothing_secret_has_a_default_and_nobody_is_given_more_than_needed(name: str) -> None:
    text = (DEPLOY / name).read_text()
    for found in NAMED.finditer(text):
        if found[1] in ASKED:
            assert found["how"] == "?", f"{found[1]} has to be given"
    for service in of_relay(name).values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert int(service["stop_grace_period"].removesuffix("s")) > load(environ={}).shutdown_seconds
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_on_postgresql_there_are_a_server_and_two_workers_after_an_upgrade() -> None:
    services = load_yaml("compose.postgres.yml")["services"]
    assert services["worker"]["deploy"]["replicas"] == 2
    assert services["server"]["command"] == ["serve", "--no-worker"]
    for name in ("server", "worker"):
        assert services[name]["depends_on"] == {"upgrade": {"condition": "service_completed_successfully"}}
    assert services["upgrade"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    port = services["worker"]["command"][-1]
    assert port == ENV["RELAY_PORT"]  # where the image's health check asks


@pytest.mark.parametrize("name", FILES)
def test_docker_compose_takes_it(name: str) -> None:
    """Needs the compose plug-in, but no engine."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode != 0:
        pytest.skip("NOT CHECKED: docker has no compose here")
    ran = subprocess.run(
        [docker, "compose", "-f", str(DEPLOY / name), "config", "--quiet"], env={**ASKED, "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
