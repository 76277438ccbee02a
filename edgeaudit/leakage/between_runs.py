"""Differences of one figure between two audits: paired where they audited the same records, else independent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy

from edgeaudit.leakage.clusters import sides
from edgeaudit.leakage.influence import LinearisedFigure, shares_by_unit
from edgeaudit.leakage.intervals import rate_difference
from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.operating_points import saturated
from edgeaudit.leakage.paired import Difference, auc_difference, tpr_difference
from edgeaudit.leakage.roc import BoolArray, FloatArray, IntArray
from edgeaudit.leakage.rows import Figure
from edgeaudit.randomness import stream

__all__ = [
    "Matched", "RecordSet", "accuracy_difference", "adjusted", "covariance", "independent_accuracies",
    "independent_difference", "independent_nonmembers", "match_records", "paired_difference", "saturated_note",
]  # fmt: skip

_LEVEL = 0.95
_RESAMPLES = 2000
_TPR = "tpr@fpr="
# Resamples for each row of the family, so that the smallest p-value of a bootstrap can be significant after Holm's
# adjustment: 2 / (80 rows) x rows = .025.
_RESAMPLES_A_ROW = 80


@dataclass(frozen=True)
class RecordSet:
    """The records that an audit scored. ids: int64 [n]. members: bool [n]. groups: int64 [n], or None."""

    ids: IntArray
    members: BoolArray
    groups: IntArray | None = None


@dataclass(frozen=True)
class Matched:
    """The same records in two audits. first, second: their places in either, int64 [n], in one order."""

    first: npt.NDArray[np.intp]
    second: npt.NDArray[np.intp]


def match_records(first: RecordSet, second: RecordSet) -> Matched | str:
    """Return where two audits have the same records, or why scores of theirs cannot be paired.

    Records can be paired if both audits have the same ids, on the same sides, related in the same way; their order does
    not matter.

    Examples:
        >>> ids, members = np.array([5, 7, 9]), np.array([True, False, True])
        >>> matched = match_records(RecordSet(ids, members), RecordSet(ids[::-1], members[::-1]))
        >>> matched.first.tolist(), matched.second.tolist()
        ([0, 1, 2], [2, 1, 0])
        >>> match_records(RecordSet(ids, members), RecordSet(ids, ~members))
        '3 of 3 records are members in one run and nonmembers in the other'
    """
    _, here, there = np.intersect1d(first.ids, second.ids, return_indices=True)
    shared, most = len(here), max(len(first.ids), len(second.ids))
    if shared < most:
        return f"{shared:,} of {most:,} records are audited in both runs" if shared else "no record is audited in both"
    moved = int((first.members[here] != second.members[there]).sum())
    if moved:
        return f"{moved:,} of {most:,} records are members in one run and nonmembers in the other"
    if not _same_partition(first.groups, second.groups, here, there):
        return "related records are grouped otherwise in the two runs"
    return Matched(here, there)


def _same_partition(
    first: IntArray | None, second: IntArray | None, here: npt.NDArray[np.intp], there: npt.NDArray[np.intp]
) -> bool:
    """Whether the same records are together; without groups each is alone, and numbers of groups do not matter."""
    alone = np.arange(len(here), dtype=np.int64)
    a, b = (alone if groups is None else groups[places] for groups, places in ((first, here), (second, there)))
    both = len(np.unique(np.stack((a, b)), axis=1).T)
    return both == len(np.unique(a)) == len(np.unique(b))


def paired_difference(
    first: FloatArray,
    second: FloatArray,
    members: BoolArray,
    metric: str,
    names: Sequence[str],
    rows: int,
    groups: IntArray | None = None,
    thresholds: tuple[float, float] | None = None,
) -> Difference:
    """Return the figure of the first score minus that of the second, on the same records.

    AUC and TPR at an FPR: `auc_difference`, `tpr_difference`. Balanced accuracy at thresholds that were fixed
    beforehand is the AUC of "accused or not", so it is `auc_difference` of these.

    Args:
        first: float64 [n], higher = member.
        second: float64 [n], scores of the same records.
        members: bool [n].
        metric: auc, tpr@fpr=<a> or balanced_accuracy.
        names: of the comparison, which name the stream of its random numbers.
        rows: of the family for Holm's method. A bootstrap whose p-value is below 5% is drawn again with as many
            resamples as let it be significant in that family.
        groups: int64 [n], groups of related records; None: records are independent.
        thresholds: of both scores, for balanced accuracy.
    """
    if metric == "balanced_accuracy":
        if thresholds is None:
            return Difference(None, None, None, None, "no a-priori threshold")
        first, second = (
            (scores >= threshold).astype(np.float64)
            for scores, threshold in zip((first, second), thresholds, strict=True)
        )
    if not metric.startswith(_TPR):
        return auc_difference(first, second, members, _LEVEL, groups)
    alpha = float(metric.removeprefix(_TPR))

    def drawn(resamples: int) -> Difference:
        rng = stream(0, "between runs", *names, metric, resamples)
        return tpr_difference(first, second, members, alpha, rng, resamples, _LEVEL, groups)

    found, more = drawn(_RESAMPLES), _RESAMPLES_A_ROW * rows
    if found.p_value is None or found.p_value > 1 - _LEVEL or more <= _RESAMPLES:
        return found
    return drawn(more)


def saturated_note(scores: FloatArray, members: BoolArray, metric: str) -> str | None:
    """Return why a score has no difference of a TPR from another, see `saturated`; None for other metrics."""
    return saturated(scores[~members], float(metric.removeprefix(_TPR))) if metric.startswith(_TPR) else None


def independent_difference(first: Figure, second: Figure, covered: float = 0.0) -> Difference:
    """Return the first figure minus the second, of audits that are taken as independent, from their own intervals.

    Square-and-add (MOVER): the distances from value to interval end that lie towards each other are added in squares.
    The p-value is two-sided. It is 5% where an end of the interval is 0; elsewhere the distance is taken as that many
    standard errors of a normal variable. In simulations without a difference (400 and 1,000 records a side, AUCs of .5
    to .98, 1,500 rounds) levels of 5%, 1% and 0.2% are held by the AUC and far from reached by a TPR.

    Args:
        first: with its 95% interval.
        second: with its 95% interval, in the same metric.
        covered: covariance of the figures, of audits that share records; see `covariance`. A negative one, as where
            members of one audit are nonmembers of the other, widens the interval; a positive one is not used.

    Source: Zou & Donner (Statistics in Medicine 2008).

    Examples:
        >>> old, new = (Figure("auc", value, value - 0.03, value + 0.03, 500, 500) for value in (0.6, 0.7))
        >>> found = independent_difference(new, old)
        >>> round(found.value, 3), round(found.low, 3), round(found.high, 3), round(found.p_value, 6)
        (0.1, 0.058, 0.142, 4e-06)
    """
    ends = (first.value, first.low, first.high, second.value, second.low, second.high)
    if any(end is None for end in ends):
        why = first.note if first.value is None or first.low is None or first.high is None else second.note
        return Difference(None, None, None, None, why or "not resolvable")
    a, a_low, a_high, b, b_low, b_high = (float(end or 0.0) for end in ends)
    z = float(scipy.stats.norm.isf((1 - _LEVEL) / 2))
    more = 2 * z**2 * max(0.0, -covered)
    value = a - b
    below = math.sqrt((a - a_low) ** 2 + (b_high - b) ** 2 + more)
    above = math.sqrt((a_high - a) ** 2 + (b - b_low) ** 2 + more)
    towards_none = below if value > 0 else above
    p_value = 1.0 if value == 0 or towards_none == 0 else float(2 * scipy.stats.norm.sf(z * abs(value) / towards_none))
    return Difference(value, max(-1.0, value - below), min(1.0, value + above), p_value)


def covariance(first: LinearisedFigure | None, second: LinearisedFigure | None) -> float:
    """Return the covariance of two figures over the units that both have; 0 where a figure has no shares."""
    if first is None or second is None:
        return 0.0
    shares = shares_by_unit([first, second])
    return float(shares[0] @ shares[1])


def accuracy_difference(
    first: FloatArray, second: FloatArray, members: BoolArray, groups: IntArray | None = None
) -> Difference:
    """Return the accuracy of the first model on nonmembers minus that of the second, on the same records.

    The share of nonmembers that are right is 2 (1 - AUC) of a score that is 1 for members and for nonmembers that are
    right, and 0 for others; so this is `auc_difference` of two such scores.

    Args:
        first: float64 [n], 1 where the model is right, else 0.
        second: float64 [n], of the other model.
        members: bool [n].
        groups: int64 [n], groups of related records; None: records are independent.
    """
    a, b = (np.where(members, 1.0, right) for right in (first, second))
    found = auc_difference(a, b, members, _LEVEL, groups)
    if found.value is None or found.low is None or found.high is None:
        return found
    return replace(found, value=-2 * found.value, low=max(-1.0, -2 * found.high), high=min(1.0, -2 * found.low))


def independent_accuracies(
    first: tuple[float, float], second: tuple[float, float]
) -> tuple[float, tuple[float, float]]:
    """Return the difference of two accuracies on independent records, and its interval (`rate_difference`).

    Args:
        first: accuracy, and number of independent records.
        second: the same of the other model.
    """
    (a, m), (b, n) = first, second
    return a - b, rate_difference(a * m, m, b * n, n, _LEVEL)


def independent_nonmembers(members: BoolArray, groups: IntArray | None) -> float:
    """Return how many independent nonmembers know as much as these, where related ones agree (`Side.equivalent`)."""
    return sides(members, groups)[1].equivalent


def adjusted(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted by Holm's method; a comparison without one counts as p = 1 and stays without."""
    if not p_values:
        return []
    found = holm(np.array([1.0 if p is None else p for p in p_values]))
    return [None if p is None else float(q) for p, q in zip(p_values, found, strict=True)]
