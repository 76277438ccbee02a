"""Axes of records: where channels are, and which axis of a record has a mean and a deviation of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import DataError

__all__ = ["Prepared", "in_order", "prepare_records"]

AnyArray = npt.NDArray[Any]

_LARGEST = 1e18
"""The largest absolute value of a record: squares and sums of many are finite in float32."""
_AXES = {"HW": 2, "TC": 2, "CT": 2, "HWC": 3, "CHW": 3}
_VANISHED = 0.05
"""Deviation of a sensor's axis, in deviations of the whole record, below which one scale makes it vanish."""
_OBLONG = 4
"""Least ratio of the sides of a record that may be a window of sensors: the axes are few, the steps many."""
_LOOKED_AT = 1 << 24
"""Values that are looked at to find sensors of different scale."""


@dataclass(frozen=True)
class Prepared:
    """Records in the order of axes that models see.

    x: [n, C, H, W], [n, T, C], [n, C, T] or [n, d], in the source's dtype. axis: of x, 1 to x.ndim - 1; each index
    along it has a mean and a deviation of its own. note: what was found out about the layout, in words.
    """

    x: AnyArray
    axis: int = 1
    note: str | None = None


def in_order(records: Prepared, channels: str) -> Prepared:
    """Images with their channels `as-stored` or `reversed`. Raises `DataError` where records have no such channels."""
    if channels == "as-stored":
        return records
    if records.x.ndim != 4 or records.x.shape[1] < 2:
        raise DataError(
            "data.channels: only images with several channels can be reversed; these records have shape "
            f"{records.x.shape[1:]}"
        )
    return replace(records, x=np.ascontiguousarray(records.x[:, ::-1]))


def prepare_records(x: AnyArray, labels: int, layout: str) -> Prepared:
    """Records as models see them, but for scaling.

    Args:
        x: [n, ...] of any real dtype.
        labels: number of labels.
        layout: `auto` takes [n, h, w] as one channel and [n, h, w, 1|3|4] as channels last. HW, HWC, CHW, flat are
            explicit. TC and CT are windows of sensors, [n, steps, sensors] and [n, sensors, steps], which models see as
            they are.

    Raises:
        DataError: an empty source, unequal lengths, values that are not finite in float32, another number of axes.
    """
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise DataError(f"data: x has shape {x.shape}; it needs a first axis of records and values in each")
    if len(x) != labels:
        raise DataError(f"data: {len(x)} records and {labels} labels")
    if len(x) == 0:
        raise DataError("data: the source has no records")
    if x.dtype.kind not in "biuf":
        raise DataError(f"data: records of dtype {x.dtype} are not real numbers")
    if x.dtype == np.bool_:
        x = x.astype(np.uint8)
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int(np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))[0])
        raise DataError(f"data: record {bad} contains NaN or infinity; fix or drop it")
    _require_range(x)
    if layout != "auto":
        return Prepared(_to_layout(x, layout), 2 if layout == "TC" else 1)
    guessed = _guess_layout(x.shape[1:])
    uneven = _uneven_axis(x) if guessed == "HW" else None
    if uneven is None:
        return Prepared(_to_layout(x, guessed))
    note = (
        f"the {x.shape[uneven]} sensors of a record ({' x '.join(map(str, x.shape[1:]))}) differ in scale by more than "
        f"{round(1 / _VANISHED)} times, so that each is standardised by itself; models see a channel of an image: set "
        f"data.layout: {'TC' if uneven == 2 else 'CT'} where they take the window as it is"
    )
    return Prepared(_to_layout(x, guessed), uneven + 1, note)


def _require_range(x: AnyArray) -> None:
    # Models see float32, and a variance squares what it sums.
    if x.dtype.kind != "f":
        return
    rows = x.reshape(len(x), -1)
    size = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    if size.max() > _LARGEST:
        worst = int(size.argmax())
        raise DataError(
            f"data: record {worst} has a value of {size[worst]:.3g}; float32 models need values within "
            f"{_LARGEST:g} of 0: rescale the data"
        )


def _guess_layout(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return "flat"
    if len(shape) == 2:
        return "HW"
    if len(shape) == 3 and shape[2] in (1, 3, 4):
        return "HWC"
    if len(shape) == 3 and shape[0] in (1, 3, 4):
        return "CHW"
    raise DataError(f"data.layout: the layout of records of shape {shape} is ambiguous; set HW, HWC, CHW or flat")


def _uneven_axis(x: AnyArray) -> int | None:
    """The short axis of oblong records of which some index would vanish at the scale of the whole record; else None.

    A window has few sensors and many steps. Images and spectrograms have one scale for all.
    """
    axis = 2 if x.shape[2] <= x.shape[1] else 1
    if x.dtype == np.uint8 or x.shape[axis] < 2 or x.shape[axis] * _OBLONG > x.shape[3 - axis]:
        return None
    count = min(len(x), max(2, _LOOKED_AT // x[0].size))
    some = x[np.linspace(0, len(x) - 1, count).astype(np.int64)].astype(np.float64)
    own = some.std(axis=(0, 3 - axis))
    varying = own[own > 0]
    return axis if len(varying) > 1 and varying.min() < _VANISHED * some.std() else None


def _to_layout(x: AnyArray, layout: str) -> AnyArray:
    dimensions = _AXES.get(layout)
    if dimensions is not None and x.ndim - 1 != dimensions:
        raise DataError(f"data.layout: {layout} has {dimensions} axes, but these records have shape {x.shape[1:]}")
    if layout == "HW":
        return np.ascontiguousarray(x[:, None])
    if layout == "HWC":
        return np.ascontiguousarray(np.transpose(x, (0, 3, 1, 2)))
    return np.ascontiguousarray(x.reshape(len(x), -1) if layout == "flat" else x)
