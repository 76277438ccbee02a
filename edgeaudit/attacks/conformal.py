"""Conformal p-values: a score's rank among the scores of known nonmembers, and what makes the two comparable."""

from __future__ import annotations

import numpy as np

from edgeaudit.attacks.evidence import BoolArray, FloatArray, IntArray
from edgeaudit.attacks.out_statistics import out_statistics

__all__ = ["comparable_masks", "conformal_p", "lent_masks"]


def conformal_p(scores: FloatArray, nonmembers: FloatArray) -> FloatArray:
    """(1 + #{nonmembers z: s(z) >= s}) / (m + 1), float64 [n]: valid under exchangeability, also where scores tie."""
    below = np.searchsorted(np.sort(nonmembers), scores, side="left")
    return np.asarray((1 + len(nonmembers) - below) / (len(nonmembers) + 1), dtype=np.float64)


def comparable_masks(
    phi: FloatArray, out: BoolArray, known_phi: FloatArray, known_out: BoolArray
) -> tuple[BoolArray, BoolArray]:
    """Out masks under which audited records [K, n] and known nonmembers [K, m] are exchangeable.

    In the adversary's model shadows trained on known records and on no audited one; in the auditor's it is the other
    way round. A record with more OUT shadows is known better, so the two would be scored unlike. The side that no
    shadow trained on takes `lent_masks` of the other; where both or neither are untouched, masks stay as they are.
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
    """Out masks bool [K, n]: every record that is OUT for all shadows gets that of a known record, others keep theirs.

    Which shadows trained on the lender has nothing to do with the borrower, so any draw of lenders is fair. It is drawn
    by the borrower's place among the known records in mean OUT phi, which depends neither on the order of records nor
    on which others are scored.

    The lender is no neighbour of the borrower in mean phi: where answers lie on a grid, a mean over 30 OUT shadows
    can be next above one over 64 only for some numbers of shadows, and lent masks would be of these sizes alone.

    Args:
        phi: the shadows' margins [K, n], or another signal of difficulty.
        out: bool [K, n].
        known_phi: the same of m known records, [K, m]; m at least 1.
        known_out: bool [K, m], an OUT shadow or more for each.
        numbered: let borrowers of one mean, of which integer outputs have many, take one lender after another. With one
            lender for all of them their scores rise and fall together, and rates of p-values scatter; without, equal
            answers would not get equal scores. So it is right for p-values, and wrong for a ranking.
    """
    keys = out_statistics(known_phi, known_out).mean
    order = np.argsort(keys, kind="stable")
    own = out_statistics(phi, out).mean
    drawn = order[np.random.default_rng(2).permutation(len(order))]
    place = np.searchsorted(keys[order], own) + (_numbered(own) if numbered else 0)
    lender = drawn[place % len(order)]
    return np.where(out.all(axis=0), known_out[:, lender], out)


def _numbered(values: FloatArray) -> IntArray:
    """How many equal values stand before each, int64 [n]: [5, 7, 5, 5] -> [0, 0, 1, 2]."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    place = np.arange(len(values), dtype=np.int64)
    first = np.maximum.accumulate(np.where(np.r_[True, ordered[1:] != ordered[:-1]], place, 0))
    numbers = np.empty(len(values), dtype=np.int64)
    numbers[order] = place - first
    return numbers
