"""What callers of the pipeline's actions get back, and may have recorded."""

from __future__ import annotations

from typing import Protocol, TypeVar

from relay.frozen import frozen
from relay.store.rows import Connection

T_contra = TypeVar("T_contra", contravariant=True)


class Record(Protocol[T_contra]):
    """Called with the outcome inside the transaction of the effect, so that an answer is kept with it or not at all.

    May be called more than once when a transaction is tried again.
    """

    def __call__(self, conn: Connection, outcome: T_contra, /) -> None: ...


@frozen()
class Refused:
    """An action that the state of things, or the given `field`, does not allow. `code` is for programs."""

    code: str
    detail: str
    field: str | None = None  # set: it is this field's fault; None: it conflicts with how things stand
