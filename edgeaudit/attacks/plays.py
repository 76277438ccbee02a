"""What plays of shadows as the target have in common: an order, a bound, and which shadows a play leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.evidence import BoolArray, FloatArray, IntArray

__all__ = ["Side", "canonical", "evenly", "most_opposite", "most_records", "rounded", "subsets"]

_MOST_ROWS = 250_000
_SUBSETS = 8
_LARGEST = 1e30
_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def canonical(phi: FloatArray) -> IntArray:
    """Return an order of the columns of phi [k, n] that does not depend on the current order of columns or rows.

    By mean; the values are summed in ascending order, so that the last bits do not depend on the order of rows either.
    """
    return np.argsort(np.sort(phi, axis=0).mean(axis=0), kind="stable")


def rounded(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Return the values in float32; those beyond 1e30 are as good as each other."""
    return np.asarray(np.clip(values, -_LARGEST, _LARGEST), dtype=np.float32)


def most_records(shadows: int) -> int:
    """Return on how many records shadows play at most, to bound memory and time: 250,000 rows in all."""
    return max(1, _MOST_ROWS // max(shadows, 1))


def evenly(left: IntArray, trained: BoolArray, keys: tuple[FloatArray, ...]) -> IntArray:
    """Return rows such that members are as frequent among those of each number of shadows: positions, ascending.

    Where records differ in the number of shadows that trained on them, by one or more, the number that a play has left
    tells its label: of a record that 1 of 4 shadows trained on, a quarter of the plays are of members and have two OUT
    shadows, of one that 2 trained on it is half, and they have one. Learners read the number from how much an estimate
    was shrunk, and it means nothing for a target. So the more frequent kind is thinned, evenly over its distribution.

    Args:
        left: int64 [rows], number of shadows.
        trained: bool [rows], the label.
        keys: float64 [rows], values that rows are ordered by, the first one first, so that which rows are kept does not
            depend on their order.
    """
    numbers = np.unique(left)
    if len(numbers) < 2 or trained.all() or not trained.any():
        return np.arange(len(left))
    kept, odds = [], trained.sum() / (~trained).sum()
    for number in numbers:
        members, nonmembers = (np.flatnonzero((left == number) & (trained == kind)) for kind in (True, False))
        most = min(len(members), odds * len(nonmembers))
        for rows, count in ((members, most), (nonmembers, most / odds)):
            ordered = rows[np.lexsort(tuple(key[rows] for key in reversed(keys)))]
            kept.append(ordered[np.linspace(0, len(rows) - 1, round(count)).astype(np.int64)])
    return np.asarray(np.sort(np.concatenate(kept)), dtype=np.int64)


def most_opposite(out: BoolArray, shadow: int, order: IntArray) -> int:
    """Return the shadow whose training records differ most from those of this one.

    Shadows are drawn in pairs of complements. One of them that plays the target is compared with the other, which is on
    the other side of every record: never so for a target, whose memberships depend on those of no shadow. The answers
    of complements are not independent (a model that trained on more records of a class leaves fewer to the other), and
    learners take that for a trait of members. So a play leaves the complement out.

    Args:
        out: bool [K, n].
        shadow: the one that plays.
        order: int64 [K], all shadows; the first of equally different ones is taken.
    """
    return int(order[(out[order] != out[shadow]).sum(axis=1).argmax()])


@dataclass(frozen=True)
class Side:
    """The models that trained on each record, or those that did not, in random order.

    order: int64 [K, n]; models of the other side follow at the end. count: int64 [n], models of this side.
    """

    order: IntArray
    count: IntArray

    @classmethod
    def of(cls, phi: FloatArray, kept: BoolArray, seed: int) -> Side:
        """Draw the order. It depends on the record's phi of these models alone, not on the order of models or records.

        Args:
            phi: float64 [K, n].
            kept: bool [K, n], the models of this side.
            seed: of the draw.
        """
        count = kept.sum(axis=0)
        values = np.where(kept, phi, np.inf)
        by_phi = np.argsort(values, axis=0, kind="stable")
        ascending = np.take_along_axis(values, by_phi, axis=0)
        there = np.arange(len(phi))[:, None] < count
        mean = np.where(there, ascending, 0.0).sum(axis=0) / np.maximum(count, 1)
        keys = np.where(there, _numbers(mean, len(phi), seed), np.inf)
        return cls(np.take_along_axis(by_phi, np.argsort(keys, axis=0, kind="stable"), axis=0), count)

    def at(self, place: int | IntArray) -> IntArray:
        """Return the model at this place of each record, counted round: int64 [n], or [places, n] for places [p, 1]."""
        places = np.asarray(place) % np.maximum(self.count, 1)
        taken = np.take_along_axis(self.order, np.atleast_2d(places), axis=0)
        return np.asarray(taken if places.ndim == 2 else taken[0], dtype=np.int64)


def _numbers(values: FloatArray, k: int, seed: int) -> FloatArray:
    """Return k numbers in [0, 1) for each value, float64 [k, n], that look random; rounding errors do not change them.

    Source: the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
    """
    # + 0: -0 and 0 are equal.
    state = (rounded(values) + np.float32(0)).view(np.uint32).astype(np.uint64)
    z = state + _GAMMA * (np.arange(k, dtype=np.uint64)[:, None] + np.uint64(1 + k * seed))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((z ^ (z >> np.uint64(31))) / 2.0**64, dtype=np.float64)


def subsets(phi: FloatArray, out: BoolArray, size: int) -> Iterator[BoolArray]:
    """Yield out masks with `size` OUT models of each record, or with all of a record that has fewer: bool [K, n].

    Eight masks, which use the models of a record about equally often; `out` itself where no record has more models.

    Args:
        phi: float64 [K, n], see `Side.of`.
        out: bool [K, n].
        size: at least 1.
    """
    side = Side.of(phi, out, seed=4)
    if side.count.max(initial=0) <= size:
        yield out
        return
    for first in range(0, _SUBSETS * size, size):
        mask = np.zeros_like(out)
        np.put_along_axis(mask, side.at((first + np.arange(size))[:, None]), values=True, axis=0)
        yield mask & out
