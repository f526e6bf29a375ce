"""Benchmarks against floors of the same run: real processes, open-model load, interleaved pairs, medians.

`python -m tests.bench` runs them all; `RELAY_BENCH=long` takes the long settings.
"""
