"""The level at which lower ends of several figures on the same records hold together (max-T).

Attacks on the same answers are closely related, so that a correction for A independent figures asks for too much:
with ten attacks whose scores correlate by .95 the largest of ten is hardly larger than one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

from edgeaudit.leakage.decision import TAIL, corrected_level
from edgeaudit.leakage.influence import LinearisedFigure, shares_by_unit
from edgeaudit.randomness import stream

__all__ = ["critical_value", "simultaneous_level"]

# A tail of .025 has a standard error of at most .0002.
_DRAWS = 4096
# Halvings of what is between one figure's value and Bonferroni's, which is at most 1.5 or so.
_STEPS = 14


def simultaneous_level(figures: Sequence[LinearisedFigure | None], tests: int) -> float:
    """Return the level of the two-sided intervals of which no lower end lies above its truth, in 97.5% of audits.

    The figures' deviations are taken as jointly normal, with the correlations that the records' shares give. It is at
    most `corrected_level`, which holds for any dependence.

    Args:
        figures: of the same records, with the same numbering of `units`; None for a figure without shares, which is
            taken as independent of all others, the worst case.
        tests: number of figures that the budget names, at least as many as `figures`. The others are taken as
            independent.

    Raises:
        AttackError: fewer than one test.

    Source: Westfall & Young, "Resampling-Based Multiple Testing" (1993), single-step max-T; Hothorn, Bretz & Westfall
    (Biometrical Journal 2008) for estimates that are jointly normal.
    """
    most = corrected_level(tests)
    if tests == 1:
        return most
    related = _correlations([figure for figure in figures if figure is not None])
    independent = tests - len(related)
    critical = critical_value(related.tobytes(), len(related), independent)
    return min(most, 1 - 2 * float(special.ndtr(-critical)))


def _correlations(figures: Sequence[LinearisedFigure]) -> npt.NDArray[np.float64]:
    """Return the correlations of figures [k, k], of those that vary at all."""
    shares = shares_by_unit(figures)
    norms = np.sqrt((shares**2).sum(axis=1))
    shares = shares[norms > 0] / norms[norms > 0, None]
    # Rounded, so that a level does not hang on the last bits of a sum.
    related: npt.NDArray[np.float64] = np.round(np.clip(shares @ shares.T, -1, 1), 3)
    return related


@lru_cache(maxsize=64)
def critical_value(correlations: bytes, related: int, independent: int) -> float:
    """Return the quantile 1 - `TAIL` of the largest of normal variables, drawn from a generator with a fixed seed.

    P(some variable > c) is k times the tail of one, times the mean of 1 / (number of variables above c) over draws in
    which a variable taken at random is above c. That is known much more closely than the share of draws above c.

    Args:
        correlations: float64 [related, related], as bytes.
        related: number of variables with these correlations.
        independent: number of further variables, independent of all others.

    Examples:
        >>> round(critical_value(b"", 0, 10), 3)
        2.803

    Source: Owen, Maximov & Chertkov, "Importance sampling the union of rare events" (Electronic Journal of Statistics
    2019).
    """
    if related == 0:
        return float(special.ndtri((1 - TAIL) ** (1 / independent)))
    matrix = np.frombuffer(correlations).reshape(related, related)
    # Rounded correlations may be slightly indefinite.
    values, vectors = np.linalg.eigh(matrix)
    rng = stream(0, "max-t")
    normal = rng.normal(size=(_DRAWS, related)) @ (vectors * np.sqrt(np.clip(values, 0, None))).T
    first, uniform = np.arange(_DRAWS) % related, rng.random(_DRAWS)
    slopes = matrix[first]
    rest = normal - slopes * normal[np.arange(_DRAWS), first, None]

    def within(c: float) -> float:
        """P(no variable > c)."""
        tail = float(special.ndtr(-c))
        drawn = -special.ndtri(tail * uniform)
        above = (rest + slopes * drawn[:, None] > c).sum(axis=1)
        # The variable that was taken is above c, but for rounding.
        beyond = related * tail * float((1 / np.maximum(above, 1)).mean())
        return max(0.0, 1 - beyond) * (1 - tail) ** independent

    low, high = (float(special.ndtri(1 - TAIL / tests)) for tests in (1, related + independent))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if within(middle) >= 1 - TAIL else (middle, high)
    return high
