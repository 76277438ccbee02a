"""Conformal p-values: a score's rank among the scores of known nonmembers, and what makes the two comparable."""

from __future__ import annotations

import numpy as np

from edgeaudit.attacks.base import BoolArray, FloatArray
from edgeaudit.attacks.out_statistics import out_statistics

__all__ = ["conformal_p", "lent_masks"]


def conformal_p(scores: FloatArray, nonmembers: FloatArray) -> FloatArray:
    """(1 + #{nonmembers z: s(z) >= s}) / (m + 1), float64 [n]: valid under exchangeability, also where scores tie."""
    below = np.searchsorted(np.sort(nonmembers), scores, side="left")
    return np.asarray((1 + len(nonmembers) - below) / (len(nonmembers) + 1), dtype=np.float64)


def lent_masks(phi: FloatArray, out: BoolArray, known_phi: FloatArray, known_out: BoolArray) -> BoolArray:
    """Out masks bool [K, n]: every record that is OUT for all shadows gets that of a known record, others keep theirs.

    The lender is the first at or above the record in mean OUT phi. The choice stands for a draw: which shadows trained
    on the lender has nothing to do with the record, and unlike a draw it depends neither on the order of records nor
    on which others are asked.

    Args:
        phi: the shadows' margins [K, n], or another signal of difficulty.
        out: bool [K, n].
        known_phi: the same of m known records, [K, m]; m at least 1.
        known_out: bool [K, m], an OUT shadow or more for each.
    """
    keys = out_statistics(known_phi, known_out).mean
    order = np.argsort(keys, kind="stable")
    own = out_statistics(phi, out).mean
    lender = order[np.minimum(np.searchsorted(keys[order], own), len(order) - 1)]
    return np.where(out.all(axis=0), known_out[:, lender], out)
