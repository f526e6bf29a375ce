"""`relay job`: asynchronous requests at a provider, whose results are fetched."""

from __future__ import annotations

from typing import Any

import click

from relay.cli import values
from relay.cli.exits import Exit, Failure
from relay.cli.listed import Listed
from relay.cli.noun import action_command, as_json, list_command, text_filter
from relay.cli.nouns import DELIVERY, JOB, NOTIFICATION, RESULT, SUBSCRIPTION, WEBHOOK
from relay.cli.output import note, put, put_list, put_record
from relay.cli.session import drop_none, find_id, open_api, segment
from relay.cli.text import on_terminal, one_line

FINAL = ("completed", "failed", "cancelled", "expired")
ATTEMPT_COLUMNS = ("number", "trigger", "started_at", "duration_ms", "http_status", "error_code")
MOST_SHOWN = 50  # of each noun, the newest
ONE_WAIT_SECONDS = 30.0  # of one request; the relay answers as soon as the job is final


@click.group(name="job", cls=Listed)
def group() -> None:
    """Asynchronous requests at a provider: what has a deadline."""


@group.command()
@click.option("--webhook", required=True, metavar="NAME_OR_ID", help="The webhook whose credentials fetch the result.")
@click.option("--id", "provider_job_id", help="The provider's id of the job.")
@click.option("--response-url", help="Where the result will be, if the provider gave a URL.")
@click.option("--submitted-at", metavar="TIME", help="When it was submitted (RFC 3339), if not now.")
@click.option("--metadata", metavar="JSON", help="An object of your own; it comes along with every delivery.")
@as_json
def track(as_json: bool, webhook: str, metadata: str | None, **given: Any) -> None:
    """Have the result of a job fetched, even if no notification ever comes."""
    if not (given["provider_job_id"] or given["response_url"]):
        raise click.UsageError("give --id or --response-url")
    body = {**given, "metadata": values.json_object("--metadata", metadata)}
    with open_api() as api:
        body["webhook_id"] = find_id(api, WEBHOOK.path, WEBHOOK.prefix, webhook)
        job = api.call("POST", JOB.path, body=drop_none(body))
    put_record(job, as_json=as_json)


@group.command()
@click.argument("job_id", metavar="ID")
@click.option("--timeout", default="2h", show_default=True, help="How long to wait, for example 90s or 2h.")
@as_json
def wait(job_id: str, timeout: str, as_json: bool) -> None:
    """Wait until a job is final. Exit 0 if it completed, 1 if it ended otherwise, 7 if it is not final in time."""
    job = _final(job_id, values.seconds("--timeout", timeout))
    put_record(job, as_json=as_json)
    if job.get("status") not in FINAL:
        raise Failure(f"job {job_id} is still {job.get('status')} after {timeout}", Exit.TIMED_OUT)
    if job["status"] != "completed":
        raise Failure(f"job {job_id} is {job['status']}", Exit.FAILED)


def _final(job_id: str, timeout: float) -> dict[str, Any]:
    """The job when it is final or the time is over."""
    import asyncio

    from relay.clock import SystemClock

    clock = SystemClock()
    end = clock.monotonic() + timeout
    with open_api() as api:
        while True:
            asked = clock.monotonic()
            patience = max(0.0, min(ONE_WAIT_SECONDS, end - asked))
            job: dict[str, Any] = api.call(
                "GET", f"{JOB.path}/{segment(job_id)}", params={"wait": round(patience)}, wait_seconds=patience
            )
            now = clock.monotonic()
            if job.get("status") in FINAL or now >= end:
                return job
            if now - asked < 1:  # a relay that does not wait (it is stopping, or less than a second is left)
                asyncio.run(clock.sleep(min(1.0, end - now)))


@group.command()
@click.argument("job_id", metavar="ID")
@click.option("--timeline", is_flag=True, help="What happened to it, line by line, as on a terminal.")
@as_json
def show(job_id: str, timeline: bool, as_json: bool) -> None:
    """Show one: on a terminal all that happened to it and what comes next, in a pipe its fields."""
    if as_json and timeline:
        raise click.UsageError("give one of --timeline and --json")
    with open_api() as api:
        job = api.call("GET", f"{JOB.path}/{segment(job_id)}")
        if not timeline and (as_json or not on_terminal()):
            put_record(job, as_json=as_json)
            return
        for line in _timeline(api, job):
            put(one_line(line))


def _timeline(api: Any, job: dict[str, Any]) -> list[str]:
    from relay.cli.timeline import Story, lines
    from relay.clock import SystemClock

    def of_job(path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = api.page(path, {"job_id": job["id"], "limit": MOST_SHOWN})["data"]
        return found

    story = Story(
        job=job,
        notifications=of_job(NOTIFICATION.path),
        attempts=api.page(f"{JOB.path}/{segment(job['id'])}/attempts", {})["data"],
        results=of_job(RESULT.path),
        deliveries=[api.call("GET", f"{DELIVERY.path}/{segment(each['id'])}") for each in of_job(DELIVERY.path)],
        names={each["id"]: each["name"] for each in api.pages(SUBSCRIPTION.path, {})},
    )
    return lines(story, SystemClock().now())


@group.command()
@click.argument("job_id", metavar="ID")
@as_json
def attempts(job_id: str, as_json: bool) -> None:
    """List the attempts to fetch its result, oldest first."""
    with open_api() as api:
        page = api.page(f"{JOB.path}/{segment(job_id)}/attempts", {})
    put_list(page["data"], ATTEMPT_COLUMNS, as_json=as_json, page=page)


@group.command()
@click.argument("job_id", metavar="ID")
@as_json
def cancel(job_id: str, as_json: bool) -> None:
    """Cancel a job at its provider."""
    with open_api() as api:
        job = api.call("DELETE", f"{JOB.path}/{segment(job_id)}")
    if job is not None:
        put_record(job, as_json=as_json)
    note(f"job {job_id}: {'cancelled' if job and job.get('status') == 'cancelled' else 'cancellation asked for'}")


group.add_command(
    list_command(
        JOB,
        [
            text_filter("--status", "status", "waiting, fetching, completed, failed, cancelled or expired."),
            text_filter("--webhook", "webhook_id", "Only of this webhook."),
            text_filter("--provider-job-id", "provider_job_id", "The provider's id."),
            text_filter("--created-after", "created_after", "An RFC 3339 time."),
            text_filter("--created-before", "created_before", "An RFC 3339 time."),
        ],
        resolve={"webhook_id": WEBHOOK},
    )
)
group.add_command(action_command(JOB, "fetch", "Ask the provider for the result now.", done="is being fetched"))
