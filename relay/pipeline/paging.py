"""A result that comes in pages: all of them become one payload, a JSON array of the pages' documents, byte for byte.

Only one page at a time is in memory. A page that does not come, or is not what the others are, makes the whole attempt
a failed one: nothing half is ever stored.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from relay.model import Job
from relay.pipeline.calling import Answered, Calls, Judge
from relay.pipeline.decision import Reading, names_another_job
from relay.pipeline.envelope import MAX_ENVELOPE_BYTES
from relay.pipeline.payloads import Payloads, Spool
from relay.pipeline.places import Question, page_question
from relay.providers.pages import PAGES_BETWEEN, PAGES_CLOSE, PAGES_OPEN

MAX_PAGES: Final = 1000
AGAIN: Final = ("pending", "throttled", "server_error", "rejected_credentials")  # what a page may say besides completed

_BOM: Final = b"\xef\xbb\xbf"


class Pages:
    """Reads on from a first page."""

    def __init__(self, calls: Calls, job: Job, judge: Judge) -> None:
        self._calls = calls
        self._job = job
        self._judge = judge
        self._seen: set[str] = set()

    async def read(self, first: Answered) -> Answered | Reading:
        """All pages as one answer; or the page, or the reason, because of which there is none. Raises OutboundError."""
        joined = _Joined(self._calls.payloads)
        page = first
        try:
            while True:
                await joined.add(page.spool)
                if page.verdict.next_page is None:
                    return await joined.finish(first)
                following = await self._following(page.question, page.verdict.next_page)
                if isinstance(following, Reading) or following.verdict.kind != "completed":
                    await joined.discard()
                    return following
                page = following
        except BaseException:
            await page.spool.discard()
            await joined.discard()
            raise

    async def _following(self, before: Question, url: str) -> Answered | Reading:
        self._seen.add(before.url)
        question = page_question(before, url)
        if question is None:
            return Reading(error_code="foreign_origin")
        if question.url in self._seen:
            return Reading(error_code="page_loop")
        if len(self._seen) >= MAX_PAGES:
            return Reading(error_code="too_many_pages")
        page = await self._calls.get(question, self._judge)
        if page.verdict.reason == "incomplete":  # that was asked of the first page; the last may well be empty
            page.verdict = replace(page.verdict, kind="completed", reason="status")
        verdict = page.verdict
        if verdict.kind in AGAIN or (verdict.kind == "completed" and not names_another_job(self._job, verdict)):
            return page
        await page.spool.discard()
        return Reading(error_code="page_failed")


class _Joined:
    """The payload as it grows."""

    def __init__(self, payloads: Payloads) -> None:
        self._payloads = payloads
        self._spool = payloads.spool()

    async def add(self, page: Spool) -> None:
        """Move a page here."""
        await self._spool.add(PAGES_BETWEEN if self._spool.size else PAGES_OPEN)
        start = _BOM
        async for piece in self._payloads.pieces(page):
            await self._spool.add(piece.removeprefix(start) if start else piece)
            start = b""
        await page.discard()

    async def finish(self, first: Answered) -> Answered:
        """All of it in the place of the first page."""
        spool, payloads = self._spool, self._payloads
        await spool.add(PAGES_CLOSE)
        await spool.finish()
        first.spool, first.whole = spool, spool.in_memory
        if spool.payload_id is not None and spool.size <= MAX_ENVELOPE_BYTES:
            first.whole = await payloads.read(spool.payload_id)
        return first

    async def discard(self) -> None:
        await self._spool.discard()
