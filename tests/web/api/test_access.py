from __future__ import annotations

import pytest

from relay.clock import Instant, rfc3339
from relay.store import keys
from relay.web.management import ENDPOINTS
from tests.support.clock import FakeClock
from tests.support.management import ENDED, Management, client_of


async def test_without_a_key_nothing_is_answered(management: Management) -> None:
    async with client_of(management.app, None) as client:
        for item in ENDPOINTS:
            path = item.path.replace("{id}", f"{item.prefix}_{'0' * 32}").replace("{name}", "netnut")
            answer = await client.request(item.method, path)
            assert answer.status_code == 401, item.path
            assert answer.json()["code"] == "key_missing"
            assert answer.headers["www-authenticate"] == 'Bearer realm="relay"'


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "Basic dTpw", "Bearer rk_nobody", "Bearer " + "x" * 600, "rk_x"]
)
async def test_a_key_that_is_none_is_refused(management: Management, value: str) -> None:
    async with client_of(management.app, None) as client:
        answer = await client.get("/v1/stats", headers={"authorization": value})
    assert (answer.status_code, answer.json()["code"]) == (401, "key_invalid")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_each_scope_includes_the_lower_ones_and_not_the_higher(management: Management) -> None:
    rank = {"read": 0, "write": 1, "admin": 2}
    for scope, mine in rank.items():
        made = await management.make("/v1/keys", {"name": scope, "scope": scope})
        async with client_of(management.app, made["key"]) as client:
            for item in ENDPOINTS:
                if item.scope is None:
                    continue
                path = item.path.replace("{id}", f"{item.prefix}_{'0' * 32}").replace("{name}", "nobody")
                answer = await client.request(item.method, ENDED.get(path, path))
                allowed = rank[item.scope] <= mine
                assert (answer.status_code != 403) is allowed, (scope, item.method, item.path)
                if not allowed:
                    assert answer.json()["code"] == "insufficient_scope"
                    assert f'scope="{item.scope}"' in answer.headers["www-authenticate"]


async def test_a_key_is_shown_once_and_only_its_hash_is_kept(on_both: Management) -> None:
    made = await on_both.make("/v1/keys", {"name": "ci", "scope": "write"})
    assert made["key"].startswith("rk_")
    shown = (await on_both.client.get(f"/v1/keys/{made['id']}")).json()
    assert shown == {name: value for name, value in made.items() if name != "key"}
    listed = (await on_both.client.get("/v1/keys")).text
    stored = await on_both.database.read(lambda conn: keys.get(conn, made["id"]))
    assert stored is not None
    assert made["key"] not in listed + repr(stored)
    assert stored.sha256 not in listed


async def test_a_revoked_key_opens_nothing_also_in_another_process(on_both: Management, clock: FakeClock) -> None:
    made = await on_both.make("/v1/keys", {"name": "ci"})
    async with client_of(on_both.app, made["key"]) as client:
        assert (await client.get("/v1/stats")).status_code == 200
        # As another process would: this one's cache hears nothing of it.
        await on_both.database.write(lambda conn: keys.revoke(conn, made["id"], clock.now()))
        assert (await client.get("/v1/stats")).status_code == 401
    assert (await on_both.client.delete(f"/v1/keys/{made['id']}")).status_code == 204
    shown = (await on_both.client.get(f"/v1/keys/{made['id']}")).json()
    assert shown["revoked_at"] == rfc3339(clock.now())
    assert (await on_both.client.delete("/v1/keys/key_" + "0" * 32)).status_code == 404


async def test_a_key_expires(management: Management, clock: FakeClock) -> None:
    body = {"name": "soon", "expires_at": rfc3339(Instant(clock.now() + 1000))}
    made = await management.make("/v1/keys", body)
    async with client_of(management.app, made["key"]) as client:
        assert (await client.get("/v1/stats")).status_code == 200
        clock.advance(1)
        assert (await client.get("/v1/stats")).status_code == 401
    late = await management.client.post("/v1/keys", json=body)
    assert (late.status_code, late.json()["errors"][0]["pointer"]) == (422, "#/expires_at")
