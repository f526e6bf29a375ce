"""The only reader of the environment: what can be set, from where, and what is wrong with it.

Sources, strongest first: options of the command line, `RELAY_*` variables (and the platform's `DATABASE_URL` and
`PORT`), `relay.toml`, defaults. `load` reads and judges; `ensure_secrets` makes or reads a SQLite relay's key files.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from relay import keyfiles
from relay import setting_sources as sources
from relay import setting_types as types
from relay.errors import SettingError
from relay.model import Secret
from relay.setting_sources import PREFIX, Given

MIB: Final = 1024 * 1024
MAKE_A_KEY: Final = "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"


def _reachable(data: Mapping[str, Any], port: int) -> str:
    host = "127.0.0.1" if data["host"] in ("0.0.0.0", "::") else data["host"]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _setting(default: Any, description: str, example: object, **more: Any) -> Any:
    """A field; a callable default is computed from the fields above it and shown as `shown`."""
    shown = more.pop("shown", None)
    if callable(default):
        more["default_factory"] = default
    else:
        more["default"] = default
    return Field(description=description, examples=[example], json_schema_extra={"shown": shown}, **more)


class Settings(BaseModel):
    """Everything that can be set. Every field is `RELAY_` + its name in the environment, its name in `relay.toml`."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True, allow_inf_nan=False
    )

    data_dir: types.Directory = _setting(
        Path(".relay"), "Directory of the SQLite file and of the keys that Relay makes.", "/var/lib/relay"
    )
    database_url: types.DatabaseUrl = _setting(
        lambda data: f"sqlite:///{data['data_dir']}/relay.db",
        "The database: `postgresql://…`, `postgres://…` or `sqlite:///file`. `DATABASE_URL` is honoured.",
        "postgresql://relay@db.internal/relay",
        shown="a file in the data directory",
        repr=False,
    )
    host: types.Host = _setting(
        "127.0.0.1",
        "Address to listen on. Where the platform's `PORT` gives the port, the default is 0.0.0.0.",
        "0.0.0.0",
    )
    port: types.Port = _setting(8000, "Port to listen on. `PORT` is honoured.", 8000)
    management_port: types.Port | None = _setting(
        None, "When set, everything but `/in/` and the health paths is served on this port only.", 8001
    )
    public_url: types.HttpUrl = _setting(
        lambda data: _reachable(data, data["port"]),
        "Address under which providers reach Relay; callback URLs begin with it.",
        "https://relay.example.com",
        shown="http://{host}:{port}",
    )
    secret_keys: types.EncryptionKeys = _setting(
        (),
        "Keys that encrypt what is stored and sign callback URLs, newest first, each of 32 characters or more.",
        f"$({MAKE_A_KEY})",
        shown="made and kept in the data directory; required on PostgreSQL",
    )
    admin_key: types.AdminKey | None = _setting(
        None,
        "The first admin API key, 32 to 128 visible ASCII characters.",
        f"$({MAKE_A_KEY})",
        shown="made and kept in the data directory; required on PostgreSQL",
    )
    egress_allow: types.Networks = _setting(
        (),
        "Private networks that subscribers may live in, each with an optional port; also permits http there.",
        "10.0.0.0/8,192.168.1.7/32:8080,[fd00::/8]:443",
    )
    provider_egress_allow: types.Networks = _setting((), "The same for providers.", "10.1.2.0/24:443")
    providers_dir: types.Directory = _setting(
        lambda data: data["data_dir"] / "providers",
        "Directory of provider profiles of your own (one TOML file each).",
        "/etc/relay/providers",
        shown="{data_dir}/providers",
    )
    retention_days: types.Days = _setting(
        30, "How long results and notifications are kept; a result with pending deliveries is kept longer.", 30
    )
    retention: types.Switch = _setting(
        "on", "`off`: nothing is deleted by age or size, here and in any webhook.", "off"
    )
    max_notification_bytes: types.Bytes = _setting(
        16 * MIB, "Largest notification body that is taken; above it 413.", 16 * MIB
    )
    max_result_bytes: types.Bytes = _setting(
        32 * MIB, "Largest result that is fetched, as it is sent; unpacked it may be four times that.", 32 * MIB
    )
    intake_budget_bytes: types.Bytes = _setting(
        256 * MIB, "Notification bytes in memory at one time, over all requests; above it 503.", 256 * MIB
    )
    free_disk_floor_bytes: types.BytesOrZero = _setting(
        256 * MIB,
        "With less free disk than this Relay takes no notifications (503) rather than fill the disk.",
        256 * MIB,
    )
    max_connections: types.Count = _setting(4096, "Inbound connections open at one time.", 4096)
    request_timeout_seconds: types.Seconds = _setting(
        10, "An inbound request must have arrived in full in this time.", 10
    )
    fetch_slots: types.Count = _setting(64, "Result fetches in flight at one time, per process.", 64)
    fetch_timeout_seconds: types.Seconds = _setting(120, "Total time of one fetch.", 120)
    give_up_hours: types.Hours = _setting(
        72, "A job whose provider never answers is given up this long after its completion was known.", 72
    )
    delivery_slots: types.Count = _setting(256, "Deliveries in flight at one time, per process.", 256)
    delivery_timeout_seconds: types.Seconds = _setting(30, "Total time of one delivery attempt.", 30)
    delivery_schedule_seconds: types.Waits = _setting(
        (0, 5, 30, 120, 600, 3600, 10800, 28800, 43200, 86400),
        "Waits before each delivery attempt; after the last one the delivery is exhausted.",
        "0,5,30,120,600",
    )
    disable_after_days: types.DaysOrZero = _setting(
        5, "A subscription that took nothing for this long, whatever was tried, is disabled; 0 = never.", 5
    )
    expiring_seconds: types.Seconds = _setting(
        600, "How long before a job's deadline `job.expiring` tells that its result is not here.", 600
    )
    lease_seconds: types.LeaseSeconds = _setting(
        30, "A worker that is silent for this long loses its work to another.", 30
    )
    shutdown_seconds: types.Seconds = _setting(10, "Work in flight has this long to finish when Relay is stopped.", 10)
    trace_endpoint: types.HttpUrl | None = _setting(
        None,
        "OTLP/HTTP address that OpenTelemetry spans are sent to; needs the extra `otel`.",
        "http://127.0.0.1:4318/v1/traces",
    )
    playground: types.Switch = _setting(
        "off",
        "`on`: stand-ins for providers and a subscriber listen on this machine, and the dashboard plays them "
        "(SQLite only; for trying Relay out).",
        "on",
    )
    log_format: types.LogFormat = _setting(
        "auto", "`auto` (console on a terminal, else json), `console` or `json`.", "json"
    )
    log_level: types.LogLevel = _setting("info", "`debug`, `info`, `warning` or `error`.", "info")
    url: types.HttpUrl = _setting(
        lambda data: _reachable(data, data["management_port"] or data["port"]),
        "The relay that the command line speaks to.",
        "https://relay.example.com",
        shown="http://{host}:{port}",
    )
    api_key: types.AnyKey | None = _setting(None, "The API key that the command line shows.", "rk_YOUR_KEY")

    @property
    def own_profiles(self) -> Path | None:
        """Where to read profiles from besides Relay's. Only a directory that somebody named has to be there."""
        is_default = self.providers_dir == self.data_dir / "providers"
        return None if is_default and not self.providers_dir.exists() else self.providers_dir

    @property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite:")

    @property
    def local_url(self) -> str:
        """Where this machine itself reaches the callback URLs."""
        return _reachable({"host": self.host}, self.port)

    @property
    def sqlite_path(self) -> Path:
        """The SQLite file. Raises ValueError on PostgreSQL."""
        if not self.is_sqlite:
            raise ValueError("there is no SQLite file on PostgreSQL")
        return Path(self.database_url.removeprefix("sqlite:///"))


class Described(NamedTuple):
    """One row of the settings table."""

    name: str
    default: str
    description: str


def describe() -> list[Described]:
    """Every setting as its variable's name, its default in words, and one line about it."""
    return [
        Described(PREFIX + name.upper(), _default_in_words(field), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def _default_in_words(field: FieldInfo) -> str:
    shown = field.json_schema_extra.get("shown") if isinstance(field.json_schema_extra, dict) else None
    match shown or field.default:
        case None | ():
            return "none"
        case tuple() as several:
            return ",".join(str(item) for item in several)
        case int() as size if size >= MIB:
            return f"{size} ({size // MIB} MiB)"
        case other:
            return str(other)


def load(overrides: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Makes no file.

    `overrides` are what the command line gave, by field name (None = not given); `environ` is the process's own unless
    given. Raises SettingError, which names every setting that is wrong, what is wrong and what to write instead.
    """
    environ = os.environ if environ is None else environ
    known = tuple(Settings.model_fields)
    given = {
        **sources.from_file(environ, known),
        **sources.from_environ(environ, known),
        **sources.from_options(overrides or {}, known),
    }
    if "host" not in given and "port" in given and given["port"].source == "PORT":
        given["host"] = Given("0.0.0.0", "PORT", "")  # a platform that assigns the port comes from outside
    wrong = list(sources.switches(given))
    try:
        settings = Settings.model_validate({name: item.value for name, item in given.items()})
    except ValidationError as error:
        wrong += sources.problems(error, given, Settings.model_fields)
    else:
        wrong += _contradictions(settings, given)
    if wrong:
        head = "" if len(wrong) == 1 else f"{len(wrong)} settings are wrong:\n  "
        raise SettingError(head + "\n  ".join(wrong))
    return settings


def _contradictions(settings: Settings, given: Mapping[str, Given]) -> Iterator[str]:
    """One sentence for each setting that cannot be with another one."""
    if settings.management_port and settings.management_port == settings.port:
        yield f"{given['management_port'].source} is the port of the callbacks too; give another one"
    if settings.intake_budget_bytes < settings.max_notification_bytes:
        blamed = given.get("intake_budget_bytes") or given["max_notification_bytes"]
        yield (
            f"{blamed.source} would have the largest notification answered 503 for ever; give RELAY_INTAKE_BUDGET_BYTES"
            " as many as RELAY_MAX_NOTIFICATION_BYTES or more"
        )


def ensure_secrets(settings: Settings) -> Settings:
    """The same settings with both keys present: on SQLite those not set are made once and kept in the data directory.

    Raises SettingError where they are not set on PostgreSQL: processes must share them, so Relay cannot make them.
    """
    if not settings.is_sqlite:
        missing = [name for name in ("secret_keys", "admin_key") if not getattr(settings, name)]
        if missing:
            names = " and ".join(PREFIX + name.upper() for name in missing)
            raise SettingError(f"{names} must be set on PostgreSQL; make a value for each with: {MAKE_A_KEY}")
        return settings
    made: dict[str, Given] = {}
    for name, make in (("secret_keys", _new_secret_key), ("admin_key", _new_admin_key)):
        if not getattr(settings, name):
            path = settings.data_dir / name.replace("_", "-")
            made[name] = Given(keyfiles.read_or_make(path, make), str(path), "")
    kept = {name: getattr(settings, name) for name in Settings.model_fields}
    try:
        return Settings.model_validate({**kept, **{name: item.value for name, item in made.items()}})
    except ValidationError as error:
        raise SettingError("\n".join(sources.problems(error, made, Settings.model_fields))) from None


def stored_admin_key(settings: Settings) -> Secret | None:
    """The admin key that Relay made in this data directory, None where there is none. Raises SettingError."""
    text = keyfiles.read(settings.data_dir / "admin-key")
    return None if text is None else Secret(text)


def _new_secret_key() -> str:
    return secrets.token_urlsafe(48)


def _new_admin_key() -> str:
    return f"rk_{secrets.token_urlsafe(32)}"
