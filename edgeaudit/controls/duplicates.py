"""Copies and near-copies of members among the nonmembers: a copy of a member is a member in all but name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.controls.base import Finding, Status
from edgeaudit.leakage.intervals import clopper_pearson

__all__ = ["COSINE", "copies", "near_copies", "nearest_cosines"]

COSINE = 0.999
"""Cosine of two records above which one is called almost the other."""
MANY = 0.01
"""Share of nonmembers with an almost identical member above which it is a warning."""
_BLOCK = 512


def copies(members: npt.NDArray[Any], nonmembers: npt.NDArray[Any], about: Mapping[str, Any]) -> Finding:
    """Exact copies across the sides, byte for byte; the population keeps groups of copies on one side.

    about: the population's counts: duplicates, conflicting_labels, moved.
    """
    crossing = int(np.isin(_as_bytes(nonmembers), _as_bytes(members)).sum())
    told = [f"{about['duplicates']} of {about['records']} records repeat another exactly"]
    if about["conflicting_labels"]:
        told.append(f"{about['conflicting_labels']} groups of copies have labels that differ")
    if about["moved"]:
        told.append(f"{about['moved']} listed nonmembers were copies of members and taken out")
    said = (
        f"{crossing} nonmembers are exact copies of members"
        if crossing
        else "no nonmember is an exact copy of a member"
    )
    share = crossing / len(nonmembers)
    low, high = clopper_pearson(crossing, len(nonmembers))
    status: Status = "failed" if crossing else "holds"
    return Finding("duplicates", status, said, share, low, high, n=len(nonmembers), note="; ".join(told))


def near_copies(members: npt.NDArray[np.float32], nonmembers: npt.NDArray[np.float32]) -> Finding:
    """The share of nonmembers that have an almost identical member; standardised records, [n, ...]."""
    hits = int((nearest_cosines(nonmembers, members) > COSINE).sum())
    share = hits / len(nonmembers)
    low, high = clopper_pearson(hits, len(nonmembers))
    said = f"{hits} of {len(nonmembers)} nonmembers are almost identical to a member (cosine above {COSINE:g})"
    note = "near-copies of members are recognised as members and bias every figure downwards" if share > MANY else None
    status: Status = "warning" if share > MANY else "holds"
    return Finding("near duplicates", status, said, share, low, high, n=len(nonmembers), note=note)


def nearest_cosines(records: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The largest cosine of each record with any of the others, float32 [n], in blocks of both.

    Images [n, C, H, W] are centred, each by itself, so that bright images do not resemble each other; a record
    without any variation resembles none.
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
