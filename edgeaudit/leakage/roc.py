"""The ROC curve of scores with ties; member where score >= threshold, higher = member."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from edgeaudit.errors import AttackError

__all__ = [
    "BoolArray",
    "FloatArray",
    "IntArray",
    "OperatingPoint",
    "Roc",
    "allowed_false_positives",
    "auc",
    "nonmembers_needed",
    "roc",
    "split_scores",
    "thin",
    "tpr_at_fpr",
]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


def split_scores(scores: FloatArray, members: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return the scores of the members and those of the nonmembers, float64.

    Raises:
        AttackError: shapes differ, `members` is not bool, a score is NaN or infinite (no record is dropped), or there
            are no members or no nonmembers.
    """
    if scores.shape != members.shape or scores.ndim != 1 or members.dtype != np.bool_:
        raise AttackError(
            f"scores {scores.shape} and memberships {members.shape} ({members.dtype}) must be one-dimensional, of one "
            "length, and memberships bool"
        )
    if not np.isfinite(scores).all():
        raise AttackError(f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are NaN or infinite")
    if members.all() or not members.any():
        raise AttackError("figures need at least one member and one nonmember")
    values = np.asarray(scores, dtype=np.float64)
    return values[members], values[~members]


@dataclass(frozen=True)
class Roc:
    """A ROC curve: (0, 0), then one point per distinct score, the last of which is (1, 1).

    thresholds: float64 [points], decreasing; inf for (0, 0). true_positives, false_positives: int64 [points], counts
    of score >= threshold.
    """

    thresholds: FloatArray
    true_positives: IntArray
    false_positives: IntArray
    n_members: int
    n_nonmembers: int

    @property
    def tpr(self) -> FloatArray:
        """True positive rate, float64 [points]."""
        return np.asarray(self.true_positives / self.n_members, dtype=np.float64)

    @property
    def fpr(self) -> FloatArray:
        """False positive rate, float64 [points]."""
        return np.asarray(self.false_positives / self.n_nonmembers, dtype=np.float64)


def roc(scores: FloatArray, members: BoolArray) -> Roc:
    """Return the ROC curve, with thresholds between groups of tied scores only: equal scores get equal decisions.

    Args:
        scores: float [n], finite.
        members: bool [n].

    Examples:
        >>> import numpy as np
        >>> curve = roc(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False]))
        >>> curve.tpr.tolist(), curve.fpr.tolist()
        ([0.0, 0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5, 1.0])
    """
    inside, outside = (np.sort(part) for part in split_scores(scores, members))
    values = np.unique(scores)[::-1].astype(np.float64)
    return Roc(
        thresholds=np.concatenate(([np.inf], values)),
        true_positives=np.concatenate(([0], len(inside) - np.searchsorted(inside, values))).astype(np.int64),
        false_positives=np.concatenate(([0], len(outside) - np.searchsorted(outside, values))).astype(np.int64),
        n_members=len(inside),
        n_nonmembers=len(outside),
    )


def auc(scores: FloatArray, members: BoolArray) -> float:
    """Return P[member > nonmember] + P[equal] / 2, by midranks (Mann-Whitney); the area under the chords of `roc`.

    Examples:
        >>> import numpy as np
        >>> auc(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False]))
        0.75
    """
    inside, outside = split_scores(scores, members)
    m, n = len(inside), len(outside)
    ranks = scipy.stats.rankdata(np.concatenate((inside, outside)))
    return float((ranks[:m].sum() - m * (m + 1) / 2) / (m * n))


@dataclass(frozen=True)
class OperatingPoint:
    """TPR at an FPR of at most alpha. tpr, realised_fpr, threshold: None where not resolvable; see note."""

    tpr: float | None
    realised_fpr: float | None
    true_positives: int
    false_positives: int
    n_members: int
    n_nonmembers: int
    threshold: float | None
    note: str | None


def allowed_false_positives(alpha: float, n_nonmembers: int) -> int:
    """Return the largest f with f / n_nonmembers <= alpha: floor(alpha * n) in exact arithmetic (0.29 * 100 -> 29)."""
    if not 0 <= alpha <= 1:
        raise AttackError(f"a false positive rate must be between 0 and 1: {alpha}")
    allowed = min(n_nonmembers, int(alpha * n_nonmembers) + 1)
    while allowed / n_nonmembers > alpha:
        allowed -= 1
    return allowed


def nonmembers_needed(alpha: float) -> int:
    """Return the smallest number of nonmembers of which one is a share of at most `alpha` > 0: .001 -> 1000."""
    needed = max(1, int(1 / alpha) - 1)
    while 1 / needed > alpha:
        needed += 1
    return needed


def tpr_at_fpr(scores: FloatArray, members: BoolArray, alpha: float) -> OperatingPoint:
    """Return the largest TPR among the points of `roc` with FPR <= alpha, without interpolation.

    Not resolvable (all None, with a note) where alpha is less than one nonmember, and where the group tied at the
    highest score has more nonmembers than alpha allows, so that only (0, 0) remains.

    Args:
        scores: float [n].
        members: bool [n].
        alpha: in (0, 1].

    Examples:
        >>> import numpy as np
        >>> scores, members = np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False])
        >>> tpr_at_fpr(scores, members, 0.5).tpr
        1.0
        >>> tpr_at_fpr(scores, members, 0.01).note
        'not resolvable: 0.01 of 2 nonmembers is less than one record; 100 nonmembers are needed'
    """
    curve = roc(scores, members)
    m, n = curve.n_members, curve.n_nonmembers
    allowed = allowed_false_positives(alpha, n)
    if allowed < 1:
        note = (
            f"not resolvable: {alpha:g} of {n} nonmembers is less than one record; "
            f"{nonmembers_needed(alpha)} nonmembers are needed"
        )
        return OperatingPoint(None, None, 0, 0, m, n, None, note)
    point = int(np.searchsorted(curve.false_positives, allowed, side="right")) - 1
    if point == 0:
        note = (
            f"not resolvable: no threshold has an FPR of {alpha:g}, since {int(curve.true_positives[1])} members and "
            f"{int(curve.false_positives[1])} nonmembers tie at the highest score, and {allowed} of {n} nonmembers are "
            "allowed"
        )
        return OperatingPoint(None, None, 0, 0, m, n, None, note)
    hits, alarms = int(curve.true_positives[point]), int(curve.false_positives[point])
    return OperatingPoint(hits / m, alarms / n, hits, alarms, m, n, float(curve.thresholds[point]), None)


def thin(curve: Roc, points: int = 200) -> tuple[FloatArray, FloatArray]:
    """Return FPR and TPR of at most about 3 * `points` points of the curve, for linear and log-log plots.

    They are the points nearest to evenly spaced FPR, log FPR and log TPR, the first (0, 0), the last (1, 1).
    """
    fpr, tpr = curve.fpr, curve.tpr
    grids = (
        np.searchsorted(fpr, np.linspace(0, 1, points), side="right") - 1,
        np.searchsorted(fpr, np.geomspace(1 / curve.n_nonmembers, 1, points), side="right") - 1,
        np.searchsorted(tpr, np.geomspace(1 / curve.n_members, 1, points)),
    )
    kept = np.unique(np.concatenate(([0, len(fpr) - 1], *grids)))
    return fpr[kept], tpr[kept]
