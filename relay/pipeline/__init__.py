"""The product. Each stage is a file, in the order of the picture.

      provider                                        Relay                                       subscribers

    notification ──▶ receive ─▶ verify ──▶ [notifications]
                        │                        │
    POST /v1/jobs ──▶ track ───────────▶     [jobs] ──▶ fetch ──▶ [results] ─▶ fanout ─▶ [deliveries] ──▶ deliver ──▶
       /submit/… ──▶ submit ───────────────────┘          ▲                                  ▲
                        └──▶ the provider's own origin ───┘                                replay

    job        waiting ─▶ fetching ─▶ completed | failed | cancelled | expired
               (a failed, cancelled or expired job may still be superseded by a completed result)
    delivery   pending ─▶ delivered | exhausted | cancelled

A fetch is one attempt: `places` says where to ask, `asking` follows hops and pages, `decision` says what follows,
`concluding` writes it. `jwks` has the keys that providers publish, `capture` what they send that nobody documented.

A submit is a client's call: `calls` has its form, `forwarding` what of it goes on, `repeats` its `Idempotency-Key`,
`exchange` sends it and writes down what the answer says. `cancel` ends a job at its provider.

Brackets are tables. No transaction is open while the network is: a stage claims, calls, settles. Being worked on is a
lease on the row, not a state.
"""
