"""What several nouns do with the pipeline's answers."""

from __future__ import annotations

from relay.pipeline.outcomes import Refused
from relay.web.problems import Problem, conflict, unprocessable


def refuse(refused: Refused) -> Problem:
    """The problem that a refused action is: 422 at a field, or 409."""
    if refused.field is None:
        return conflict(refused.code, refused.detail)
    return unprocessable(f"#/{refused.field}", refused.detail, refused.code)
