"""How much of everything: the default ends in under four minutes, the long setting is for a quiet machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Counts and rates of one setting."""

    rounds: int = 5
    intake_rounds: int = 11  # short ones: what else the machine does comes and goes within seconds
    intake_requests: int = 8_000
    cpu_results: int = 800
    cpu_rate: float = 250.0
    throughput_results: int = 1_500
    throughput_rate: float = 500.0
    latency_results: int = 300
    latency_rate: float = 100.0
    memory_results: int = 3_000
    memory_rate: float = 250.0
    fairness_results: int = 60
    fairness_rate: float = 15.0
    headofline_results: int = 120
    headofline_rate: float = 20.0
    headofline_backlog: int = 100_000
    list_results: int = 50_000
    replay_results: int = 10_000
    polling_jobs: int = 1_000
    polling_seconds: float = 30.0  # between two questions about one job


DEFAULT: Final = Scale()
LONG: Final = Scale(
    intake_requests=40_000,
    cpu_results=4_000,
    throughput_results=10_000,
    latency_results=3_000,
    memory_results=100_000,
    fairness_results=600,
    headofline_results=1_200,
    list_results=1_000_000,
    replay_results=100_000,
    polling_jobs=10_000,
    polling_seconds=300.0,
)
