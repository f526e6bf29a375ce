"""Every command's requests, held against the endpoints that the relay serves: paths, parameters, fields, columns."""

from __future__ import annotations

import re
from typing import Any, get_args
from urllib.parse import unquote

import pytest
from pydantic import BaseModel

from relay.cli import nouns
from relay.cli.noun import Noun
from relay.web.endpoint import Endpoint
from relay.web.management import ENDPOINTS
from tests.cli.conftest import Run
from tests.support.fake_api import Answer, FakeApi, Request, page

T = "2026-11-21T19:00:00Z"
IDS = {prefix: f"{prefix}_{'0' * 32}" for prefix in ("wh", "sub", "job", "res", "dlv", "rpl", "ntf", "key", "evt")}

COMMANDS = [
    "webhook create n --provider netnut --credential username=u --credential password=p --verification secret=s"
    " --parameter a=b --origin https://a.example --base-url https://a.example --retention 2h --poll 5,10"
    " --fetch-max-in-flight 4 --fetch-rate-per-second 2 --untracked ignore --metadata {{}}",
    "webhook update {wh} --name m --credential username=u --credential password=p --verification secret=s"
    " --parameter a=b --origin https://a.example --base-url https://a.example --retention 2h --poll 5,10"
    " --retention-days 3 --retention-bytes 1048576 --fetch-max-in-flight 4 --fetch-rate-per-second 2"
    " --untracked ignore --metadata {{}}",
    "webhook list --limit 3 --cursor c",
    "webhook show {wh}",
    "webhook rotate {wh} --overlap-seconds 5",
    "webhook rotate {wh}",
    "webhook captures {wh}",
    "webhook test {wh}",
    "webhook disable {wh}",
    "webhook enable {wh}",
    "webhook delete {wh} --yes",
    "sub create n --to https://a.example --webhook {wh} --type result.completed --filter {{}} --format thin --kind push"
    " --header a=b --secret whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA= --max-in-flight 3 --rate-per-second 4"
    " --metadata {{}} --signing hmac --schedule 0,5s,1h --timeout-seconds 3",
    "sub create n --kind pull",
    "sub update {sub} --name m --to https://a.example --webhook {wh} --type result.completed --filter {{}}"
    " --format thin --header a=b --max-in-flight 3 --rate-per-second 4 --metadata {{}} --schedule 0,5s,1h"
    " --timeout-seconds 3",
    "sub update {sub} --clear webhook --clear type --clear filter --clear rate-per-second --clear schedule"
    " --clear timeout-seconds",
    "export --since 7d --webhook {wh} --type result.failed",
    "sub missing {sub} --since 6h",
    "sub list",
    "sub show {sub}",
    "sub rotate-secret {sub} --overlap-seconds 5 --signing ed25519",
    "sub test {sub}",
    "sub test {sub} --result {res} --filter {{}}",
    "sub create n --to https://a.example --provider netnut --provider fal --format cloudevents",
    "sub pause {sub}",
    "sub resume {sub}",
    "sub enable {sub}",
    "sub delete {sub} --yes",
    "job track --webhook {wh} --id p --response-url https://a.example/x --submitted-at {t} --metadata {{}}",
    "job list --status failed,expired --webhook {wh} --provider-job-id p --created-after {t} --created-before {t}",
    "job show {job}",
    "job attempts {job}",
    "job wait {job}",
    "job fetch {job}",
    "job cancel {job}",
    "result list --webhook {wh} --job {job} --type result.failed --created-after {t} --created-before {t} --unrouted",
    "result show {res}",
    "result payload {res}",
    "result delete {res} --yes",
    "delivery list --sub {sub} --status pending --result {res} --job {job} --replay {rpl} --created-after {t}",
    "delivery show {dlv}",
    "delivery retry {dlv}",
    "delivery cancel {dlv}",
    "replay create {res} --webhook {wh} --type result.failed --status exhausted --created-after {t}"
    " --created-before {t} --sub {sub} --mode all --new-message-id --rate-per-second 5 --dry-run",
    "replay create --since 6h",
    "replay create --job-status failed --job-created-after {t} --job-created-before {t} --delivery-created-after {t}"
    " --delivery-created-before {t}",
    "replay list",
    "replay show {rpl}",
    "replay create {res} --http-status 503",
    "replay update {rpl} --rate-per-second 5",
    "replay update {rpl} --no-rate",
    "replay pause {rpl}",
    "replay resume {rpl}",
    "replay cancel {rpl}",
    "notification list --webhook {wh} --job {job} --status rejected --created-after {t} --created-before {t}",
    "notification show {ntf}",
    "notification reprocess {ntf}",
    "event list --type job.expiring --subject {job} --created-after {t} --created-before {t}",
    "event show {evt}",
    "key create n --scope write --expires-at {t}",
    "key list",
    "key show {key}",
    "key revoke {key} --yes",
    "provider list",
    "provider show netnut",
]


def _endpoint(request: Request) -> Endpoint:
    for endpoint in ENDPOINTS:
        pattern = re.sub(r"\{\w+\}", "[^/]+", endpoint.path)
        if endpoint.method == request.method and re.fullmatch(pattern, unquote(request.path)):
            return endpoint
    raise AssertionError(f"the relay serves no {request.method} {request.path}")


def _item(endpoint: Endpoint) -> type[BaseModel]:
    """What one item of a list is."""
    view = endpoint.answers[200]
    assert isinstance(view, type)
    assert issubclass(view, BaseModel)
    item: type[BaseModel] = get_args(view.model_fields["data"].annotation)[0]
    return item


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_asks_for_is_what_the_relay_serves(api: FakeApi, run: Run, command: str) -> None:
    done: dict[str, Any] = {
        "id": "x", "status": "completed", "data": [], "next_cursor": None, "delivered": True, "callback_url": "u",
        "secret": "s", "key": "k", "matches": True,
    }  # fmt: skip
    loaded = page({"name": "netnut"}, {"name": "fal"})
    api.answers = lambda asked: loaded if asked.path == "/v1/providers" else Answer(done)
    result = run(*(word.format(t=T, **IDS) for word in command.split()))
    assert result.exit_code == 0, result.output
    *looked_up, request = api.requests
    names_providers = command.startswith("sub create") and "--provider" in command
    assert [asked.path for asked in looked_up] == ["/v1/providers"] * names_providers
    endpoint = _endpoint(request)
    query = {
        name: tuple(value.split(",")) if name in ("status", "type") else value for name, value in request.query.items()
    }
    endpoint.query.model_validate(query)
    if request.body:
        endpoint.body.model_validate_json(request.body)
    else:
        assert not endpoint.needs_body


@pytest.mark.parametrize(
    "noun", [value for value in vars(nouns).values() if isinstance(value, Noun)], ids=lambda noun: noun.group
)
def test_the_columns_of_a_list_are_fields_of_its_items(noun: Noun) -> None:
    [listed] = [endpoint for endpoint in ENDPOINTS if (endpoint.method, endpoint.path) == ("GET", noun.path)]
    assert set(noun.columns) <= set(_item(listed).model_fields)
    assert noun.has_pages == ("cursor" in listed.query.model_fields)
    assert noun.has_name == (noun.group != "provider" and "name" in _item(listed).model_fields)
