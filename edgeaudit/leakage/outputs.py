"""How coarse a format's answers are: few distinct values tie records, and ties hide or fake leakage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeaudit.errors import AttackError
from edgeaudit.leakage.roc import FloatArray

__all__ = ["Granularity", "granularity"]


@dataclass(frozen=True)
class Granularity:
    """distinct: number of different values. tie_mass: share of records whose value another record has too."""

    distinct: int
    tie_mass: float


def granularity(true_class: FloatArray) -> Granularity:
    """Distinct values and tie mass of the target's true-class probabilities, compared bit for bit.

    Args:
        true_class: float [n], unclipped (`probabilities(answers, exposure)[rows, labels]`): clipping makes ties of
            its own. For logits pass margins (`true_class_margin`), since float64 softmax rounds to 1 from 37 nats on.

    Raises:
        AttackError: no records, or one that is not finite.
    """
    if true_class.ndim != 1 or not len(true_class) or not np.isfinite(true_class).all():
        raise AttackError(f"tie mass needs one finite value per record: {true_class.shape}")
    _, counts = np.unique(true_class, return_counts=True)
    return Granularity(len(counts), float(counts[counts > 1].sum() / len(true_class)))
