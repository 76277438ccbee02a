"""What jobs share that find out more about records than an answer: the file that they write, and which records."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["TRACE", "spread"]

IntArray = npt.NDArray[np.int64]

TRACE = "trace.npz"
"""places: int64 [m], positions in Population.queried; values: float64 [m, d]; queries: int64 [m]."""


def spread(places: IntArray, count: int) -> IntArray:
    """`count` of the places, evenly spaced; all where there are fewer."""
    return places[np.linspace(0, len(places) - 1, min(count, len(places))).astype(np.int64)]
