"""What the status alone does not tell: completed results that are not there yet, and those that were deleted since."""

from __future__ import annotations

from typing import Any

import pytest

from relay.errors import ProfileError
from relay.providers.loader import parse_profile
from relay.providers.reading import read_answer
from relay.providers.starting import template
from tests.providers.wire import answered, raw
from tests.support.messages import MINIMAL

CRAWL = {"status": "completed", "total": 2, "data": [{"markdown": "x"}], "next": None}
BELIEVED: list[dict[str, Any]] = [{}, {"total": 0, "data": []}, {"data": [], "next": "https://api.firecrawl.dev/v2/x"}]
TOO_MUCH_SAID: list[dict[str, Any]] = [
    {"data": []},
    {"data": None},
    {"data": [], "total": None},
    {"data": [], "total": "many"},
]


@pytest.mark.parametrize("body", BELIEVED)
def test_a_crawl_is_complete_if_it_has_documents_or_no_pages_to_have_them_of(body: dict[str, Any]) -> None:
    assert answered("firecrawl", CRAWL | body).kind == "completed"


@pytest.mark.parametrize("body", TOO_MUCH_SAID)
def test_a_crawl_that_shows_none_of_its_documents_is_not_complete(body: dict[str, Any]) -> None:
    verdict = answered("firecrawl", CRAWL | body)
    assert (verdict.kind, verdict.reason, verdict.provider_status) == ("pending", "incomplete", "completed")


def test_what_is_complete_is_asked_only_where_the_status_says_completed() -> None:
    for word, kind in (("failed", "failed"), ("scraping", "pending"), ("cancelled", "cancelled")):
        verdict = answered("firecrawl", {"status": word, "data": []})
        assert (verdict.kind, verdict.reason) == (kind, "status")


def test_a_deleted_transcript_is_gone_and_one_that_speaks_of_deleting_is_not() -> None:
    said = {"id": "t", "status": "completed", "audio_url": "https://example.com/a.mp3", "text": "Deleted by user."}
    assert answered("assemblyai", said).kind == "completed"
    verdict = answered("assemblyai", said | {"audio_url": "http://deleted_by_user"})
    assert (verdict.kind, verdict.reason) == ("gone", "removed")
    assert answered("assemblyai", said | {"audio_url": "http://deleted_by_user", "status": "error"}).kind == "failed"


def test_the_template_s_lines_about_conditions_load_and_are_obeyed() -> None:
    lines = template("acme").splitlines()
    wanted = ("# complete_when", "# complete_within_seconds", "# gone_when")
    text = "\n".join(line.removeprefix("# ") if line.startswith(wanted) else line for line in lines)
    profile = parse_profile(text, "acme.toml")
    assert profile.fetch.complete_within_seconds == 600

    def kind(**body: Any) -> str:
        return read_answer(profile, 200, {}, raw({"status": "completed", **body})).kind

    assert (kind(data=[1]), kind(total=0), kind(total=1)) == ("completed", "completed", "pending")
    assert kind(data=[1], url="http://deleted") == "gone"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('complete_when = "a"', "fetch.complete_when: expected a list of texts"),
        ('complete_when = ["a b"]', "fetch.complete_when: 'a b' is no path"),
        ('gone_when = ["header:x = y"]', "fetch.gone_when: expected a path in the JSON body"),
        ("complete_within_seconds = 5", "fetch.complete_when: is missing; complete_within_seconds says how long"),
        ('complete_when = ["a"]\ncomplete_within_seconds = 0', "complete_within_seconds: expected seconds above 0"),
    ],
)  # fmt: skip
def test_a_condition_that_is_none_is_refused_by_name(line: str, problem: str) -> None:
    with pytest.raises(ProfileError) as refused:
        parse_profile(MINIMAL + line, "acme.toml")
    assert problem in str(refused.value)
