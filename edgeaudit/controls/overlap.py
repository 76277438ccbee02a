"""Windows of one recording that overlap: a nonmember of which a part is in a member is in part a member."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LEAST_STEPS", "overlapping"]

BoolArray = npt.NDArray[np.bool_]
HashArray = npt.NDArray[np.uint64]

LEAST_STEPS = 32
"""Steps of a window below which it is not examined."""
_SHARE = 8
"""A stretch is an eighth of a window, and half of the least number of steps at least."""
_OBLONG = 4
"""Least ratio of the sides of a one-channel image that may be a window."""
_STEPS = 1 << 24
"""Steps of members that are examined."""
_FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""Odd constants of splitmix64 (Steele, Lea and Flood 2014)."""


def overlapping(members: npt.NDArray[Any], nonmembers: npt.NDArray[Any], axis: int = 1) -> BoolArray:
    """Whether each nonmember shares a stretch of steps with a member, at another place in it, bool [nonmembers].

    The first or the last stretch of a window that overlaps another one is in it, bit for bit, and moved. Stretches with
    few different steps, such as silence, do not count, nor do those at the same place, which copies and columns of a
    table have. Overlaps of less than an eighth of a window are not found.

    Args:
        members: [n, ...] in the source's scale and dtype; of many, evenly spaced ones are examined.
        nonmembers: likewise.
        axis: of the sensors (channels, columns): 2 for [n, T, C].
    """
    found = np.zeros(len(nonmembers), np.bool_)
    one = _steps(members[:1], axis)
    if one is None or len(nonmembers) == 0:
        return found
    count = one.shape[1]
    most = max(1, _STEPS // count)
    some = members if len(members) <= most else members[np.linspace(0, len(members) - 1, most).astype(np.int64)]
    size = max(LEAST_STEPS // 2, count // _SHARE)
    inside, outside = _hashes(some, axis), _hashes(nonmembers, axis)
    places = _stretches(inside, size)
    ends = outside[:, :size], outside[:, -size:]
    for end, elsewhere in zip(ends, (places[:, 1:], places[:, :-1]), strict=True):
        varied = np.array([len(np.unique(row)) for row in end]) > size // 2
        found |= varied & np.isin(_stretches(end, size)[:, 0], np.unique(elsewhere))
    return found


def _steps(x: npt.NDArray[Any], axis: int) -> npt.NDArray[Any] | None:
    """Records as [n, steps, sensors]; None where they are no windows, or short ones."""
    if x.ndim == 2:
        found = x[:, :, None]
    elif x.ndim == 3:
        found = x if axis == 2 else np.swapaxes(x, 1, 2)
    elif x.shape[1] == 1 and max(x.shape[2:]) >= _OBLONG * min(x.shape[2:]):
        found = x[:, 0] if x.shape[2] > x.shape[3] else np.swapaxes(x[:, 0], 1, 2)
    else:
        return None
    return found if found.shape[1] >= LEAST_STEPS else None


def _hashes(x: npt.NDArray[Any], axis: int) -> HashArray:
    """A hash of each step's bytes, [n, steps]."""
    steps = _steps(x, axis)
    if steps is None:
        raise AssertionError("windows were examined before")
    values = np.ascontiguousarray(steps)
    values = values.view(f"u{values.dtype.itemsize}").astype(np.uint64)
    hashed = np.zeros(values.shape[:2], np.uint64)
    for sensor in range(values.shape[2]):
        hashed = _mixed(hashed * _FACTORS[0] + values[:, :, sensor])
    return hashed


def _mixed(values: HashArray) -> HashArray:
    values = (values ^ (values >> np.uint64(30))) * _FACTORS[1]
    values = (values ^ (values >> np.uint64(27))) * _FACTORS[2]
    return values ^ (values >> np.uint64(31))


def _stretches(hashed: HashArray, size: int) -> HashArray:
    """A hash of every `size` steps in a row, [n, steps - size + 1]."""
    count = hashed.shape[1] - size + 1
    found = np.zeros((len(hashed), count), np.uint64)
    for i in range(size):
        found = found * _FACTORS[0] + hashed[:, i : i + count]
    return found
