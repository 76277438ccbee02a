"""Splits: members, nonmembers and reference pool, drawn from one population and never overlapping.

Related records form a group, and a group is never on two sides: a copy of a member among the nonmembers is effectively
a member, and would bias every attack towards 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import SplitError

__all__ = ["Split", "draw_split", "in_groups", "listed_split", "partition"]

IntArray = npt.NDArray[np.int64]

_DRAWS = 100


@dataclass(frozen=True)
class Split:
    """Record ids, int64, ascending within each side. `moved` counts nonmembers that a list of members repeats."""

    members: IntArray
    nonmembers: IntArray
    reference: IntArray
    moved: int = 0


def draw_split(
    groups: IntArray, n_members: int, n_nonmembers: int, n_reference: int | None, rng: np.random.Generator
) -> Split:
    """Draw sides of the requested sizes; `n_reference` None takes all remaining records.

    Groups are shuffled as units and taken in that order, so that each is as likely on a side as any other, whatever its
    size. Where the last group of a side has more records than are missing, the others of that group are on no side:
    filling the side with smaller groups instead would make large ones rare among members and frequent among others.
    Only where too few records are left for that is the split a `partition`.

    Raises `SplitError` with the number of missing records.
    """
    wanted = n_members + n_nonmembers + (n_reference or 0)
    if wanted > len(groups):
        raise SplitError(
            f"data: {n_members} members, {n_nonmembers} nonmembers and {n_reference or 0} reference records are "
            f"{wanted}, but the source has {len(groups)}: {wanted - len(groups)} are missing"
        )
    ordered, ends = in_groups(groups, rng)
    room = (n_members, n_nonmembers, len(groups) if n_reference is None else n_reference)
    sides, start = [], 0
    for need in room:
        stop = start + need
        sides.append(ordered[start:stop])
        # The next side starts with the next group.
        start = int(ends[min(int(np.searchsorted(ends, stop)), len(ends) - 1)])
    if len(sides[1]) < n_nonmembers or len(sides[2]) < (n_reference or 0):
        first = partition(groups, n_members, rng)
        rest = np.setdiff1d(np.arange(len(groups)), first)
        second = rest[partition(groups[rest], n_nonmembers, rng)]
        sides = [first, second, np.setdiff1d(rest, second)[: room[2]]]
    for name, drawn, need in zip(("members", "nonmembers"), sides, room, strict=False):
        if len(drawn) < need:
            raise SplitError(
                f"data: {need} {name} cannot be drawn without splitting groups of related records "
                f"({need - len(drawn)} missing); use {len(drawn)}"
            )
    members, nonmembers, reference = (np.sort(side).astype(np.int64) for side in sides)
    return Split(members, nonmembers, reference)


def in_groups(groups: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Positions of the records, int64 [n], with the groups in random order, and where each group ends, int64 [groups].

    Records of a group are next to each other, in random order. Where every group is one record, a plain permutation.
    """
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng.permutation(len(sizes))
    if len(sizes) == len(groups):
        return order, np.arange(1, len(order) + 1)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return np.lexsort((rng.permutation(len(groups)), place[index])), np.cumsum(sizes[order])


def partition(groups: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """Positions of `count` records in whole groups, int64 [count] ascending; fewer where no whole groups fit.

    For draws that may leave no record out, because those not taken are the other side. Groups are shuffled until the
    first ones have exactly `count` records: a draw in which the side and the rest have equal rights. Where that is too
    rare, groups that do not fit are passed over for smaller ones.
    """
    ordered, ends = np.empty(0, np.int64), np.empty(0, np.int64)
    for _ in range(_DRAWS):
        ordered, ends = in_groups(groups, rng)
        if count in (0, len(ordered)) or ends[min(int(np.searchsorted(ends, count)), len(ends) - 1)] == count:
            return np.sort(ordered[:count])
    taken: list[IntArray] = []
    missing = count
    for stop, size in zip(ends, np.diff(ends, prepend=0), strict=True):
        if size <= missing:
            taken.append(ordered[stop - size : stop])
            missing -= int(size)
    return np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)


def listed_split(
    groups: IntArray,
    members: IntArray,
    nonmembers: IntArray,
    n_reference: int | None,
    rng: np.random.Generator,
    barred: IntArray | None = None,
) -> Split:
    """A split whose member and nonmember ids the user gave (a trained target's own lists).

    The reference pool is drawn from what is left, without what is related to a `barred` record: one that the target
    trained on and that is not audited. A nonmember related to a member, or to a barred record, is removed and counted.
    """
    trained = members if barred is None else np.union1d(members, barred)
    for name, ids in (("members", members), ("nonmembers", nonmembers)):
        if len(ids) == 0:
            raise SplitError(f"data.{name}: the list is empty")
        if ids.min() < 0 or ids.max() >= len(groups):
            bad = ids[(ids < 0) | (ids >= len(groups))][0]
            raise SplitError(f"data.{name}: record {bad} does not exist; the source has {len(groups)} records")
        kinds, counts = np.unique(ids, return_counts=True)
        if len(kinds) != len(ids):
            again = kinds[counts > 1]
            raise SplitError(f"data.{name}: record {again[0]} appears twice ({len(again):,} such records)")
    both = np.intersect1d(members, nonmembers)
    if len(both):
        raise SplitError(f"data: record {both[0]} is in members and in nonmembers ({len(both)} such records)")
    copies = np.isin(groups[nonmembers], groups[trained])
    kept = nonmembers[~copies]
    if len(kept) == 0:
        raise SplitError("data.nonmembers: every record is a copy of a member, or related to one (data.groups)")
    free = np.flatnonzero(~np.isin(groups, groups[np.concatenate([trained, kept])]))
    if n_reference is not None and n_reference > len(free):
        listed = len(groups) - len(trained) - len(kept) - len(free)
        why = f", without {listed} copies of listed records or records related to them" if listed else ""
        raise SplitError(
            f"data.reference: {n_reference} records requested, but {len(free)} are left{why}; request as many, or "
            "'rest'"
        )
    drawn = free[in_groups(groups[free], rng)[0]]
    reference = np.sort(drawn[: len(free) if n_reference is None else n_reference])
    return Split(np.sort(members), np.sort(kept), reference, int(copies.sum()))
