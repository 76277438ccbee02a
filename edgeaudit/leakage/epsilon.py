"""Lower bounds of the epsilon of differential privacy, at a threshold fixed on other data."""

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
    """A lower bound of epsilon.

    epsilon: in nats, at least 0. unclipped: before max(0, .); -inf where the rates give no bound. direction: the
    inequality that gave it, "members" (TPR) or "nonmembers" (TNR). Counts are at `threshold`, among the records that
    the bound was evaluated on. note: counts, clipping and split.
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
    """Raise `AttackError` unless 0 <= delta < 1 and 0 < level < 1."""
    if not 0 <= delta < 1 or not 0 < level < 1:
        raise AttackError(f"delta must be in [0, 1) and the level in (0, 1): {delta}, {level}")


def epsilon_bound(
    scores: FloatArray, members: BoolArray, threshold: float, delta: float = 0.0, level: float = 0.95
) -> EpsilonBound:
    """Return a lower bound of epsilon at one threshold, which must not be chosen on the audited memberships.

    (epsilon, delta)-DP implies TPR <= e^epsilon FPR + delta and TNR <= e^epsilon FNR + delta (Kairouz et al.), so
    epsilon >= log((TPR - delta) / FPR) and log((TNR - delta) / FNR). With a = 1 - level, TPR_L and FPR_U are one-sided
    Clopper-Pearson bounds at a/2 each. The second inequality needs TNR_L = 1 - FPR_U and FNR_U = 1 - TPR_L, which are
    the same two events, so the larger of the two bounds holds with at least `level` without a further Bonferroni
    factor. It does not hold at a threshold chosen as the best of many on the same records (5,000 + 5,000 records
    without any leak: above 0 in 13% of 200 simulations, not 5%); `split_epsilon_bound` chooses on other records.

    Assumption: trials are independent. This holds for one record (or one randomly drawn record) in many training runs.
    The records of one model share its training run; the bound then holds only if their scores are independent given the
    model. `edgeaudit.leakage.one_run` needs no such assumption. A model trained without DP has no finite epsilon; the
    bound then excludes training with noise of a smaller epsilon. Adjacency is add/remove; where the number of members
    is fixed, read it as replace-one.

    Args:
        scores: float [n], higher = member.
        members: bool [n].
        threshold: member where score >= threshold, fixed on other data.
        delta: of the guarantee, in [0, 1).
        level: one-sided confidence of the bound.

    Raises:
        AttackError: see `split_scores`; also for a NaN threshold, and for delta or level out of range.

    Examples:
        >>> import numpy as np
        >>> members = np.arange(200) < 100
        >>> scores = np.r_[np.ones(90), np.zeros(10), np.ones(5), np.zeros(95)]  # 90 true, 5 false positives
        >>> round(epsilon_bound(scores, members, threshold=0.5).epsilon, 2)
        1.99

    Source: Jagielski, Ullman & Oprea, "Auditing Differentially Private Machine Learning" (NeurIPS 2020); Nasr et al.,
    "Adversary Instantiation" (S&P 2021); Kairouz, Oh & Viswanath, "The Composition Theorem for DP" (ICML 2015).
    """
    check_delta(delta, level)
    if math.isnan(threshold):
        raise AttackError("the threshold of an epsilon bound is NaN")
    inside, outside = split_scores(scores, members)
    hits, alarms = int((inside >= threshold).sum()), int((outside >= threshold).sum())
    m, n = len(inside), len(outside)
    both = _both(np.array([hits]), m, np.array([alarms]), n, delta, level)[:, 0]
    direction = ("members", "nonmembers")[int(both[1] > both[0])]
    value = float(both.max())
    note = f"{hits} of {m} members, {alarms} of {n} nonmembers at the threshold"
    if value < 0:
        note += "; the rates give no bound: clipped to 0, which is not evidence of privacy"
    return EpsilonBound(max(0.0, value), value, direction, float(threshold), delta, level, hits, m, alarms, n, note)


def split_epsilon_bound(
    scores: FloatArray, members: BoolArray, rng: np.random.Generator, delta: float = 0.0, level: float = 0.95
) -> EpsilonBound:
    """Return `epsilon_bound` on a random half of the records, at the threshold that is best on the other half.

    Members and nonmembers are split separately. Since the threshold is chosen on the first half and the bound computed
    on the second, no correction for the search is needed. Fix the generator's seed beforehand: the best of many seeds
    is a search again.

    Args:
        scores: float [n], higher = member.
        members: bool [n], with at least two members and two nonmembers.
        rng: generator of the split; the call advances it.
        delta: of the guarantee, in [0, 1).
        level: one-sided confidence of the bound.

    Raises:
        AttackError: see `epsilon_bound`; also for fewer than two members or nonmembers.
    """
    check_delta(delta, level)
    inside, outside = split_scores(scores, members)
    if min(len(inside), len(outside)) < 2:
        raise AttackError(
            f"a split needs two members and two nonmembers; there are {len(inside)} members and {len(outside)} "
            "nonmembers"
        )
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
    """Return log((TPR_L - delta) / FPR_U) and log((TNR_L - delta) / FNR_U) of each point, float64 [2, points]."""
    tpr_low = clopper_pearson_bounds(hits, m, level)[0]
    fpr_high = clopper_pearson_bounds(alarms, n, level)[1]
    over = np.stack((tpr_low, 1 - fpr_high)) - delta
    # FPR_U > 0 and TPR_L < 1 for every count, so only the numerators can be 0 or negative.
    under = np.stack((fpr_high, 1 - tpr_low))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(over, 0.0)) - np.log(under), dtype=np.float64)
