"""Differences between two devices' answers to the same records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Differing", "differing"]


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


def differing(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> Differing:
    """Compare answers [records, classes] of one artifact on two devices. Raises `ValueError` for unequal shapes.

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
    top1 = first.argmax(axis=1) != second.argmax(axis=1)
    return Differing(len(first), int(unequal.any(axis=1).sum()), float(deviation.max(initial=0.0)), int(top1.sum()))
