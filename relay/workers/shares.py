"""What one of several workers may take of a cap that is over all of them together.

Every worker computes its own part from the same table of living workers, so the parts add up to the cap and to no more.
A worker that the others have not noticed yet takes nothing of a rate: they still use all of it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """This worker among the living ones."""

    workers: int = 1
    place: int = 0  # in the order of their ids, from 0
    is_known: bool = True  # to all the others

    def of_cap(self, cap: int) -> int:
        """My part of so many at one time. 0: the others have them all."""
        return cap // self.workers + (self.place < cap % self.workers)

    def of_rate(self, rate: float) -> float:
        """My part of a rate per second. 0: nothing for me.

        Whole numbers where it is divided, because a worker that may take 2.5 in a second takes 3 in some. A rate that
        does not give every worker one is left to as many of them as it has whole ones, and one below 2 to the first.
        """
        if self.workers == 1:
            return rate
        if not self.is_known:
            return 0.0
        if rate < 2:
            return rate if self.place == 0 else 0.0
        return float(self.of_cap(int(rate)))
