"""Differences between two devices' answers to the same records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Differing", "differing"]


Decide = Callable[[npt.NDArray[np.floating]], npt.NDArray[np.integer] | None]


@dataclass(frozen=True)
class Differing:
    """Differences between the answers of two devices to the same records.

    records: number of records. rows: records with unequal answers. max_abs: largest absolute difference, in the
    artifact's units (logits, or probabilities where its softmax is inside). top1: records whose predicted class differs
    (the first of equally large outputs).
    """

    records: int
    rows: int
    max_abs: float
    top1: int


def differing(
    first: npt.NDArray[np.floating], second: npt.NDArray[np.floating], decide: Decide | None = None
) -> Differing:
    """Compare answers [records, classes] of one artifact on two devices. Raises `ValueError` for unequal shapes.

    decide: answers -> the predicted class of each, or None for tasks without classes, of which none differs. By default
    the first of the largest outputs.

    Examples:
        >>> import numpy as np
        >>> here, there = np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([[0.75, 0.25], [0.75, 0.25]])
        >>> differing(here, there)
        Differing(records=2, rows=1, max_abs=0.5, top1=1)
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"answers must have the same shape [records, classes]: {first.shape} and {second.shape}")
    unequal = (first != second) & ~(np.isnan(first) & np.isnan(second))
    deviation = np.abs(first.astype(np.float64) - second.astype(np.float64))[unequal]
    one, other = (a.argmax(axis=1) if decide is None else decide(a) for a in (first, second))
    top1 = 0 if one is None or other is None else int((one != other).sum())
    return Differing(len(first), int(unequal.any(axis=1).sum()), float(deviation.max(initial=0.0)), top1)
