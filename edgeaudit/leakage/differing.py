"""How two devices' answers to the same records differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Differing", "differing"]


@dataclass(frozen=True)
class Differing:
    """Of `records` answered in two places: `rows` differ in some bit that a comparison sees.

    max_abs: the largest difference of an answer, in the artifact's own units (logits, or probabilities where its
    softmax is inside). top1: records whose largest class is another (the first where several are largest).
    """

    records: int
    rows: int
    max_abs: float
    top1: int


def differing(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> Differing:
    """Compare answers [records, classes] of one artifact in two places. ValueError for other shapes.

    Examples:
        >>> import numpy as np
        >>> here, there = np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([[0.75, 0.25], [0.75, 0.25]])
        >>> differing(here, there)
        Differing(records=2, rows=1, max_abs=0.5, top1=1)
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"answers of shape {first.shape} and {second.shape} are not of the same records")
    unequal = (first != second) & ~(np.isnan(first) & np.isnan(second))
    off = np.abs(first.astype(np.float64) - second.astype(np.float64))[unequal]
    top1 = first.argmax(axis=1) != second.argmax(axis=1)
    return Differing(len(first), int(unequal.any(axis=1).sum()), float(off.max(initial=0.0)), int(top1.sum()))
