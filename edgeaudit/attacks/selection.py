"""Which audited records are tested: abnormal ones have few neighbours, so a model that saw one shows it.

Source: Long et al., "A Pragmatic Approach to Membership Inferences" (EuroS&P 2020), section 4.2 (`alpha_beta`).
`fraction` (a fixed share, so formats can be compared) and `hardness` (an ablation) are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeaudit.attacks.evidence import BoolArray, FloatArray, IntArray, ShadowAnswers
from edgeaudit.attacks.neighbours import features, nearest_distances
from edgeaudit.attacks.out_statistics import out_statistics
from edgeaudit.attacks.signals import shadow_losses
from edgeaudit.errors import AttackError

__all__ = ["SelectionName", "SelectionRule", "alpha_for_share", "largest_share", "neighbours_needed", "select"]

SelectionName = Literal["fraction", "alpha_beta", "hardness", "all"]


@dataclass(frozen=True)
class SelectionRule:
    """How abnormal records are chosen.

    fraction: share of the audited records (`fraction`, `hardness`; and `alpha_beta` without alpha).
    neighbours: `fraction` ranks by the mean distance to this many nearest neighbours.
    alpha: cosine distance within which a record of the pool is a neighbour; None finds it from `fraction`.
    beta: `alpha_beta` calls a record abnormal if it expects fewer neighbours than this in the training set.
    """

    name: SelectionName = "fraction"
    fraction: float = 0.1
    neighbours: int = 5
    alpha: float | None = None
    beta: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise AttackError(f"the fraction of abnormal records must be above 0 and at most 1: {self.fraction}")
        if self.neighbours < 1 or not self.beta > 0:
            raise AttackError(f"neighbours must be 1 or more and beta above 0: {self.neighbours}, {self.beta}")


def select(
    rule: SelectionRule,
    audited: ShadowAnswers,
    pool: ShadowAnswers,
    n_target: int,
    self_index: IntArray | None = None,
) -> BoolArray:
    """The abnormal set: bool [audited records], True where the record is to be tested.

    No membership of the target is used, so the selection is open to the attacker.

    Args:
        rule: which selection.
        audited: the shadows' answers on the audited records.
        pool: those on the reference records, from the same shadows; neighbours are searched here.
        n_target: size of the target's training set (`alpha_beta`).
        self_index: as in `nearest_distances`; None where the pool is disjoint from the audited records.

    Raises:
        AttackError: no shadows, a pool with too few records, or (`hardness`) a record without OUT shadow.
    """
    n = len(audited.labels)
    if rule.name == "all":
        return np.ones(n, dtype=np.bool_)
    if rule.name == "hardness":
        moments = out_statistics(shadow_losses(audited), audited.out)
        if not moments.count.all():
            raise AttackError(f"{int((moments.count == 0).sum())} of {n} records have no OUT shadow")
        return largest_share(moments.mean, rule.fraction)
    if rule.name == "fraction":
        distances = nearest_distances(features(audited), features(pool), rule.neighbours, self_index)
        return largest_share(distances.mean(axis=1), rule.fraction)
    needed = neighbours_needed(rule.beta, n_target, len(pool.labels))
    last = nearest_distances(features(audited), features(pool), needed, self_index)[:, -1]
    return last > (alpha_for_share(last, rule.fraction) if rule.alpha is None else rule.alpha)


def largest_share(values: FloatArray, fraction: float) -> BoolArray:
    """True on the round(fraction * n) largest values, at least one; of equal values the earlier record is taken."""
    n = len(values)
    chosen = np.zeros(n, dtype=np.bool_)
    # floor(x + 1/2), because round() sends halves to the even neighbour.
    chosen[np.argsort(-values, kind="stable")[: max(1, int(fraction * n + 0.5))]] = True
    return chosen


def neighbours_needed(beta: float, n_target: int, n_reference: int) -> int:
    """The smallest number r of neighbours with r * n_target / n_reference >= beta: a record with fewer is abnormal.

    n_target / n_reference is the chance that a reference record is also in a training set of n_target, so the left
    side is the expected number of neighbours in the training set (Long et al., section 4.2).
    """
    if n_target < 1 or n_reference < 1:
        raise AttackError(f"n_target and the reference pool must not be empty: {n_target}, {n_reference}")
    # The quotient may round to either side of an integer; the condition itself decides.
    r = max(1, int(beta * n_reference / n_target) - 1)
    while r * n_target / n_reference < beta:
        r += 1
    return r


def alpha_for_share(last: FloatArray, fraction: float) -> float:
    """The alpha for which the share of records with `last` > alpha is nearest to `fraction`; a smaller share on a draw.

    `last` is the distance to the r-th nearest neighbour (r from `neighbours_needed`): a record has fewer than r
    neighbours within alpha exactly if it exceeds alpha. The share is therefore a step function of alpha with steps
    at the values of `last`, and reading it there is the exact limit of a bisection.
    """
    values, counts = np.unique(last, return_counts=True)
    alphas = np.concatenate(([np.nextafter(values[0], -np.inf)], values))
    above = len(last) - np.concatenate(([0], np.cumsum(counts)))
    miss = np.abs(above - fraction * len(last))
    # The last of equal misses is the larger alpha, hence the smaller share.
    return float(alphas[np.flatnonzero(miss == miss.min())[-1]])
