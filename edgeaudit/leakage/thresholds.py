"""The threshold behind a figure, found again from the figure's rates and the scores."""

from __future__ import annotations

import math

import numpy as np

from edgeaudit.leakage.roc import BoolArray, FloatArray

__all__ = ["AT_THRESHOLD", "threshold_of"]

AT_THRESHOLD = ("balanced_accuracy", "advantage")
"""Figures at the a-priori threshold that determine both of its rates."""


def threshold_of(
    metric: str, value: float | None, realised_fpr: float | None, scores: FloatArray, members: BoolArray
) -> float | None:
    """Return a threshold that accuses the same records as the one of a stored figure; None for figures without one.

    A threshold accuses the records with the highest scores, so the number of accused records determines them.

    Args:
        metric: of the figure.
        value: of the figure.
        realised_fpr: its FPR.
        scores: float64 [n], those of the figure.
        members: bool [n].

    Examples:
        >>> scores, members = np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, True, False, False])
        >>> threshold_of("advantage", 0.5, 0.0, scores, members)
        4.0
    """
    if metric not in AT_THRESHOLD or value is None or realised_fpr is None:
        return None
    advantage = value if metric == "advantage" else 2 * value - 1
    outside = int((~members).sum())
    accused = round((advantage + realised_fpr) * (len(members) - outside) + realised_fpr * outside)
    return float(np.sort(scores)[::-1][accused - 1]) if accused else math.inf
