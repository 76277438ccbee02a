"""Canaries: records that the audit makes, of which the target trains on half, to see how well these are found again.

An average over ordinary records says little about the record that a model has to memorise: a wrong label, a person like
no other, a record that the data has ten times. Canaries are such records, with known truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeaudit.config.canaries import LEAST, CanariesSpec
from edgeaudit.errors import SplitError
from edgeaudit.population.split import Split

__all__ = ["Canaries", "make_canaries", "planted_half"]

IntArray = npt.NDArray[np.int64]

_SOURCES = 256
"""Records that the values of one out-of-distribution canary come from; of large images more would fill the memory."""


@dataclass(frozen=True)
class Canaries:
    """Canaries, decoys, and the reference records that they were made from.

    x: [n, ...] in the dtype of the data. y: int64 [n]. base: int64 [n], ids of those records. decoys: number of them,
    the last ones: made like canaries, for shadows to train on.
    """

    x: npt.NDArray[np.generic]
    y: IntArray
    base: IntArray
    decoys: int


def make_canaries(
    spec: CanariesSpec,
    x: npt.NDArray[np.generic],
    y: IntArray,
    classes: int,
    groups: IntArray,
    split: Split,
    rng: np.random.Generator,
) -> tuple[Canaries, Split]:
    """Make canaries and decoys from reference records, which leave the pool with all records related to them.

    mislabelled: a label drawn from all others. duplicated: record and label as they are. out-of-distribution: each
    value is drawn from the same place of another reference record, so that every value is usual and their combination
    is not, with a label drawn from all.

    Args:
        spec: how many, and of what kind.
        x: records [n, ...].
        y: their labels, int64 [n].
        classes: number of classes, of which some may not occur.
        groups: int64 [n], groups of related records; a group gives one canary at most.
        split: the sides, which are disjoint.
        rng: generator of all draws.

    Raises:
        SplitError: the pool has too few groups of related records.
    """
    pool = split.reference
    _, first = np.unique(groups[pool], return_index=True)
    candidates = pool[first]
    decoys = spec.records // 2
    needed = spec.records + decoys
    if len(candidates) < 2 * needed:
        raise SplitError(
            f"canaries.records: {spec.records} canaries, and {decoys} more for shadows, are made from as many "
            "reference records that are not related to each other, and at least as many must be left; the pool has "
            f"{len(candidates)}: use {_fewer(len(candidates))}more reference records"
        )
    base = rng.choice(candidates, needed, replace=False)
    left = pool[~np.isin(groups[pool], groups[base])]
    made, labels = x[base].copy(), y[base].copy()
    if spec.kind == "mislabelled":
        labels = (labels + rng.integers(1, classes, len(base))) % classes
    elif spec.kind == "out-of-distribution":
        made = _mixed(x, left, len(base), rng)
        labels = rng.integers(0, classes, len(base))
    return Canaries(made, labels.astype(np.int64), base, decoys), Split(
        split.members, split.nonmembers, left, split.moved
    )


def _fewer(candidates: int) -> str:
    fits = candidates // 3
    return f"{fits} canaries or fewer, or " if fits >= LEAST else ""


def _mixed(x: npt.NDArray[np.generic], pool: IntArray, count: int, rng: np.random.Generator) -> npt.NDArray[np.generic]:
    """Records [count, ...] of values that each come from the same place of a random record of the pool."""
    width = int(np.prod(x.shape[1:]))
    made = np.empty((count, width), x.dtype)
    for i in range(count):
        sources = rng.choice(pool, min(len(pool), width, _SOURCES), replace=False)
        made[i] = x[sources].reshape(len(sources), width)[np.arange(width) % len(sources), np.arange(width)]
    return made.reshape(count, *x.shape[1:])


def planted_half(count: int, rng: np.random.Generator, half: int = 0) -> IntArray:
    """Positions of the canaries that a model trains on, int64 ascending. half: 0, or 1 for those that 0 leaves out."""
    order, cut = rng.permutation(count), count // 2
    return np.sort(order[:cut] if half == 0 else order[cut:])
