"""Lower bounds of the epsilon of differential privacy, from a threshold that other data fixed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import clopper_pearson_bounds
from edgeaudit.leakage.roc import BoolArray, FloatArray, IntArray, roc, split_scores

__all__ = ["EpsilonBound", "check_delta", "epsilon_bound", "split_epsilon_bound"]


@dataclass(frozen=True)
class EpsilonBound:
    """epsilon: lower bound in nats, at least 0. unclipped: before max(0, .); -inf where the rates bound nothing.

    direction: which of the two inequalities gave it, "members" (accused) or "nonmembers" (acquitted). The counts are
    at `threshold`, among the records that the bound was evaluated on. note says what was clipped and split.
    """

    epsilon: float
    unclipped: float
    direction: str
    threshold: float
    delta: float
    level: float
    true_positives: int
    n_members: int
    false_positives: int
    n_nonmembers: int
    note: str


def check_delta(delta: float, level: float) -> None:
    """Raises `AttackError` unless 0 <= delta < 1 and 0 < level < 1."""
    if not 0 <= delta < 1 or not 0 < level < 1:
        raise AttackError(f"delta must be in [0, 1) and the level in (0, 1): {delta}, {level}")


def epsilon_bound(
    scores: FloatArray, members: BoolArray, threshold: float, delta: float = 0.0, level: float = 0.95
) -> EpsilonBound:
    """Lower bound of epsilon at one threshold, which the audited memberships must not have chosen.

    (epsilon, delta)-DP implies TPR <= e^epsilon FPR + delta and TNR <= e^epsilon FNR + delta (Kairouz et al.), so
    epsilon >= log((TPR - delta) / FPR) and log((TNR - delta) / FNR). With a = 1 - level, TPR_L and FPR_U are one-sided
    Clopper-Pearson bounds at a/2 each. The second inequality needs TNR_L = 1 - FPR_U and FNR_U = 1 - TPR_L, the SAME
    two events, so the larger of the two bounds holds with at least `level` without another Bonferroni factor. At a
    threshold picked as the best of many on the same records it does not hold (5,000 + 5,000 records without any leak:
    above 0 in 13% of 200 simulations, not 5%); `split_epsilon_bound` picks on others.

    What it is a bound of: trials must be independent. That holds for one record (or one randomly drawn record) in
    many training runs. The records of ONE model share the run; the bound is then of this kind only as far as their
    scores are independent given the model, and `edgeaudit.leakage.one_run` is the audit that needs no such assumption.
    A model trained without DP has no finite epsilon; the figure says what noise could not have been there. Adjacency
    is "the record is in or not": where numbers of members are fixed, read it as replace-one.

    Args:
        scores: float [n], higher = member.
        members: bool [n].
        threshold: member where score >= threshold, fixed on other data.
        delta: of the guarantee, in [0, 1).
        level: of the one-sided confidence in the bound.

    Raises:
        AttackError: see `split_scores`; a NaN threshold, delta or level out of range.

    Examples:
        >>> import numpy as np
        >>> members = np.arange(200) < 100
        >>> accused = np.r_[np.ones(90), np.zeros(10), np.ones(5), np.zeros(95)]  # 90 members, 5 nonmembers
        >>> round(epsilon_bound(accused, members, threshold=0.5).epsilon, 2)
        1.99

    Source: Jagielski, Ullman & Oprea, "Auditing Differentially Private Machine Learning" (NeurIPS 2020); Nasr et al.,
    "Adversary Instantiation" (S&P 2021); Kairouz, Oh & Viswanath, "The Composition Theorem for DP" (ICML 2015).
    """
    check_delta(delta, level)
    if math.isnan(threshold):
        raise AttackError("the threshold of an epsilon bound is not a number")
    inside, outside = split_scores(scores, members)
    hits, alarms = int((inside >= threshold).sum()), int((outside >= threshold).sum())
    m, n = len(inside), len(outside)
    both = _both(np.array([hits]), m, np.array([alarms]), n, delta, level)[:, 0]
    direction = ("members", "nonmembers")[int(both[1] > both[0])]
    value = float(both.max())
    note = f"{hits} of {m} members, {alarms} of {n} nonmembers at the threshold"
    if value < 0:
        note += "; the rates bound nothing: clipped to 0, which is no evidence of privacy"
    return EpsilonBound(max(0.0, value), value, direction, float(threshold), delta, level, hits, m, alarms, n, note)


def split_epsilon_bound(
    scores: FloatArray, members: BoolArray, rng: np.random.Generator, delta: float = 0.0, level: float = 0.95
) -> EpsilonBound:
    """`epsilon_bound` on one random half of the records, at the threshold whose bound is largest on the other half.

    Members and nonmembers are halved separately. The first half sees every threshold, the second one threshold, so
    no search is left to pay for. Choose the generator's seed once: the best of many seeds is a search again.

    Args:
        scores: float [n], higher = member.
        members: bool [n], at least two of each kind.
        rng: what splits; the call advances it.
        delta: of the guarantee, in [0, 1).
        level: of the one-sided confidence in the bound.

    Raises:
        AttackError: see `epsilon_bound`; fewer than two members or nonmembers.
    """
    check_delta(delta, level)
    inside, outside = split_scores(scores, members)
    if min(len(inside), len(outside)) < 2:
        raise AttackError(f"halves need two of each kind: {len(inside)} members, {len(outside)} nonmembers")
    chooses = np.zeros(len(members), dtype=np.bool_)
    for kind in (members, ~members):
        chooses[rng.permutation(np.flatnonzero(kind))[: int(kind.sum()) // 2]] = True
    curve = roc(scores[chooses], members[chooses])
    bounds = _both(curve.true_positives, curve.n_members, curve.false_positives, curve.n_nonmembers, delta, level).max(
        axis=0
    )
    threshold = float(curve.thresholds[int(np.argmax(bounds))])
    bound = epsilon_bound(scores[~chooses], members[~chooses], threshold, delta, level)
    note = f"threshold chosen on the other half ({int(chooses.sum())} records); {bound.note}"
    return replace(bound, note=note)


def _both(hits: IntArray, m: int, alarms: IntArray, n: int, delta: float, level: float) -> FloatArray:
    """log((TPR_L - delta) / FPR_U) and log((TNR_L - delta) / FNR_U) of each point, float64 [2, points]."""
    tpr_low = clopper_pearson_bounds(hits, m, level)[0]
    fpr_high = clopper_pearson_bounds(alarms, n, level)[1]
    over = np.stack((tpr_low, 1 - fpr_high)) - delta
    # FPR_U > 0 and TPR_L < 1 for every count, so only the numerators can fail.
    under = np.stack((fpr_high, 1 - tpr_low))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(over, 0.0)) - np.log(under), dtype=np.float64)
