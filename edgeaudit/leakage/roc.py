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
    "Roc",
    "auc",
    "roc",
    "split_scores",
    "thin",
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
