"""Conformal p-values: the rank of a score among those of known nonmembers, with out masks that make both comparable."""

from __future__ import annotations

import numpy as np

from edgeaudit.attacks.evidence import BoolArray, FloatArray, IntArray
from edgeaudit.attacks.out_statistics import out_statistics

__all__ = ["comparable_masks", "conformal_p", "lent_masks"]


def conformal_p(scores: FloatArray, nonmembers: FloatArray) -> FloatArray:
    """Return (1 + #{nonmembers z: s(z) >= s}) / (m + 1), float64 [n]; valid under exchangeability, also with ties."""
    below = np.searchsorted(np.sort(nonmembers), scores, side="left")
    return np.asarray((1 + len(nonmembers) - below) / (len(nonmembers) + 1), dtype=np.float64)


def comparable_masks(
    phi: FloatArray, out: BoolArray, known_phi: FloatArray, known_out: BoolArray
) -> tuple[BoolArray, BoolArray]:
    """Return out masks under which audited records [K, n] and known nonmembers [K, m] are exchangeable.

    In the adversary threat model shadows trained on known records and on no audited one; in auditor mode it is the
    other way round. Estimates for a record with more OUT shadows are more precise, so the two kinds of records would be
    scored differently. The side that no shadow trained on takes `lent_masks` of the other. Where shadows trained on
    both sides or on neither, the masks do not change.
    """
    if not phi.shape[1] or not known_phi.shape[1]:
        return out, known_out
    if out.all():
        return lent_masks(phi, out, known_phi, known_out, numbered=True), known_out
    if known_out.all():
        return out, lent_masks(known_phi, known_out, phi, out, numbered=True)
    return out, known_out


def lent_masks(
    phi: FloatArray, out: BoolArray, known_phi: FloatArray, known_out: BoolArray, *, numbered: bool = False
) -> BoolArray:
    """Return out masks, bool [K, n]: records that are OUT for all shadows take the mask of a known record (the lender).

    The shadows that trained on the lender are unrelated to the borrowing record, so any random choice of lenders is
    valid. The choice depends on the record's rank in mean OUT phi among the known records, and so neither on the order
    of records nor on which other records are scored.

    The lender must not be the neighbour in mean phi itself: where answers lie on a grid, a mean over 30 OUT shadows can
    be next above one over 64 only for some numbers of shadows, and all lent masks would have these sizes.

    Args:
        phi: the shadows' margins [K, n], or another signal of difficulty.
        out: bool [K, n].
        known_phi: the same signal of m known records, [K, m]; m at least 1.
        known_out: bool [K, m], with at least one OUT shadow a record.
        numbered: give records with equal means, of which integer outputs have many, different lenders in turn. With one
            shared lender their scores are correlated, and the rates of p-values have a larger variance; with different
            lenders equal answers do not get equal scores. So set it for p-values, and not for a ranking.
    """
    keys = out_statistics(known_phi, known_out).mean
    order = np.argsort(keys, kind="stable")
    means = out_statistics(phi, out).mean
    drawn = order[np.random.default_rng(2).permutation(len(order))]
    rank = np.searchsorted(keys[order], means) + (_numbered(means) if numbered else 0)
    lender = drawn[rank % len(order)]
    return np.where(out.all(axis=0), known_out[:, lender], out)


def _numbered(values: FloatArray) -> IntArray:
    """Return the number of equal values before each value, int64 [n]: [5, 7, 5, 5] -> [0, 0, 1, 2]."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    position = np.arange(len(values), dtype=np.int64)
    first = np.maximum.accumulate(np.where(np.r_[True, ordered[1:] != ordered[:-1]], position, 0))
    numbers = np.empty(len(values), dtype=np.int64)
    numbers[order] = position - first
    return numbers
