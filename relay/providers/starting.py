"""A commented profile file to start from: what `relay provider new NAME` writes."""

from __future__ import annotations

from typing import Final

_TEMPLATE: Final = '''\
# A provider for Relay. Check it with `relay provider check FILE`; Relay reads it from the directory `providers` in its
# data directory when it starts. Lines with one # are settings that you may need: take the # away.

name = "{name}"
title = "{title}"
summary = "What it does, and how its results are had, in one sentence."
notes = """
What the provider's documents say, what they do not say, and how tolerant this profile is where they are silent.
"""

# Where results may be fetched from: credentials go nowhere else. Templates are put behind base_url.
origins = ["https://api.provider.example"]
base_url = "https://api.provider.example"

# What a webhook is asked for besides credentials; in templates and values {{organization}} stands for it.
# [[parameters]]
# name = "organization"
# required = false
# summary = "Your organization's id."

[auth]
kind = "bearer"                 # none, basic, bearer or header
# header = "x-api-key"          # for kind = "header"
# value_prefix = "Key "

# --- Notifications: leave this table away if the provider never calls back ---
[callback]
# methods = ["POST"]            # PUT and GET are possible too
# A path is data.id, items[0].id, _links[rel=results].href, header:X-Id or query:id. Of a list the first that leads to a
# value counts.
job_id = ["id", "data.id"]
# response_url = ["response_url"]
# event = ["type"]
# ignore_events = ["webhook.test", "*.started"]
# status = ["status"]
# delivery_id = ["header:webhook-id"]    # what two copies of one notification have in common
# error = ["error.message", "error"]

# [callback.verification]
# kind = "standard_webhooks"    # or header_equals, basic, hmac, ed25519_jwks; none if nothing is signed
# header = "X-Signature"        # for header_equals, hmac and ed25519_jwks
# prefix = "sha256="            # for hmac: what stands before the digest
# encoding = "hex"              # or base64
# template = "{{body}}"           # what is signed: {{body}}, {{sha256_hex:body}}, {{header:X}}, {{json:path}} and text
# timestamp_header = "X-Timestamp"
# required = true               # a webhook cannot be made without the secret
# authenticates = true          # a verified notification's own payload may be the result

# [callback.inline]             # if a notification itself may be the final payload
# present = ["output"]

# --- Results ---
[fetch]
kind = "template"               # or "url": the notification or the submit answer names the URL
template = "/v1/jobs/{{job_id}}"
status = ["status"]
# done_present = ["output"]     # what a finished answer must have besides, or instead of a status
# complete_when = ["data", "total = 0"]  # a completed answer is believed if one holds: something is there, or a word is
# complete_within_seconds = 600  # after this long it is taken all the same
# gone_when = ["url = http://deleted"]  # what a finished answer says when its result was deleted
# pending_http = [202, 404, 425]  # codes that mean "not yet"
# gone_http = [410]             # codes that mean "no longer there"
# job_id = ["id"]
# error = ["error.message", "error"]
# expires_at = ["expires_at"]
# next_page = ["next"]          # several pages become one JSON array of their documents
# partial_present = ["output"]  # of an expired job: what was done in time is there, and is taken with a caveat

# Any other status means "ask again", with a warning: nothing is taken for finished that is not listed here.
[fetch.statuses]
pending = ["queued", "running"]
completed = ["completed"]
# partial = ["incomplete"]      # completed, with a caveat
failed = ["failed"]
cancelled = ["cancelled"]
# expired = ["expired"]

# [[fetch.hops]]                # if the payload of a completed job lies elsewhere
# when = "result.type = url"    # or only a path: something is there
# url = ["result.url"]          # presigned: no credentials go there
# credentials = false           # true for a template = "/v1/files/{{id}}" with id = ["file_id"]

[retention]
# seconds = 86400               # how long results are kept; unknown counts as ten minutes
anchor = "completed"            # or "submitted"

[poll]
waits = [2, 5, 10, 20, 30, 60]  # seconds between one question and the next; the last one repeats
# max_wait_seconds = 86400      # the longest time from submit to completion
# hints = ["retry-after-ms"]    # headers besides Retry-After that say when to come back

# --- Submitting through Relay: POST /submit/{{webhook_id}}/v1/jobs ---
# [submit]
# job_id = ["id"]
# status = ["status"]
# idempotent = true             # it takes a repeated Idempotency-Key once: what got no answer may be sent again
# passes = ["GET /v1/jobs/*"]   # calls that go through untouched
# through_relay = ["status_url"]  # URLs in the answer that the provider's own clients follow with the key they hold
#
# [[submit.jobs]]
# calls = ["POST /v1/jobs"]     # * is one segment of the path, ** one or more
#
# [[submit.jobs.inserts]]
# body = "callback_url"         # the place of a member, such as webhook.url; or: query = "callback"
# value = "{{callback_url}}"
# existing = "refuse"           # what to do with a value of the caller's: replace, keep or refuse

# --- Cancelling ---
# [cancel]
# method = "DELETE"
# suffix = ""                   # behind the job's URL, or: template = "/v1/jobs/{{job_id}}/cancel"
# meaning = "asked"             # "took" only if an accepted request always cancels
# status = ["status"]
'''


def template(name: str) -> str:
    """A profile file for the provider `name` (lower-case letters, digits and hyphens) that loads as it is."""
    return _TEMPLATE.format(name=name, title=name.replace("-", " ").title())
