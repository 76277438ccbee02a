"""One-run audit against Gaussian differential privacy, which is tighter than that against (epsilon, delta)."""

from __future__ import annotations

import math

from scipy import special

from edgeaudit.errors import AttackError
from edgeaudit.leakage.bisection import last_that_holds
from edgeaudit.leakage.epsilon import check_delta

__all__ = ["gaussian_epsilon", "one_run_mu", "rejects_mu"]

_LARGEST_MU = 38.0  # Phi(-mu) is a float up to here
_PRECISION = 1e-6


def rejects_mu(m: int, guesses: int, correct: int, mu: float, level: float = 0.95) -> bool:
    """Return whether so many correct guesses on m coin flips reject H0 "the mechanism is mu-GDP" at 1 - level.

    A mechanism that is mu-GDP has the trade-off function f(a) = Phi(Phi^-1(1 - a) - mu). With r and h the expected
    shares of records that are guessed right and wrong in runs with more than i correct guesses, h_i is at least
    Phi(Phi^-1(r_(i+1)) - mu), and r_i = r_(i+1) + i / (guesses - i) (h_i - h_(i+1)). The probability of `correct` or
    more is below 1 - level where the recursion from there, r = (1 - level) correct / m and h = (1 - level) (guesses -
    correct) / m, ends at r_0 + h_0 above guesses / m.

    Args:
        m: coin flips, i.e. records that could have been included.
        guesses: number of guesses, fixed before the data were seen.
        correct: number of correct guesses.
        mu: of the null hypothesis, at least 0; the mean shift of a unit normal.
        level: one-sided confidence.

    Raises:
        AttackError: unless 0 <= correct <= guesses <= m, mu >= 0 and 0 < level < 1.

    Source: Mahloujifar, Melis & Chaudhuri, "Auditing f-Differential Privacy in One Run" (ICML 2025, arXiv:2410.22235),
    the algorithm that decides an upper bound of the probability, with abstentions, for two values a flip.
    """
    check_delta(0.0, level)
    if not 0 <= correct <= guesses <= m or not mu >= 0:
        raise AttackError(
            f"a one-run audit needs 0 <= {correct} correct <= {guesses} guesses <= {m} records, and mu {mu} >= 0"
        )
    if correct == 0:
        return False
    right, wrong = (1 - level) * correct / m, (1 - level) * (guesses - correct) / m
    for i in range(correct - 1, -1, -1):
        before = wrong
        wrong = max(before, float(special.ndtr(special.ndtri(min(right, 1.0)) - mu)))
        right += i / (guesses - i) * (wrong - before)
        if right + wrong > guesses / m:
            return True  # both only grow
    return False


def one_run_mu(m: int, guesses: int, correct: int, level: float = 0.95) -> float:
    """Return the largest mu that `rejects_mu` rejects at 1 - level, by bisection to 1e-6; 0 if none.

    Args:
        m: number of coin flips.
        guesses: number of guesses, fixed before the data were seen.
        correct: number of correct guesses.
        level: one-sided confidence.

    Raises:
        AttackError: see `rejects_mu`.

    Examples:
        >>> round(one_run_mu(m=1000, guesses=200, correct=150), 2)
        0.34
    """
    found = last_that_holds(lambda mu: rejects_mu(m, guesses, correct, mu, level), _PRECISION, _LARGEST_MU)
    return 0.0 if found is None else found[0]


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the smallest epsilon for which mu-GDP implies (epsilon, delta)-DP, in nats, at least 0, to 1e-6.

    delta(epsilon) = Phi(-epsilon / mu + mu / 2) - e^epsilon Phi(-epsilon / mu - mu / 2).

    Args:
        mu: at least 0.
        delta: in (0, 1).

    Raises:
        AttackError: mu or delta is out of range.

    Examples:
        >>> round(gaussian_epsilon(1.0, 1e-5), 2)
        4.38

    Source: Dong, Roth & Su, "Gaussian Differential Privacy" (JRSS B 2022), corollary 1.
    """
    check_delta(delta, 0.5)
    if not mu >= 0 or delta == 0:
        raise AttackError(f"mu must be 0 or more, and delta above 0: {mu}, {delta}")
    if mu == 0:
        return 0.0

    def above(epsilon: float) -> bool:
        second = math.exp(epsilon + float(special.log_ndtr(-epsilon / mu - mu / 2)))
        return float(special.ndtr(-epsilon / mu + mu / 2)) - second > delta

    found = last_that_holds(above, _PRECISION)
    return 0.0 if found is None else found[1]
