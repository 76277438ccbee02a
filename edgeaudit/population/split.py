"""Splits: members, nonmembers and reference pool, drawn from one population and never overlapping.

Records that repeat another byte for byte form a group, and a group is never split between sides: a copy of a member
among the nonmembers is effectively a member, and would bias every attack towards 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import SplitError

__all__ = ["Duplicates", "Split", "content_groups", "draw_split", "listed_split"]

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Duplicates:
    """copies: records that repeat an earlier one. conflicting: groups of copies whose labels differ."""

    copies: int
    conflicting: int


@dataclass(frozen=True)
class Split:
    """Record ids, int64, ascending within each side. `moved` counts nonmembers that a list of members repeats."""

    members: IntArray
    nonmembers: IntArray
    reference: IntArray
    moved: int = 0


def content_groups(x: npt.NDArray[np.generic], y: IntArray) -> tuple[IntArray, Duplicates]:
    """Group number of each record, int64 [n]: records with equal bytes share it; numbered by first appearance."""
    rows = np.ascontiguousarray(x).reshape(len(x), -1)
    as_bytes = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, inverse = np.unique(as_bytes, return_index=True, return_inverse=True)
    groups = first[inverse.ravel()].astype(np.int64)
    # A group conflicts where its smallest and largest label differ.
    low, high = np.full(len(x), np.iinfo(np.int64).max), np.full(len(x), -1)
    np.minimum.at(low, groups, y)
    np.maximum.at(high, groups, y)
    return groups, Duplicates(len(x) - len(first), int((low[first] != high[first]).sum()))


def draw_split(
    groups: IntArray, n_members: int, n_nonmembers: int, n_reference: int | None, rng: np.random.Generator
) -> Split:
    """Draw sides of the requested sizes, whole groups at a time; `n_reference` None takes all remaining records.

    Raises `SplitError` with the number of missing records.
    """
    wanted = n_members + n_nonmembers + (n_reference or 0)
    if wanted > len(groups):
        raise SplitError(
            f"data: {n_members} members, {n_nonmembers} nonmembers and {n_reference or 0} reference records are "
            f"{wanted}, but the source has {len(groups)}: {wanted - len(groups)} are missing"
        )
    order = rng.permutation(len(groups))
    # Stable sort by the place of each group's first record in the shuffled order keeps groups together.
    place = np.full(len(groups), len(groups))
    np.minimum.at(place, groups[order], np.arange(len(order)))
    ordered = order[np.argsort(place[groups[order]], kind="stable")]
    sizes = np.bincount(groups, minlength=len(groups))
    sides: list[list[int]] = [[], [], []]
    room = [n_members, n_nonmembers, len(groups) if n_reference is None else n_reference]
    position = 0
    while position < len(ordered):
        size = int(sizes[groups[ordered[position]]])
        for side in range(3):
            if len(sides[side]) + size <= room[side]:
                sides[side].extend(ordered[position : position + size].tolist())
                break
        position += size
    for name, drawn, need in zip(("members", "nonmembers"), sides, room, strict=False):
        if len(drawn) < need:
            raise SplitError(
                f"data: {need} {name} cannot be drawn without splitting groups of identical records "
                f"({need - len(drawn)} missing); use {len(drawn)}"
            )
    members, nonmembers, reference = (np.sort(np.array(side, np.int64)) for side in sides)
    return Split(members, nonmembers, reference)


def listed_split(
    groups: IntArray,
    members: IntArray,
    nonmembers: IntArray,
    n_reference: int | None,
    rng: np.random.Generator,
    barred: IntArray | None = None,
) -> Split:
    """A split whose member and nonmember ids the user gave (a trained target's own lists).

    The reference pool is drawn from what is left, without what repeats a `barred` record: one that the target trained
    on and that is not audited. A nonmember that repeats a member, or a barred record, is removed and counted.
    """
    trained = members if barred is None else np.union1d(members, barred)
    for name, ids in (("members", members), ("nonmembers", nonmembers)):
        if len(ids) == 0:
            raise SplitError(f"data.{name}: the list is empty")
        if ids.min() < 0 or ids.max() >= len(groups):
            bad = ids[(ids < 0) | (ids >= len(groups))][0]
            raise SplitError(f"data.{name}: record {bad} does not exist; the source has {len(groups)} records")
        if len(np.unique(ids)) != len(ids):
            raise SplitError(f"data.{name}: a record id appears twice")
    both = np.intersect1d(members, nonmembers)
    if len(both):
        raise SplitError(f"data: record {both[0]} is in members and in nonmembers ({len(both)} such records)")
    copies = np.isin(groups[nonmembers], groups[trained])
    kept = nonmembers[~copies]
    if len(kept) == 0:
        raise SplitError("data.nonmembers: every record repeats a member byte for byte")
    free = np.flatnonzero(~np.isin(groups, groups[np.concatenate([trained, kept])]))
    if n_reference is not None and n_reference > len(free):
        raise SplitError(f"data.reference: {n_reference} records requested, but {len(free)} are left")
    reference = np.sort(rng.permutation(free)[: len(free) if n_reference is None else n_reference])
    return Split(np.sort(members), np.sort(kept), reference, int(copies.sum()))
