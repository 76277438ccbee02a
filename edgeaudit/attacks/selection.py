"""Selection of abnormal records, which have few neighbours: a model's answer on one depends more on its membership.

Source: Long et al., "A Pragmatic Approach to Membership Inferences" (EuroS&P 2020), section 4.2 (`alpha_beta`).
`fraction` (a fixed share, so that formats can be compared) and `hardness` (an ablation) are our additions.
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
    """The rule that selects abnormal records.

    fraction: share of the audited records to select (`fraction`, `hardness`, and `alpha_beta` without alpha).
    neighbours: number of nearest neighbours whose mean distance `fraction` ranks by.
    alpha: cosine distance within which a record of the pool is a neighbour; None derives it from `fraction`.
    beta: `alpha_beta` selects records whose expected number of neighbours in the training set is below this.
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
            raise AttackError(f"neighbours must be 1 or more, and beta above 0: {self.neighbours}, {self.beta}")


def select(
    rule: SelectionRule,
    audited: ShadowAnswers,
    pool: ShadowAnswers,
    n_target: int,
    self_index: IntArray | None = None,
) -> BoolArray:
    """Return the abnormal set: bool [audited records], True for selected records.

    It does not use the target's memberships, so an attacker can compute it.

    Args:
        rule: the selection rule.
        audited: the shadows' answers on the audited records.
        pool: the same shadows' answers on the reference records, among which neighbours are searched.
        n_target: size of the target's training set (`alpha_beta`).
        self_index: as in `nearest_distances`; None where the pool is disjoint from the audited records.

    Raises:
        AttackError: no shadows, too few records in the pool, or (`hardness`) a record without OUT shadow.
    """
    n = len(audited.labels)
    if rule.name == "all":
        return np.ones(n, dtype=np.bool_)
    if rule.name == "hardness":
        moments = out_statistics(shadow_losses(audited), audited.out)
        if not moments.count.all():
            raise AttackError(f"{int((moments.count == 0).sum())} of {n} records have no OUT shadow; add shadows")
        return largest_share(moments.mean, rule.fraction)
    if rule.name == "fraction":
        distances = nearest_distances(features(audited), features(pool), rule.neighbours, self_index)
        return largest_share(distances.mean(axis=1), rule.fraction)
    needed = neighbours_needed(rule.beta, n_target, len(pool.labels))
    last = nearest_distances(features(audited), features(pool), needed, self_index)[:, -1]
    return last > (alpha_for_share(last, rule.fraction) if rule.alpha is None else rule.alpha)


def largest_share(values: FloatArray, fraction: float) -> BoolArray:
    """Return True for the round(fraction * n) largest values, at least one, bool [n]; of equal values the first."""
    n = len(values)
    selected = np.zeros(n, dtype=np.bool_)
    # floor(x + 1/2), because round() rounds half to even.
    selected[np.argsort(-values, kind="stable")[: max(1, int(fraction * n + 0.5))]] = True
    return selected


def neighbours_needed(beta: float, n_target: int, n_reference: int) -> int:
    """Return the smallest number r with r * n_target / n_reference >= beta; a record with fewer neighbours is abnormal.

    n_target / n_reference is the probability that a reference record is in a training set of n_target records, so the
    left side is the expected number of neighbours in the training set (Long et al., section 4.2).
    """
    if n_target < 1 or n_reference < 1:
        raise AttackError(
            f"the target's training set and the reference pool must not be empty; their sizes are {n_target} and "
            f"{n_reference}"
        )
    # The quotient may round to either side of an integer, so the condition itself is tested.
    r = max(1, int(beta * n_reference / n_target) - 1)
    while r * n_target / n_reference < beta:
        r += 1
    return r


def alpha_for_share(last: FloatArray, fraction: float) -> float:
    """Return the alpha with the share of records with `last` > alpha nearest to `fraction`; the smaller share on a tie.

    `last` is the distance to the r-th nearest neighbour (r from `neighbours_needed`): a record has fewer than r
    neighbours within alpha if and only if `last` exceeds alpha. So the share is a step function of alpha with steps at
    the values of `last`, and evaluating it there gives the exact limit of a bisection.
    """
    values, counts = np.unique(last, return_counts=True)
    alphas = np.concatenate(([np.nextafter(values[0], -np.inf)], values))
    above = len(last) - np.concatenate(([0], np.cumsum(counts)))
    miss = np.abs(above - fraction * len(last))
    # The last of equal misses is the larger alpha, hence the smaller share.
    return float(alphas[np.flatnonzero(miss == miss.min())[-1]])
