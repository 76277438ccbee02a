"""Whether planted canaries are told from held-out ones: two exact looks, at the order of all and at the top."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.roc import BoolArray, FloatArray, split_scores

__all__ = ["Looks", "adjusted", "look", "top_p_value"]


@dataclass(frozen=True)
class Looks:
    """Two tests of "planted and held-out canaries score alike", both one-sided.

    above_all: planted canaries whose score is above that of every held-out one. p_above_all: see `top_p_value`.
    p_order: of the Mann-Whitney test, that is, of AUC 0.5.
    """

    above_all: int
    p_above_all: float
    p_order: float


def top_p_value(above_all: int, planted: int, held_out: int) -> float:
    """Return the chance that at least so many planted canaries score above every held-out one, if all score alike.

    The product over i < `above_all` of (planted - i) / (planted + held_out - i): exact for any distribution of scores,
    since every choice of the planted ones is equally likely. It finds a few canaries that are fully memorised, which
    the order of all does not.

    Examples:
        >>> round(top_p_value(6, 50, 50), 4)
        0.0133
    """
    i = np.arange(above_all)
    return float(np.prod((planted - i) / (planted + held_out - i)))


def look(scores: FloatArray, planted: BoolArray) -> Looks:
    """Run both tests.

    Args:
        scores: float [n], higher = planted.
        planted: bool [n], a uniform draw of its size.

    Raises:
        AttackError: see `split_scores`.
    """
    inside, outside = split_scores(scores, planted)
    count = int((inside > outside.max()).sum())
    order = scipy.stats.mannwhitneyu(inside, outside, alternative="greater")
    return Looks(count, top_p_value(count, len(inside), len(outside)), float(order.pvalue))


def adjusted(looks: list[Looks]) -> list[float]:
    """Return the smaller of each attack's two p-values, adjusted by Holm over both looks of all attacks."""
    if not looks:
        return []
    both = holm(np.array([[one.p_above_all, one.p_order] for one in looks], dtype=np.float64).ravel())
    return [float(pair.min()) for pair in both.reshape(-1, 2)]
