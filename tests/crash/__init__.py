"""Crash proofs: real processes are killed, stopped, starved of disk and cut off from their database while they work.

The provider, the subscriber and the load are processes of their own that outlive the relay. What a provider was told
("2xx") is written down by the one who was told it, and compared at the end with what the database holds and what the
subscriber was sent.
"""
