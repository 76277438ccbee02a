"""Statistics of each record over its OUT shadows, which did not train on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeaudit.attacks.evidence import BoolArray, FloatArray, IntArray

__all__ = ["OutStatistics", "out_statistics"]


@dataclass(frozen=True)
class OutStatistics:
    """count: int64 [n], OUT shadows. mean: float64 [n], NaN where count is 0. variance: ddof 1, NaN where count < 2."""

    count: IntArray
    mean: FloatArray
    variance: FloatArray


def out_statistics(values: FloatArray, out: BoolArray) -> OutStatistics:
    """Return mean, variance (ddof = 1) and count of each record over its OUT shadows; needs a few arrays [n] of memory.

    Two passes over the values minus the record's first OUT value. This shift gives equal values a variance of exactly 0
    (a plain mean of equal floats may be off by one bit), which `variance_prior` must recognise.

    Args:
        values: float [K, n], a signal of the shadows.
        out: bool [K, n].
    """
    n = values.shape[1]
    count = out.sum(axis=0, dtype=np.int64)
    if len(values) == 0:
        return OutStatistics(count, np.full(n, np.nan), np.full(n, np.nan))
    first = values[out.argmax(axis=0), np.arange(n)].astype(np.float64)
    total = np.zeros(n)
    for row, kept in zip(values, out, strict=True):
        total += np.where(kept, row - first, 0.0)
    shift = np.divide(total, count, out=np.full(n, np.nan), where=count > 0)
    squares = np.zeros(n)
    for row, kept in zip(values, out, strict=True):
        squares += np.where(kept, (row - first - shift) ** 2, 0.0)
    variance = np.divide(squares, count - 1, out=np.full(n, np.nan), where=count > 1)
    return OutStatistics(count, first + shift, variance)
