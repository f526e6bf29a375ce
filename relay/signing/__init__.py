"""Signatures, tokens and secrets at rest. Pure: no clock, no database, no network."""
