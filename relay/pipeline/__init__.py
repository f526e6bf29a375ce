"""The product. Each stage is a file, in the order of the picture.

      provider                                        Relay                                       subscribers

    notification ──▶ receive ─▶ verify ──▶ [notifications]
                        │                        │
    POST /v1/jobs ──▶ track ───────────▶     [jobs] ──▶ fetch ──▶ [results] ─▶ fanout ─▶ [deliveries] ──▶ deliver ──▶
                                                          ▲                                  ▲
                                              the provider's own origin                    replay

    job        waiting ─▶ fetching ─▶ completed | failed | cancelled | expired
               (a failed, cancelled or expired job may still be superseded by a completed result)
    delivery   pending ─▶ delivered | exhausted | cancelled

Brackets are tables. No transaction is open while the network is: a stage claims, calls, settles. Being worked on is a
lease on the row, not a state.
"""
