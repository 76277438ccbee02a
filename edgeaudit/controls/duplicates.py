"""Copies and near-copies of members among the nonmembers: the model has in effect trained on these nonmembers."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from edgeaudit.controls.base import Control, Status
from edgeaudit.leakage.intervals import clopper_pearson

__all__ = ["COSINE", "DuplicateCounts", "copies", "near_copies", "nearest_cosines"]

COSINE = 0.999
"""Cosine similarity above which two records are near-copies."""
MANY = 0.01
"""Share of near-copies among nonmembers above which the control warns."""
_BLOCK = 512


class DuplicateCounts(TypedDict):
    """Counts of a population.

    records: all. duplicates: exact copies of another. conflicting_labels: groups of copies with different labels.
    moved: listed nonmembers that were copies of members and were removed.
    """

    records: int
    duplicates: int
    conflicting_labels: int
    moved: int


def copies(members: npt.NDArray[Any], nonmembers: npt.NDArray[Any], counts: DuplicateCounts) -> Control:
    """Fail where a nonmember is a byte-for-byte copy of a member; the population keeps groups of copies on one side.

    counts: of the population.
    """
    crossing = int(np.isin(_as_bytes(nonmembers), _as_bytes(members)).sum())
    notes = [f"{counts['duplicates']} of {counts['records']} records are exact copies of another"]
    if counts["conflicting_labels"]:
        notes.append(f"{counts['conflicting_labels']} groups of copies have conflicting labels")
    if counts["moved"]:
        notes.append(f"{counts['moved']} listed nonmembers were copies of members and were removed")
    statement = (
        f"{crossing} nonmembers are exact copies of members"
        if crossing
        else "no nonmember is an exact copy of a member"
    )
    share = crossing / len(nonmembers)
    low, high = clopper_pearson(crossing, len(nonmembers))
    status: Status = "failed" if crossing else "holds"
    return Control("duplicates", status, statement, share, low, high, n=len(nonmembers), note="; ".join(notes))


def near_copies(
    members: npt.NDArray[np.float32],
    nonmembers: npt.NDArray[np.float32],
    overlapping: npt.NDArray[np.bool_] | None = None,
) -> Control:
    """Warn where more than `MANY` of the nonmembers are near-copies of a member, or overlap one.

    members, nonmembers: standardised, [n, ...]. overlapping: whether each nonmember shares a stretch of values with a
    member (`edgeaudit.controls.overlap`), bool [nonmembers]; None where that was not examined.
    """
    near = nearest_cosines(nonmembers, members) > COSINE
    shared = np.zeros(len(near), np.bool_) if overlapping is None else overlapping
    hits = int((near | shared).sum())
    share = hits / len(nonmembers)
    low, high = clopper_pearson(hits, len(nonmembers))
    statement = (
        f"{int(near.sum())} of {len(nonmembers)} nonmembers are almost identical to a member (cosine above {COSINE:g})"
    )
    note = "attacks score near-copies of members as members, which biases every figure downwards"
    if shared.any():
        statement += f", and {int(shared.sum())} share a stretch of values with one, as windows that overlap do"
        note += "; name the recording that each window is of in data.groups, which keeps it on one side"
    status: Status = "warning" if share > MANY else "holds"
    return Control(
        "near duplicates", status, statement, share, low, high, n=len(nonmembers), note=note if share > MANY else None
    )


def nearest_cosines(records: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return each record's largest cosine similarity with any of `others`, float32 [n]; computed in blocks.

    Each image of [n, C, H, W] is centred by itself, so that two bright images are not similar for their brightness. A
    record without variation has cosine 0 with every other.
    """
    left, right = _directions(records), _directions(others)
    best = np.full(len(left), -1.0, dtype=np.float32)
    for row in range(0, len(left), _BLOCK):
        for column in range(0, len(right), _BLOCK):
            cosines = left[row : row + _BLOCK] @ right[column : column + _BLOCK].T
            best[row : row + _BLOCK] = np.maximum(best[row : row + _BLOCK], cosines.max(axis=1))
    return best


def _directions(records: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    flat = records.reshape(len(records), -1).astype(np.float32)
    if records.ndim > 2:
        flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    directions: npt.NDArray[np.float32] = np.divide(flat, length, out=np.zeros_like(flat), where=length > 1e-6)
    return directions


def _as_bytes(records: npt.NDArray[Any]) -> npt.NDArray[Any]:
    rows = np.ascontiguousarray(records).reshape(len(records), -1)
    return rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
