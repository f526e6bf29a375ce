"""Speaks to a relay over its HTTP API, for the command line and for other programs."""
