"""Linearised figures: the share of each record in a figure's deviation from its expectation.

A figure's variance over records is the sum of the squared shares (by group, where records are related), and the
covariance of two figures on the same records the sum of their products. Intervals over several targets need it, since
targets share records.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import delong, placements
from edgeaudit.leakage.operating_points import accused_rank, members_above
from edgeaudit.leakage.roc import BoolArray, FloatArray, IntArray, split_scores

__all__ = [
    "LinearisedFigure",
    "auc_shares",
    "balanced_accuracy_shares",
    "shares_by_unit",
    "target_figure",
    "tpr_shares",
]

_TPR = "tpr@fpr="


@dataclass(frozen=True)
class LinearisedFigure:
    """A figure of one target, with what each record contributes to it; for `pipeline_mean`.

    value: the figure. units: int64 [n], the id of each audited record, the same in every target; where records are
    related the id of its group. shares: float64 [n], each record's term in the figure's linearisation, in the order of
    `units`. upper: what the mean's upper end is centred on; None: value.
    """

    value: float
    units: IntArray
    shares: FloatArray
    upper: float | None = None


def target_figure(
    scores: FloatArray, members: BoolArray, metric: str, units: IntArray, threshold: float | None = None
) -> LinearisedFigure | None:
    """Return a figure of one target with its shares; None where it is not resolvable.

    The upper end of a TPR is centred on the rank alpha (n + 1) + 1/2: the figure's own rank is rounded down, and a
    concave ROC curve at a scattered threshold lies below the curve at alpha by up to half a rank. In one target that is
    less than its interval; the mean of 16 would miss the truth in 11 to 15% instead of 2.5% (370 nonmembers at 1%).

    Args:
        scores: float64 [n], higher = member.
        members: bool [n].
        metric: auc, tpr@fpr=<a>, balanced_accuracy or advantage. A TPR needs a rank of 2: 199 nonmembers at 1%.
        units: int64 [n], see `LinearisedFigure`.
        threshold: of balanced accuracy and advantage; None: they are not resolvable.

    Raises:
        AttackError: another metric, or see `split_scores`.
    """
    if metric == "auc":
        return LinearisedFigure(delong(scores, members).auc, units, auc_shares(scores, members))
    if metric in {"balanced_accuracy", "advantage"}:
        if threshold is None:
            return None
        inside, outside = split_scores(scores, members)
        even = (1 + float((inside >= threshold).mean()) - float((outside >= threshold).mean())) / 2
        shares = balanced_accuracy_shares(scores, members, threshold)
        if metric == "advantage":
            return LinearisedFigure(2 * even - 1, units, 2 * shares)
        return LinearisedFigure(even, units, shares)
    if not metric.startswith(_TPR):
        raise AttackError(f"'{metric}' has no figure over targets; auc, tpr@fpr=<rate> and balanced_accuracy have one")
    alpha = float(metric.removeprefix(_TPR))
    inside, outside = split_scores(scores, members)
    m, n = len(inside), len(outside)
    rank = accused_rank(alpha, n)
    if rank < 2:
        return None
    above = members_above(inside, outside)
    upper = float(np.interp(min(alpha * (n + 1) + 0.5, n + 1), np.arange(n + 2), above))
    return LinearisedFigure(float(above[rank]) / m, units, tpr_shares(scores, members, alpha), upper / m)


def shares_by_unit(figures: Sequence[LinearisedFigure]) -> FloatArray:
    """Return the shares of every unit in every figure, float64 [figures, units]; those of one unit are summed.

    Raises:
        AttackError: a figure's units and shares do not fit.
    """
    units = np.unique(np.concatenate([figure.units for figure in figures])) if figures else np.empty(0)
    shares = np.zeros((len(figures), len(units)))
    for row, figure in zip(shares, figures, strict=True):
        if figure.units.ndim != 1 or figure.units.shape != figure.shares.shape:
            raise AttackError(f"a figure has {figure.units.shape} records and {figure.shares.shape} shares")
        np.add.at(row, np.searchsorted(units, figure.units), figure.shares)
    return shares


def auc_shares(scores: FloatArray, members: BoolArray) -> FloatArray:
    """Return each record's term in the AUC's linearisation, float64 [n]; they sum to 0 on each side.

    Args:
        scores: float64 [n], higher = member.
        members: bool [n].

    Source: DeLong, DeLong & Clarke-Pearson (Biometrics 1988).
    """
    of_members, of_nonmembers = placements(scores, members)
    shares = np.empty(len(scores))
    shares[members] = (of_members - of_members.mean()) / len(of_members)
    shares[~members] = (of_nonmembers - of_nonmembers.mean()) / len(of_nonmembers)
    return shares


def tpr_shares(scores: FloatArray, members: BoolArray, alpha: float) -> FloatArray:
    """Return each record's term in the linearisation of the TPR at FPR `alpha`, float64 [n].

    A member enters by whether it is accused, a nonmember by how it moves the threshold: the slope of the ROC curve at
    alpha times its own indicator. The slope is a difference quotient over one standard deviation of the number of
    nonmembers above the threshold, to either side.

    Args:
        scores: float64 [n], higher = member.
        members: bool [n].
        alpha: in (0, 1), with `accused_rank` of at least 1.

    Raises:
        AttackError: there are too few nonmembers for alpha.

    Source: the ROC curve's asymptotic variance, Hsieh & Turnbull (Annals of Statistics 1996), theorem 2.2.
    """
    inside, outside = scores[members], scores[~members]
    m, n = len(inside), len(outside)
    rank = accused_rank(alpha, n)
    if rank < 1:
        raise AttackError(f"an FPR of {alpha:g} is not resolvable with {n} nonmembers")
    above = members_above(inside, outside)
    spread = max(1, round(math.sqrt(rank)))
    first, last = max(0, rank - spread), min(n + 1, rank + spread)
    slope = (above[last] - above[first]) / m / ((last - first) / (n + 1))
    threshold = np.sort(outside)[::-1][rank - 1]
    accused = (scores > threshold) + 0.5 * (scores == threshold)
    shares = np.empty(len(scores))
    shares[members] = (accused[members] - accused[members].mean()) / m
    shares[~members] = -slope * (accused[~members] - accused[~members].mean()) / n
    return shares


def balanced_accuracy_shares(scores: FloatArray, members: BoolArray, threshold: float) -> FloatArray:
    """Return each record's term in balanced accuracy at a threshold fixed beforehand, float64 [n].

    Args:
        scores: float64 [n], higher = member.
        members: bool [n].
        threshold: member where score >= threshold.
    """
    accused = (scores >= threshold).astype(np.float64)
    shares = np.empty(len(scores))
    for side, sign in ((members, 1.0), (~members, -1.0)):
        shares[side] = sign * (accused[side] - accused[side].mean()) / (2 * int(side.sum()))
    return shares
