"""A bound on what data may ask of this machine's memory, checked before it is asked for."""

from __future__ import annotations

import math

import psutil

from edgeaudit.errors import DataError

__all__ = ["array_bytes", "require_memory"]

_SHARE = 0.5
"""Share of the machine's memory that the records may take; building and splitting them takes as much again."""


def array_bytes(shape: tuple[int, ...], itemsize: int) -> int:
    """Bytes of an array, exact for any shape that a file may state."""
    return math.prod(shape) * itemsize


def require_memory(size: int, what: str) -> None:
    """Raise `DataError` where `what` needs more than half of this machine's memory. size: in bytes."""
    total = psutil.virtual_memory().total
    if size > _SHARE * total:
        raise DataError(
            f"{what} needs {size / 2**30:,.1f} GiB, more than half of the memory of this machine ({total / 2**30:,.1f} "
            "GiB); use fewer or smaller records"
        )
