"""The demo's lines can be read by people, and by programs when there is no terminal."""

import io

import pytest

from relay.demo.timeline import Moment, Timeline, size

FETCH = Moment(at_ms=1640, stage="fetch #2", what="GET response_url", status=200, took_ms=3.4, note="the result")


def shown(moment: Moment, *, color: bool) -> str:
    out = io.StringIO()
    Timeline(out, color=color).show(moment)
    return out.getvalue()


def test_a_moment_is_one_aligned_line_without_colours_when_there_is_no_terminal() -> None:
    line = shown(FETCH, color=False)
    assert line.split() == ["1.640", "fetch", "#2", "GET", "response_url", "200", "3", "ms", "the", "result"]
    other = shown(Moment(at_ms=12, stage="ask", what="POST /search", status=202, note="x"), color=False)
    assert line.index("200") == other.index("202")
    assert "\x1b" not in line + other


def test_on_a_terminal_the_same_words_are_coloured() -> None:
    line = shown(Moment(at_ms=1, stage="delivered", what="POST /a", status=200, note="signature verified"), color=True)
    assert "\x1b[32msignature verified\x1b[0m" in line


def test_a_moment_without_status_ends_without_blanks() -> None:
    assert shown(Moment(at_ms=1, stage="stored", what="result.completed"), color=False).endswith("completed\n")


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (41_200, "41.2 kB"), (16_777_216, "16.8 MB")])
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert size(count) == text
