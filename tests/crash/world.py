"""Everything around the relay under test: its database, a provider, a subscriber, a load, and two subscriptions."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal, Self

import orjson

from tests.crash import rig
from tests.crash.load import Ack, Plan, read_acks
from tests.crash.rig import Api, Program, environment, module, relay_command
from tests.crash.stage import Received
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.store import migrate_in_thread

Kind = Literal["sqlite", "postgres"]
PATHS: Final = ("/one", "/two")


class World(contextlib.AbstractContextManager["World"]):
    """A directory, a database of one kind, and the processes that outlive the relay. Nothing of it stays."""

    def __init__(
        self,
        kind: Kind,
        *,
        hold_result: float = 0.0,
        hold_delivery: float = 0.0,
        settings: Mapping[str, str] | None = None,
        data: Path | None = None,
    ) -> None:
        self.kind = kind
        self.home = Path(tempfile.mkdtemp(prefix="relay-crash-"))
        self.port = free_port()
        self.data = data or self.home / "data"
        self.acks_file = self.home / "acks"
        self.sink_log = self.home / "received"
        self.server: PostgresServer | None = None
        self.url = f"sqlite:///{self.data}/relay.db"
        self.callback = ""
        self._hold = (hold_result, hold_delivery)
        self._settings = dict(settings or {})
        self._stack = contextlib.ExitStack()
        self._stage_port = 0

    def __enter__(self) -> Self:
        try:
            if self.kind == "postgres":
                self.server = self._stack.enter_context(PostgresServer(fsync=True))
                self.url = self.server.create_database()
                migrate_in_thread(self.url)
            self._open_stage()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what is left, delete the directory."""
        self._stack.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def _open_stage(self) -> None:
        result, delivery = self._hold
        options = ("--hold-result", str(result), "--hold-delivery", str(delivery))
        stage = Program("stage", module("tests.crash.stage", str(self.sink_log), *options), self.home / "stage.log", {})
        self._stack.enter_context(rig.ended(stage))
        stage.await_ready()
        self._stage_port = int(stage.said().split()[1])

    @property
    def provider(self) -> str:
        """Where the provider is: its results are below `/results/`."""
        return f"http://127.0.0.1:{self._stage_port}"

    # --- the relay under test ---

    def env(self, port: int | None = None) -> dict[str, str]:
        """The settings of a relay in this world."""
        return {
            "RELAY_DATA_DIR": str(self.data),
            "RELAY_DATABASE_URL": self.url,
            "RELAY_PORT": str(port or self.port),
            "RELAY_PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            "RELAY_ADMIN_KEY": rig.ADMIN_KEY,
            **({"RELAY_SECRET_KEYS": rig.SECRET_KEY} if self.kind == "postgres" else {}),
            "RELAY_EGRESS_ALLOW": rig.LOOPBACK,
            "RELAY_PROVIDER_EGRESS_ALLOW": rig.LOOPBACK,
            "RELAY_LOG_LEVEL": "warning",
            "RELAY_LOG_FORMAT": "json",
            "RELAY_LEASE_SECONDS": "3",
            "RELAY_DELIVERY_SCHEDULE_SECONDS": "0,1,1,2,2,5,5,5,5,5",
            **self._settings,
        }

    def relay(
        self,
        name: str = "relay",
        *arguments: str,
        port: int | None = None,
        without: Sequence[str] = (),
        tracer: Sequence[str] = (),
    ) -> Program:
        """Start one; `serve` unless something else is said. It ends with this world at the latest."""
        command = [*tracer, *relay_command(*(arguments or ("serve",)), without=without)]
        program = Program(name, command, self.home / f"{name}.log", self.env(port), traced=bool(tracer))
        self._stack.enter_context(rig.ended(program))
        return program

    def register(self, port: int | None = None) -> None:
        """One webhook at the provider, two subscriptions; by the API of the relay at `port`."""
        api = Api(port or self.port)
        origin = f"http://127.0.0.1:{self._stage_port}"
        webhook = {
            "name": "crash",
            "provider": "netnut",
            "credentials": {"username": "u", "password": "p"},
            "origins": [origin],
            "fetch_max_in_flight": 32,
        }
        self.callback = "/" + api("POST", "/v1/webhooks", webhook)["callback_url"].split("/", 3)[3]
        for path in PATHS:
            wanted = {"name": path.strip("/"), "url": f"{origin}{path}", "max_in_flight": 32}
            api("POST", "/v1/subscriptions", wanted)

    # --- the load ---

    def load(self, *, rate: float, ports: Sequence[int] = (), first: int = 0, senders: int = 16) -> LoadProcess:
        """Start posting. It ends with this world at the latest."""
        plan = Plan(
            ports=tuple(ports) or (self.port,),
            path=self.callback,
            provider=f"http://127.0.0.1:{self._stage_port}/results",
            acks=str(self.acks_file),
            rate=rate,
            first=first,
            senders=senders,
        )
        load = LoadProcess(plan)
        self._stack.callback(load.kill)
        return load

    def acks(self) -> list[Ack]:
        """What was acknowledged so far."""
        return read_acks(self.acks_file)

    def received(self) -> list[Received]:
        """What the subscriber was sent so far."""
        if not self.sink_log.exists():
            return []
        return [Received.read(line) for line in self.sink_log.read_text().rpartition("\n")[0].splitlines()]


class LoadProcess:
    """`tests.crash.load` at work."""

    def __init__(self, plan: Plan) -> None:
        self._process = subprocess.Popen(
            module("tests.crash.load"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment({})
        )
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps(asdict(plan)))
        self._process.stdin.close()
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":  # before that, SIGTERM would not end it in order
            self.kill()
            raise rig.CrashError("the load did not start")

    def stop(self) -> dict[str, int]:
        """No more; what was answered, by status."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.stdout is not None
        said = self._process.stdout.read()
        self._process.stdout.close()
        if self._process.wait(rig.STOP_SECONDS):
            raise rig.CrashError("the load failed")
        counts: dict[str, int] = orjson.loads(said)
        return counts

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                with contextlib.suppress(OSError):
                    pipe.close()


def describe(counts: Mapping[str, Any]) -> str:
    """Counts as words: `200: 310, 503: 2`."""
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items())) or "none"
