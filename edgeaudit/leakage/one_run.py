"""Audit of differential privacy with one training run, in which every record is included by a coin flip."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from edgeaudit.errors import AttackError
from edgeaudit.leakage.bisection import last_that_holds
from edgeaudit.leakage.epsilon import check_delta
from edgeaudit.leakage.roc import BoolArray, FloatArray, split_scores

__all__ = ["OneRunAudit", "one_run_audit", "one_run_epsilon", "one_run_p_value", "one_run_pairs"]

_LARGEST_EPSILON = 700.0  # e^-eps is a float up to here


@dataclass(frozen=True)
class OneRunAudit:
    """Result of the one-run audit.

    epsilon: lower bound in nats, at least 0. correct: correct guesses, of `guesses` on m coin flips; the rest are
    abstentions. p_value: of epsilon = 0 with the same delta. note: the meaning of an epsilon of 0 and of the flips.
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
    """Return the p-value of H0 "the mechanism is (epsilon, delta)-DP", given the correct guesses on m coin flips.

    beta + 2 m delta alpha, at most 1, with B ~ Binomial(guesses, e^epsilon / (1 + e^epsilon)), beta = P[B >= correct]
    and alpha = max over i in 1..correct of P[correct - i <= B < correct] / i. For delta = 0 this is the binomial tail.

    Args:
        m: coin flips, i.e. records that could have been included.
        guesses: number of guesses, r in the paper; fixed before the data were seen.
        correct: number of correct guesses, v in the paper.
        epsilon: of the null hypothesis, at least 0.
        delta: of the null hypothesis, in [0, 1).

    Raises:
        AttackError: unless 0 <= correct <= guesses <= m, epsilon >= 0 and delta in [0, 1).

    Source: Steinke, Nasr & Jagielski, "Privacy Auditing with One (1) Training Run" (NeurIPS 2023, arXiv:2305.08846),
    theorem 5.2, computed as in appendix D.
    """
    check_delta(delta, 0.5)
    if not 0 <= correct <= guesses <= m or not epsilon >= 0:
        raise AttackError(
            f"a one-run audit needs 0 <= {correct} correct <= {guesses} guesses <= {m} records, and epsilon {epsilon} "
            ">= 0"
        )
    rate = 1 / (1 + math.exp(-epsilon))
    tail = float(scipy.stats.binom.sf(correct - 1, guesses, rate))
    if delta == 0 or correct == 0:
        return min(1.0, tail)
    below = np.cumsum(scipy.stats.binom.pmf(np.arange(correct - 1, -1, -1), guesses, rate))
    alpha = float((below / np.arange(1, correct + 1)).max())
    return min(1.0, tail + 2 * m * delta * alpha)


def one_run_epsilon(m: int, guesses: int, correct: int, delta: float = 0.0, level: float = 0.95) -> float:
    """Return the largest epsilon that `one_run_p_value` rejects at 1 - level, by bisection to 1e-9; 0 if none.

    The p-value rises with epsilon wherever it is small, so every smaller epsilon is also rejected. The bound holds for
    every mechanism with at least `level`.

    Args:
        m: number of coin flips.
        guesses: number of guesses, fixed before the data were seen.
        correct: number of correct guesses.
        delta: in [0, 1).
        level: one-sided confidence.

    Raises:
        AttackError: see `one_run_p_value`; also for a level outside (0, 1).

    Examples:
        >>> round(one_run_epsilon(m=1000, guesses=200, correct=150), 2)
        0.82
    """
    check_delta(delta, level)
    found = last_that_holds(
        lambda epsilon: one_run_p_value(m, guesses, correct, epsilon, delta) < 1 - level, 1e-9, _LARGEST_EPSILON
    )
    return 0.0 if found is None else found[0]


def one_run_audit(
    scores: FloatArray,
    included: BoolArray,
    k_plus: int,
    k_minus: int,
    rng: np.random.Generator,
    delta: float = 0.0,
    level: float = 0.95,
) -> OneRunAudit:
    """Return a lower bound of epsilon from one model: the k_plus highest scores are guessed in, the k_minus lowest out.

    Every record must have been included in training by its own fair coin, independent of all others. The bound then
    holds although the records share the model, its shadows and each other's influence.

    A draw of fixed size, as that of an audit's members, does not meet this condition: its flips are dependent. Theorem
    5.2 does not cover it, even though without any leak the counts differ little (with all m guessed, the variance of
    the correct guesses is m/(m-1) times the binomial one). Use `one_run_pairs` for it.

    Fix k_plus and k_minus beforehand. The best of several choices on the same data is not a valid bound, and neither is
    the best of several scores. Equal scores are ordered at random: records are often stored with members first, so
    their order could reveal membership.

    Args:
        scores: float [m], higher = member; computed without `included`.
        included: bool [m], the outcomes of the flips.
        k_plus: number of guesses "in".
        k_minus: number of guesses "out"; the other records are abstentions.
        rng: generator that orders ties; the call advances it.
        delta: in [0, 1).
        level: one-sided confidence.

    Raises:
        AttackError: see `split_scores`; also for a negative number of guesses, no guesses, or more guesses than
            records.

    Source: Steinke, Nasr & Jagielski (NeurIPS 2023), algorithm 1.
    """
    split_scores(scores, included)
    m, guesses = len(scores), k_plus + k_minus
    if min(k_plus, k_minus) < 0 or not 1 <= guesses <= m:
        raise AttackError(
            f"{k_plus} guesses in and {k_minus} guesses out must be 0 or more each, and 1 to {m} (the records) in total"
        )
    order = np.lexsort((rng.permutation(m), -scores))
    correct = int(included[order[:k_plus]].sum()) + int((~included[order[m - k_minus :]]).sum())
    return _audit(m, guesses, correct, delta, level, "valid if every record was included by its own fair coin")


def one_run_pairs(
    scores: FloatArray,
    included: BoolArray,
    guesses: int,
    rng: np.random.Generator,
    delta: float = 0.0,
    level: float = 0.95,
) -> OneRunAudit:
    """Run the one-run audit on pairs, for members drawn uniformly with a fixed size; epsilon is of replace-one DP.

    Records are paired at random, without using `included`; an odd one is left out. In each pair of one member and one
    nonmember (mixed pair), which of the two is the member is an independent fair coin: all draws of the same size are
    equally likely, and swapping a pair keeps the size. So every mixed pair is one flip of theorem 5.2, with replace-one
    neighbours (with delta = 0, epsilon of add/remove DP is at least half of the bound). The record with the higher
    score is guessed to be the member, on the pairs whose scores differ most; ties are broken at random.

    About half of the pairs are mixed where half of the records are members, i.e. m is about a quarter of the records.

    Args:
        scores: float [n], higher = member; computed without `included`.
        included: bool [n], a uniform draw of its size.
        guesses: number of pairs to guess, fixed beforehand; capped at the number of mixed pairs, which is valid since
            that number does not reveal which record is the member.
        rng: generator that pairs the records and orders ties; the call advances it. Fix its seed beforehand.
        delta: in [0, 1).
        level: one-sided confidence.

    Raises:
        AttackError: see `split_scores`; also for no guesses, or no mixed pair.

    Source: Steinke, Nasr & Jagielski (NeurIPS 2023), theorem 5.2; the pairing, an exact conditioning, is our addition.
    """
    split_scores(scores, included)
    order = rng.permutation(len(scores))[: len(scores) // 2 * 2].reshape(-1, 2)
    pairs = order[included[order[:, 0]] != included[order[:, 1]]]
    m = len(pairs)
    if guesses < 1 or m == 0:
        raise AttackError(f"guesses ({guesses}) and pairs of a member and a nonmember ({m}) must be at least 1")
    gaps = scores[pairs[:, 0]] - scores[pairs[:, 1]]
    # Pairs are in random order, and so are the records of a pair, so a stable sort and >= break ties at random.
    chosen = np.argsort(-np.abs(gaps), kind="stable")[:guesses]
    correct = int((included[pairs[chosen, 0]] == (gaps[chosen] >= 0)).sum())
    return _audit(m, len(chosen), correct, delta, level, "flips are pairs of one member and one nonmember: replace-one")


def _audit(m: int, guesses: int, correct: int, delta: float, level: float, flips: str) -> OneRunAudit:
    bound = one_run_epsilon(m, guesses, correct, delta, level)
    note = f"{correct} of {guesses} guesses correct, {m} flips; {flips}"
    if bound == 0:
        note += "; epsilon 0 is not rejected, which is not evidence of privacy"
    return OneRunAudit(bound, one_run_p_value(m, guesses, correct, 0.0, delta), correct, guesses, m, delta, level, note)
