"""Relay receives completion notifications of asynchronous provider APIs, fetches the results and delivers them signed.

The stages and states are drawn in `relay.pipeline`; the words are those of `relay.model`.
"""

__version__ = "0.1.0"
