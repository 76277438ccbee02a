"""Related records: exact copies, near copies, or the user's own groups (a person, a device, a recording).

Records of a group are never on two sides of an audit, and count as one draw in every interval: a copy of a member among
the nonmembers is in effect a member, and ten copies say no more than one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from edgeaudit.errors import DataError

__all__ = [
    "COPIES", "EXACT", "Duplicates", "Groups", "content_groups", "copies", "joined", "near_groups", "numbered_values",
    "related", "text_values",
]  # fmt: skip

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

COPIES, EXACT = "copies", "exact-copies"
"""Values of `data.groups` that are no name of a column or function."""
_COSINE = 0.999
"""Cosine similarity above which two images are near copies, as in the control of near duplicates."""
_LEAST_VALUES = 64
"""Values of an image below which such a cosine is no sign of a copy."""
_COMPONENTS, _SAMPLE, _BLOCK = 12, 2000, 4096
_MOST_PAIRS = 20_000_000


@dataclass(frozen=True)
class Duplicates:
    """copies: records that repeat an earlier one. conflicting: groups of copies whose labels differ."""

    copies: int
    conflicting: int


@dataclass(frozen=True)
class Groups:
    """Groups of records. numbers: int64 [n], equal within a group. by: what makes a group, in words."""

    numbers: IntArray
    by: str
    duplicates: Duplicates
    note: str | None = None


def copies(x: npt.NDArray[np.generic], y: IntArray, *, near: bool) -> Groups:
    """Groups of exact copies, and of near copies of images where `near` is set (see `near_groups`).

    A table has no near copies: what is near depends on what its columns mean.
    """
    exact, duplicates = content_groups(x, y)
    if not near or x.ndim != 4 or x[0].size < _LEAST_VALUES:
        return Groups(exact, "exact copies", duplicates)
    found = near_groups(x)
    if found is None:
        note = "near copies were not searched: too many images are alike; group the records with data.groups"
        return Groups(exact, "exact copies", duplicates, note)
    return Groups(joined(exact, found), f"exact and near copies (cosine above {_COSINE:g})", duplicates)


def content_groups(x: npt.NDArray[np.generic], y: IntArray) -> tuple[IntArray, Duplicates]:
    """Group number of each record, int64 [n]: records with equal bytes share it; numbered by first appearance.

    Records are compared by a digest of 128 bits, so that no second copy of them is in memory.
    """
    rows = x.reshape(len(x), -1)
    digests = np.empty((len(x), 16), np.uint8)
    for i, row in enumerate(rows):
        digest = hashlib.blake2b(np.ascontiguousarray(row).view(np.uint8).data, digest_size=16).digest()
        digests[i] = np.frombuffer(digest, np.uint8)
    _, first, inverse = np.unique(digests.view("V16").ravel(), return_index=True, return_inverse=True)
    groups = first[inverse.ravel()].astype(np.int64)
    # A group conflicts where its smallest and largest label differ.
    low, high = np.full(len(x), np.iinfo(np.int64).max), np.full(len(x), -1)
    np.minimum.at(low, groups, y)
    np.maximum.at(high, groups, y)
    return groups, Duplicates(len(x) - len(first), int((low[first] != high[first]).sum()))


def numbered_values(values: npt.ArrayLike, n: int, where: str) -> IntArray:
    """Numbers of the groups that a user's column or function gives, int64 [n], from 0.

    values: an integer, truth value or text for each record. where: the key of audit.yaml, for messages.

    Raises:
        DataError: another type or number of values.
    """
    return np.unique(text_values(values, n, where), return_inverse=True)[1].astype(np.int64)


def text_values(values: npt.ArrayLike, n: int, where: str) -> npt.NDArray[np.str_]:
    """What a user's column or function says of each record, as texts [n]. Arguments and errors: `numbered_values`."""
    array = np.asarray(values)
    if array.dtype == object and all(isinstance(value, str) for value in array.ravel()):
        array = array.astype(str)
    if array.shape != (n,) or array.dtype.kind not in "iubUS":
        raise DataError(
            f"{where}: needs an integer or a text for each of the {n} records; it has {array.dtype} {array.shape}"
        )
    return array.astype(np.str_)


def joined(first: IntArray, second: IntArray) -> IntArray:
    """Groups of records that are related in either way, directly or through others, int64 [n].

    A group's number is the position of its first record.
    """
    a, b = (np.unique(numbers, return_inverse=True)[1] for numbers in (first, second))
    nodes = int(a.max()) + int(b.max()) + 2
    edges = coo_array((np.ones(len(a), np.int8), (a, b + a.max() + 1)), shape=(nodes, nodes))
    component = connected_components(edges, directed=False)[1][a]
    _, start, inverse = np.unique(component, return_index=True, return_inverse=True)
    return start[inverse].astype(np.int64)


def related(groups: IntArray | None) -> IntArray | None:
    """The groups, or None where each has one record, which needs no clustered interval."""
    return None if groups is None or len(np.unique(groups)) == len(groups) else groups


def near_groups(x: npt.NDArray[np.generic]) -> IntArray | None:
    """Groups of near copies among images [n, C, H, W], int64 [n], directly or through others; None if too many.

    Near: the cosine of the centred images is above 0.999. Centred images of length 1 with this cosine are closer than
    sqrt(2 - 2 * 0.999). Projections onto orthonormal directions are no further apart than the images, so a search in
    few dimensions (the first principal components of a sample) misses no pair, and what it finds is checked on the
    whole images. 60,000 images of 28 x 28 take 3 CPU seconds, 20,000 of 3 x 32 x 32 take 5.
    """
    from scipy.spatial import cKDTree

    radius = float(np.sqrt(2 - 2 * _COSINE))
    spread = np.linspace(0, len(x) - 1, min(len(x), _SAMPLE)).astype(int)
    sample = _directions(x[spread])
    axes = np.linalg.svd(sample - sample.mean(axis=0), full_matrices=False)[2][:_COMPONENTS].T
    places = np.concatenate([_directions(x[i : i + _BLOCK]) @ axes for i in range(0, len(x), _BLOCK)])
    tree = cKDTree(places)
    if tree.count_neighbors(tree, radius) > 2 * _MOST_PAIRS:
        return None
    pairs = tree.query_pairs(radius, output_type="ndarray")
    kept = np.zeros(len(pairs), np.bool_)
    for i in range(0, len(pairs), _BLOCK):
        left, right = (_directions(x[pairs[i : i + _BLOCK, side]]) for side in (0, 1))
        kept[i : i + _BLOCK] = (left * right).sum(axis=1) > _COSINE
    first, second = pairs[kept].T
    edges = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(len(x), len(x)))
    return connected_components(edges, directed=False)[1].astype(np.int64)


def _directions(x: npt.NDArray[np.generic]) -> FloatArray:
    """Images as vectors of length 1 around their own mean, float32 [n, d]; one without variation is 0."""
    flat = np.array(x.reshape(len(x), -1), np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    found: FloatArray = np.divide(flat, length, out=np.zeros_like(flat), where=length > 1e-6)
    return found
