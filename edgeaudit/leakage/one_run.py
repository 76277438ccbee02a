"""The audit of differential privacy with one training run: records are in or out by coin flips, and are guessed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from edgeaudit.errors import AttackError
from edgeaudit.leakage.epsilon import check_delta
from edgeaudit.leakage.roc import BoolArray, FloatArray, split_scores

__all__ = ["OneRunAudit", "one_run_audit", "one_run_epsilon", "one_run_p_value", "one_run_pairs"]

_LARGEST_EPSILON = 700.0  # e^-eps is a float up to here


@dataclass(frozen=True)
class OneRunAudit:
    """epsilon: lower bound in nats, at least 0. correct of `guesses` guesses among m coin flips; the rest abstained.

    p_value: of epsilon = 0 with the same delta. note says what 0 means, and what the flips were.
    """

    epsilon: float
    p_value: float
    correct: int
    guesses: int
    m: int
    delta: float
    level: float
    note: str


def one_run_p_value(m: int, guesses: int, correct: int, epsilon: float, delta: float = 0.0) -> float:
    """P-value of "the mechanism is (epsilon, delta)-DP": `correct` or more right of `guesses` guesses on m coin flips.

    beta + 2 m delta alpha, at most 1, with B ~ Binomial(guesses, e^epsilon / (1 + e^epsilon)), beta = P[B >= correct]
    and alpha = max over i in 1..correct of P[correct - i <= B < correct] / i. For delta = 0 this is the binomial tail.

    Args:
        m: coin flips, i.e. records that could have been included.
        guesses: how many were guessed, r in the paper; fixed before the data were seen.
        correct: how many guesses were right, v in the paper.
        epsilon: of the null hypothesis, at least 0.
        delta: of the null hypothesis, in [0, 1).

    Raises:
        AttackError: unless 0 <= correct <= guesses <= m, epsilon >= 0 and delta in [0, 1).

    Source: Steinke, Nasr & Jagielski, "Privacy Auditing with One (1) Training Run" (NeurIPS 2023, arXiv:2305.08846),
    theorem 5.2, computed as in appendix D.
    """
    check_delta(delta, 0.5)
    if not 0 <= correct <= guesses <= m or not epsilon >= 0:
        raise AttackError(f"needs 0 <= {correct} correct <= {guesses} guesses <= {m} records, epsilon {epsilon} >= 0")
    rate = 1 / (1 + math.exp(-epsilon))
    tail = float(scipy.stats.binom.sf(correct - 1, guesses, rate))
    if delta == 0 or correct == 0:
        return min(1.0, tail)
    below = np.cumsum(scipy.stats.binom.pmf(np.arange(correct - 1, -1, -1), guesses, rate))
    alpha = float((below / np.arange(1, correct + 1)).max())
    return min(1.0, tail + 2 * m * delta * alpha)


def one_run_epsilon(m: int, guesses: int, correct: int, delta: float = 0.0, level: float = 0.95) -> float:
    """The largest epsilon that `one_run_p_value` rejects at 1 - level, by bisection from below to 1e-9; 0 if none.

    The p-value rises with epsilon wherever it is small, so everything below the bound is rejected too. The bound holds
    for every mechanism with at least `level`.

    Args:
        m: coin flips.
        guesses: fixed before the data were seen.
        correct: how many were right.
        delta: in [0, 1).
        level: one-sided confidence.

    Raises:
        AttackError: see `one_run_p_value`; a level outside (0, 1).

    Examples:
        >>> round(one_run_epsilon(m=1000, guesses=200, correct=150), 2)
        0.82
    """
    check_delta(delta, level)
    low, high = 0.0, 1.0
    if one_run_p_value(m, guesses, correct, low, delta) >= 1 - level:
        return 0.0
    while high < _LARGEST_EPSILON and one_run_p_value(m, guesses, correct, high, delta) < 1 - level:
        low, high = high, 2 * high
    while high - low > 1e-9:
        middle = (low + high) / 2
        if one_run_p_value(m, guesses, correct, middle, delta) < 1 - level:
            low = middle
        else:
            high = middle
    return low


def one_run_audit(
    scores: FloatArray,
    included: BoolArray,
    k_plus: int,
    k_minus: int,
    rng: np.random.Generator,
    delta: float = 0.0,
    level: float = 0.95,
) -> OneRunAudit:
    """Lower bound of epsilon from one model: the k_plus highest scores are guessed in, the k_minus lowest out.

    Every record of `included` must have been put into training by its own fair coin, independent of the others and of
    all else; then records may share the model, its shadows and each other's influence, and the bound still holds.

    A draw of FIXED size (so many of m, as an audit's members are) is not that: the flips depend on each other, and
    knowing some tells of the rest. Theorem 5.2 does not cover it, even if without any leak the counts differ little
    (with all m guessed, the variance of correct guesses is m/(m-1) times the binomial one). Use `one_run_pairs` then.

    k_plus and k_minus are fixed beforehand. The best of several budgets on the same data is no bound, and neither is
    the best of several scores. Equal scores are ordered at random: records are often stored members first, and their
    order would tell what the scores do not.

    Args:
        scores: float [m], higher = member; made without `included`.
        included: bool [m], the outcome of the flips.
        k_plus: number of guesses "in".
        k_minus: number of guesses "out"; the other records abstain.
        rng: orders ties; the call advances it.
        delta: in [0, 1).
        level: one-sided confidence.

    Raises:
        AttackError: see `split_scores`; guesses that are negative, none or more than records.

    Source: Steinke, Nasr & Jagielski (NeurIPS 2023), algorithm 1.
    """
    split_scores(scores, included)
    m, guesses = len(scores), k_plus + k_minus
    if min(k_plus, k_minus) < 0 or not 1 <= guesses <= m:
        raise AttackError(f"{k_plus} guesses in and {k_minus} guesses out do not fit {m} records")
    order = np.lexsort((rng.permutation(m), -scores))
    correct = int(included[order[:k_plus]].sum()) + int((~included[order[m - k_minus :]]).sum())
    return _audit(m, guesses, correct, delta, level, "every record must have had its own fair coin")


def one_run_pairs(
    scores: FloatArray,
    included: BoolArray,
    guesses: int,
    rng: np.random.Generator,
    delta: float = 0.0,
    level: float = 0.95,
) -> OneRunAudit:
    """The one-run audit for members that are a uniform draw of fixed size, by pairs; epsilon is of REPLACE-ONE DP.

    Records are paired at random, without looking at `included`; an odd one is left over. Among pairs that hold one
    member and one nonmember, which of the two it is, is an independent fair coin for every pair (all draws of the same
    size are equally likely, and swapping a pair keeps the size). So every such pair is one flip of theorem 5.2, whose
    neighbour replaces a record by another (with delta = 0, epsilon of add/remove DP is at least half of the bound).
    The higher score is guessed to be the member, on the pairs whose scores differ most; ties at random.

    About half of the pairs are mixed where half of the records are members, i.e. m is about a quarter of the records.

    Args:
        scores: float [n], higher = member; made without `included`.
        included: bool [n], a uniform draw of its size.
        guesses: number of pairs to guess, fixed beforehand; at most what there is of mixed pairs is used, and as their
            number does not tell which is the member, that costs nothing.
        rng: pairs the records and orders ties; the call advances it. Choose its seed once.
        delta: in [0, 1).
        level: one-sided confidence.

    Raises:
        AttackError: see `split_scores`; no guess, or no mixed pair.

    Source: Steinke, Nasr & Jagielski (NeurIPS 2023), theorem 5.2; the pairing is ours, an exact conditioning.
    """
    split_scores(scores, included)
    order = rng.permutation(len(scores))[: len(scores) // 2 * 2].reshape(-1, 2)
    pairs = order[included[order[:, 0]] != included[order[:, 1]]]
    m = len(pairs)
    if guesses < 1 or m == 0:
        raise AttackError(f"{guesses} guesses and {m} pairs of a member and a nonmember: both must be at least 1")
    gaps = scores[pairs[:, 0]] - scores[pairs[:, 1]]
    # The pairs are in random order and so are the two within one: a stable sort and >= order ties at random.
    chosen = np.argsort(-np.abs(gaps), kind="stable")[:guesses]
    correct = int((included[pairs[chosen, 0]] == (gaps[chosen] >= 0)).sum())
    return _audit(m, len(chosen), correct, delta, level, "flips are pairs of one member and one nonmember: replace-one")


def _audit(m: int, guesses: int, correct: int, delta: float, level: float, flips: str) -> OneRunAudit:
    bound = one_run_epsilon(m, guesses, correct, delta, level)
    note = f"{correct} of {guesses} guesses right, {m} flips; {flips}"
    if bound == 0:
        note += "; epsilon 0 is not rejected, which is no evidence of privacy"
    return OneRunAudit(bound, one_run_p_value(m, guesses, correct, 0.0, delta), correct, guesses, m, delta, level, note)
