from __future__ import annotations

import multiprocessing
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from relay.errors import SettingError
from relay.model import Secret
from relay.settings import Settings, describe, ensure_secrets, load, stored_admin_key

KEY = "planted-key-that-nobody-may-ever-see-0001"


@pytest.fixture(autouse=True)
def _empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refusal(environ: Mapping[str, str]) -> str:
    with pytest.raises(SettingError) as caught:
        load(environ=environ)
    return str(caught.value)


def test_with_nothing_set_relay_runs_on_a_sqlite_file_on_loopback() -> None:
    settings = load(environ={})
    assert settings.is_sqlite
    assert settings.sqlite_path == Path(".relay/relay.db")
    assert (settings.host, settings.port, settings.public_url) == ("127.0.0.1", 8000, "http://127.0.0.1:8000")
    assert settings.url == "http://127.0.0.1:8000"
    assert settings.providers_dir == Path(".relay/providers")
    assert settings.max_notification_bytes == 16 * 1024 * 1024
    assert settings.max_result_bytes == 32 * 1024 * 1024
    assert list(settings.delivery_schedule_seconds) == [0, 5, 30, 120, 600, 3600, 10800, 28800, 43200, 86400]
    assert (settings.retention_days, settings.retention, settings.give_up_hours) == (30, "on", 72)
    assert (settings.lease_seconds, settings.fetch_timeout_seconds, settings.delivery_timeout_seconds) == (30, 120, 30)
    assert settings.request_timeout_seconds == 10
    assert (settings.management_port, settings.egress_allow, settings.provider_egress_allow) == (None, (), ())
    assert not settings.secret_keys
    assert list(Path().iterdir()) == []  # loading makes no file


def test_only_a_directory_of_profiles_that_somebody_named_has_to_be_there() -> None:
    assert load(environ={}).own_profiles is None
    assert load(environ={"RELAY_PROVIDERS_DIR": "mine"}).own_profiles == Path("mine")
    Path(".relay/providers").mkdir(parents=True)
    assert load(environ={}).own_profiles == Path(".relay/providers")


def test_options_win_over_the_environment_over_the_file_over_defaults(tmp_path: Path) -> None:
    Path("relay.toml").write_text('port = 1001\nhost = "file.example"\nretention_days = 3\n')
    settings = load({"port": 1003, "host": None}, environ={"RELAY_PORT": "1002", "RELAY_HOST": "env.example"})
    assert (settings.port, settings.host, settings.retention_days, settings.fetch_slots) == (1003, "env.example", 3, 64)


def test_relay_variables_win_over_the_platforms() -> None:
    both = {"PORT": "1", "RELAY_PORT": "2", "DATABASE_URL": "postgres://a/b", "RELAY_DATABASE_URL": "postgres://c/d"}
    settings = load(environ=both)
    assert (settings.port, settings.database_url, settings.host) == (2, "postgresql://c/d", "127.0.0.1")


def test_a_platforms_port_also_opens_the_host_unless_one_is_set() -> None:
    assert load(environ={"PORT": "5000"}).host == "0.0.0.0"
    assert load(environ={"PORT": "5000"}).public_url == "http://127.0.0.1:5000"
    assert load(environ={"PORT": "5000", "RELAY_HOST": "10.0.0.1"}).host == "10.0.0.1"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("postgres://u:p@h:5/db?sslmode=require", "postgresql://u:p@h:5/db?sslmode=require"),
        ("postgresql+psycopg://h/db", "postgresql://h/db"),
        ("sqlite:///relay.db", "sqlite:///relay.db"),
        ("sqlite+aiosqlite:////srv/relay.db", "sqlite:////srv/relay.db"),
    ],
)
def test_the_driver_in_a_database_url_is_ours_to_choose(written: str, read: str) -> None:
    assert load(environ={"RELAY_DATABASE_URL": written}).database_url == read


def test_an_absolute_sqlite_path_stays_absolute() -> None:
    assert load(environ={"RELAY_DATABASE_URL": "sqlite:////srv/relay.db"}).sqlite_path == Path("/srv/relay.db")
    assert load(environ={"RELAY_DATA_DIR": "/srv"}).sqlite_path == Path("/srv/relay.db")
    with pytest.raises(ValueError, match="no SQLite file"):
        _ = load(environ={"DATABASE_URL": "postgres://h/db"}).sqlite_path


def test_an_unknown_variable_is_named_with_the_nearest_setting() -> None:
    assert (
        refusal({"RELAY_RETENTION_DAY": "3"})
        == "RELAY_RETENTION_DAY is not a setting; the nearest is RELAY_RETENTION_DAYS"
    )


def test_an_unknown_key_in_the_file_is_named_with_the_nearest_setting() -> None:
    Path("relay.toml").write_text("pubic_url = 1")
    assert refusal({}) == "pubic_url in relay.toml is not a setting; the nearest is public_url"


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(SettingError, match="--prt is not a setting; the nearest is --port"):
        load({"prt": 1}, environ={})


def test_variables_of_the_tests_and_of_service_links_are_not_settings() -> None:
    others = {"RELAY_TEST_DATABASE_URL": "x", "RELAY_BENCH": "long", "RELAY_SERVICE_HOST": "10.0.0.1"}
    links = {
        "RELAY_PORT": "tcp://10.0.0.1:80",
        "RELAY_PORT_80_TCP": "tcp://10.0.0.1:80",
        "RELAY_SERVICE_PORT_HTTP": "80",
    }
    assert load(environ={**others, **links}).port == 8000


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert load(environ={"RELAY_PORT": "", "RELAY_ADMIN_KEY": "", "DATABASE_URL": ""}) == load(environ={})


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("RELAY_PORT", "eighty", "integer"),
        ("RELAY_PORT", "65536", "less than or equal to 65535"),
        ("RELAY_RETENTION_DAYS", "0", "greater than 0"),
        ("RELAY_RETENTION_DAYS", "nan", "finite"),
        ("RELAY_LOG_FORMAT", "xml", "'auto', 'console' or 'json'"),
        ("RELAY_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("RELAY_DELIVERY_SCHEDULE_SECONDS", "0,soon", "number"),
        ("RELAY_DELIVERY_SCHEDULE_SECONDS", "0,-5", "greater than or equal to 0"),
        ("RELAY_DELIVERY_SCHEDULE_SECONDS", ",", "one wait at least"),
        ("RELAY_DELIVERY_SCHEDULE_SECONDS", "5,30", "must begin with 0"),
        ("RELAY_EGRESS_ALLOW", "10.0.0.1/8", "'10.0.0.1/8' is not a network"),
        ("RELAY_EGRESS_ALLOW", "db.internal", "'db.internal' is not a network"),
        ("RELAY_PROVIDER_EGRESS_ALLOW", "10.0.0.0/8:http", "no port from 1 to 65535"),
        ("RELAY_PROVIDER_EGRESS_ALLOW", "[fd00::/8]:", "no port from 1 to 65535"),
        ("RELAY_PUBLIC_URL", "relay.example.com", "http or https"),
        ("RELAY_PUBLIC_URL", "https://me@relay.example.com", "http or https"),
        ("RELAY_PUBLIC_URL", "https://relay.example.com:port", "http or https"),
        ("RELAY_HOST", "http://x", "address or host name alone"),
        ("RELAY_DATABASE_URL", "mysql://h/db", "must begin with postgresql://"),
        ("RELAY_DATABASE_URL", "postgresql://h", "names no database"),
        ("RELAY_DATABASE_URL", "postgresql://u:pass/word@h/db", "in a password, write / "),
        ("RELAY_DATABASE_URL", "postgresql://u:pass#word@h/db", "in a password, write / "),
        ("RELAY_DATABASE_URL", "postgresql://h:port/db", "a port that is no number"),
        ("RELAY_DATABASE_URL", "sqlite:///~nobody-here/relay.db", "home directory of somebody who is not known"),
        ("RELAY_DATA_DIR", "~nobody-here/relay", "home directory of somebody who is not known"),
        ("RELAY_DATABASE_URL", "sqlite://", "must name a file"),
        ("RELAY_DATABASE_URL", "sqlite:///:memory:", "must name a file"),
        ("RELAY_SECRET_KEYS", KEY + ",short", "must have 32 to 1024 characters, has 5"),
        ("RELAY_ADMIN_KEY", "k" * 129, "must have 32 to 128 characters, has 129"),
        ("RELAY_ADMIN_KEY", "ключ" * 10, "visible ASCII"),
        ("DATABASE_URL", "oracle://h/db", "must begin with postgresql://"),
    ],
)
def test_a_wrong_value_is_refused_with_the_setting_the_problem_and_an_example(
    variable: str, value: str, problem: str
) -> None:
    message = refusal({variable: value})
    assert message.startswith(f"{variable} ")
    assert problem in message
    assert f"; for example {variable}=" in message


def test_every_example_is_a_value_that_is_taken() -> None:
    for name, field in Settings.model_fields.items():
        example = str((field.examples or [""])[0])
        value = KEY if "token_urlsafe" in example else example
        load(environ={f"RELAY_{name.upper()}": value})


def test_all_wrong_settings_are_named_at_once_each_as_its_source_spells_it() -> None:
    Path("relay.toml").write_text('log_level = "loud"\nport = true\n')
    with pytest.raises(SettingError) as caught:
        load({"retention_days": "x"}, environ={"RELAY_HOST": "a b"})
    lines = str(caught.value).splitlines()
    assert lines[0] == "4 settings are wrong:"
    assert any("port in relay.toml is not a switch" in line for line in lines)
    assert any("log_level in relay.toml" in line and 'for example log_level = "info"' in line for line in lines)
    assert any("--retention-days" in line and "for example --retention-days 30" in line for line in lines)
    assert any("RELAY_HOST" in line for line in lines)


def test_a_wrong_data_directory_is_not_blamed_on_what_follows_from_it() -> None:
    Path("relay.toml").write_text("data_dir = 7")
    assert refusal({}).startswith("data_dir in relay.toml ")


@pytest.mark.parametrize("text", [b"port = = 1", b"\xff", b"port"])
def test_a_file_that_is_not_toml_is_named(text: bytes) -> None:
    Path("relay.toml").write_bytes(text)
    assert refusal({}).startswith("relay.toml is not valid TOML: ")


def test_relay_config_names_the_file() -> None:
    Path("other.toml").write_text('port = 7\negress_allow = ["10.0.0.0/8", "[fd00::/8]:443"]\n')
    settings = load(environ={"RELAY_CONFIG": "other.toml"})
    assert (settings.port, settings.egress_allow) == (7, ("10.0.0.0/8", "[fd00::/8]:443"))
    assert refusal({"RELAY_CONFIG": "missing.toml"}) == "RELAY_CONFIG names missing.toml, and there is no such file"


def test_the_callbacks_and_the_management_do_not_share_a_port() -> None:
    assert "RELAY_MANAGEMENT_PORT is the port of the callbacks too" in refusal({"RELAY_MANAGEMENT_PORT": "8000"})
    assert load(environ={"RELAY_MANAGEMENT_PORT": "8001"}).url == "http://127.0.0.1:8001"


@pytest.mark.parametrize(
    ("variable", "value"), [("RELAY_INTAKE_BUDGET_BYTES", 2**20), ("RELAY_MAX_NOTIFICATION_BYTES", 2**30)]
)
def test_the_largest_notification_has_room_in_the_budget_of_all(variable: str, value: int) -> None:
    message = refusal({variable: str(value)})
    assert message.startswith(f"{variable} ") and "give RELAY_INTAKE_BUDGET_BYTES" in message
    assert load(environ={"RELAY_INTAKE_BUDGET_BYTES": str(2**30), "RELAY_MAX_NOTIFICATION_BYTES": str(2**30)})


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load(environ={}).port = 1


def test_nothing_secret_is_shown() -> None:
    password = "planted-password"
    settings = load(
        environ={
            "RELAY_SECRET_KEYS": f"{KEY},{KEY}2",
            "RELAY_ADMIN_KEY": KEY,
            "RELAY_API_KEY": KEY,
            "RELAY_DATABASE_URL": f"postgres://u:{password}@h/db",
        }
    )
    assert settings.secret_keys == (Secret(KEY), Secret(KEY + "2"))
    for shown in (repr(settings), str(settings), f"{settings}"):
        assert KEY not in shown
        assert password not in shown


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RELAY_SECRET_KEYS", "planted"),
        ("RELAY_ADMIN_KEY", "planted"),
        ("RELAY_API_KEY", "planted key"),
        ("RELAY_DATABASE_URL", "mysql://u:planted@h/db"),
        ("RELAY_DATABASE_URL", "postgresql://u:planted@h\u2100/db"),
        ("RELAY_DATABASE_URL", "postgresql://u:planted@[h/db"),
        ("RELAY_DATABASE_URL", "postgresql://u:planted/word@h/db"),
        ("RELAY_PUBLIC_URL", "https://u:planted@h"),
        ("RELAY_PORT", "planted"),
    ],
)
def test_a_refusal_does_not_repeat_the_value(variable: str, value: str) -> None:
    assert "planted" not in refusal({variable: value})


def test_on_sqlite_missing_keys_are_made_once_and_kept_for_the_owner_alone() -> None:
    first = ensure_secrets(load(environ={"RELAY_DATA_DIR": "data"}))
    again = ensure_secrets(load(environ={"RELAY_DATA_DIR": "data"}))
    assert first == again
    assert len(first.secret_keys) == 1
    assert first.admin_key == stored_admin_key(first)
    for name in ("secret-keys", "admin-key"):
        assert stat.S_IMODE(Path("data", name).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path("data").stat().st_mode) == 0o700
    assert sorted(path.name for path in Path("data").iterdir()) == ["admin-key", "secret-keys"]


def test_keys_that_are_given_are_written_nowhere() -> None:
    given = load(environ={"RELAY_DATA_DIR": "data", "RELAY_ADMIN_KEY": KEY, "RELAY_SECRET_KEYS": KEY})
    assert ensure_secrets(given) == given
    assert not Path("data").exists()
    assert stored_admin_key(given) is None


def test_keys_can_be_added_to_the_file_newest_first() -> None:
    Path("data").mkdir()
    Path("data/secret-keys").write_text(f"{KEY}2\n{KEY}\n")
    settings = ensure_secrets(load(environ={"RELAY_DATA_DIR": "data"}))
    assert settings.secret_keys == (Secret(KEY + "2"), Secret(KEY))


@pytest.mark.parametrize("text", ["", "too-short"])
def test_a_damaged_key_file_is_named_and_not_replaced(text: str) -> None:
    Path("data").mkdir()
    Path("data/secret-keys").write_text(text)
    with pytest.raises(SettingError, match="data/secret-keys ") as caught:
        ensure_secrets(load(environ={"RELAY_DATA_DIR": "data"}))
    assert Path("data/secret-keys").read_text() == text
    assert "too-short" not in str(caught.value)


def test_a_data_directory_that_cannot_be_written_is_named_with_the_fix() -> None:
    Path("data").write_text("a file where the directory should be")
    with pytest.raises(SettingError, match="data/secret-keys cannot be .*RELAY_DATA_DIR"):
        ensure_secrets(load(environ={"RELAY_DATA_DIR": "data"}))


def test_on_postgres_both_keys_must_be_set_and_the_refusal_says_how_to_make_one() -> None:
    settings = load(environ={"RELAY_DATABASE_URL": "postgres://h/db", "RELAY_ADMIN_KEY": KEY})
    with pytest.raises(SettingError, match="^RELAY_SECRET_KEYS must be set on PostgreSQL; .*token_urlsafe"):
        ensure_secrets(settings)
    both = load({"secret_keys": KEY}, environ={"RELAY_DATABASE_URL": "postgres://h/db", "RELAY_ADMIN_KEY": KEY})
    assert ensure_secrets(both) is both


def _key_of_one_process(directory: str) -> str:
    keys = ensure_secrets(load(environ={"RELAY_DATA_DIR": directory})).secret_keys
    return keys[0].reveal()


def test_processes_that_start_together_on_an_empty_directory_share_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        keys = pool.map(_key_of_one_process, [str(tmp_path / f"data{n // 4}") for n in range(40)], chunksize=1)
    assert all(len(set(keys[start : start + 4])) == 1 for start in range(0, 40, 4))


def test_every_setting_is_described_in_one_line_with_its_default() -> None:
    rows = {row.name: row for row in describe()}
    assert set(rows) == {f"RELAY_{name.upper()}" for name in Settings.model_fields}
    assert all(row.description.endswith(".") and "\n" not in row.description for row in rows.values())
    assert rows["RELAY_PORT"].default == "8000"
    assert rows["RELAY_MAX_RESULT_BYTES"].default == "33554432 (32 MiB)"
    assert rows["RELAY_PUBLIC_URL"].default == "http://{host}:{port}"
    assert rows["RELAY_MANAGEMENT_PORT"].default == "none"
