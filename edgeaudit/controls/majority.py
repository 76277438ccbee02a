"""Is a model of these records at all: is it right more often than the most frequent label would be?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

__all__ = ["LEVEL", "beats_majority", "majority"]

LEVEL = 0.05
"""Significance that an accuracy must reach against the most frequent label's share.

Chance answers are right less often than that label is, so fewer than 1 in 20 of them get by; a stricter level would
refuse weak models where there are few records.
"""


def majority(labels: npt.NDArray[np.int64]) -> float:
    """Return the share of the most frequent label, in (0, 1]."""
    return float(np.bincount(labels).max()) / len(labels)


def beats_majority(right: npt.NDArray[np.bool_], labels: npt.NDArray[np.int64], level: float = LEVEL) -> bool:
    """Return whether the share of right answers is above the most frequent label's share, beyond chance.

    By an exact binomial test, one-sided, at `level`. A single label (share 1) can never be beaten.

    right: bool [n]. labels: int64 [n], at least one.
    """
    share = majority(labels)
    test = scipy.stats.binomtest(int(right.sum()), len(right), share, alternative="greater")
    return bool(test.pvalue <= level)
