"""Columns that lose in float32 what their records differ in, so that no model could tell the records apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import DataError
from edgeaudit.population.base import along, scaled
from edgeaudit.population.preprocessing import Affine

__all__ = ["require_variation"]

_RECORDS, _VALUES = 4096, 1 << 22
"""The most that is looked at."""
_LOST = 0.05
"""Largest share of a column's deviation that rounding to float32 may be off by."""


def require_variation(x: npt.NDArray[Any], numbers: Affine, axis: int = 1, names: Sequence[str] = ()) -> None:
    """Raise `DataError` that names the columns (channels of images) which do not survive as inputs of models.

    Models see float32, which has 24 bits: a counter at 1.7e9 moves in steps of 128 there.

    x: [n, ...], in the source's dtype. numbers: mean and deviation of the preprocessing, along `axis`. names: of the
    columns, where they have some.
    """
    if np.can_cast(x.dtype, np.float32):
        return  # what float32 holds as it is, it holds moved and scaled
    count = min(len(x), _RECORDS, max(2, _VALUES // x[0].size))
    some = x[np.unique(np.linspace(0, len(x) - 1, count).astype(np.int64))]
    shape, axes = along(x.ndim, axis), tuple(i for i in range(x.ndim) if i != axis)
    mean, deviation = (np.array(values, np.float64).reshape(shape) for values in numbers)
    exact = (some.astype(np.float64) - mean) / deviation
    off = (scaled(some, *numbers, axis) - exact).std(axis=axes)
    lost = np.flatnonzero(off > _LOST * exact.std(axis=axes))
    if len(lost) == 0:
        return
    worst = int(lost[0])
    values = some.take(worst, axis=axis).astype(np.float64)
    what = "channel" if x.ndim > 2 else "column"
    name = f"'{names[worst]}'" if names else f"{worst} (from 0)"
    raise DataError(
        f"data: {what} {name}{_others(len(lost), what)} loses in float32 what its records differ in: values "
        f"around {values.mean():.6g} with a deviation of {values.std():.3g}. Subtract an offset from it, or use "
        "data.preprocessing: standardise"
    )


def _others(count: int, what: str) -> str:
    return f", like {count - 1} other {what}{'s' * (count > 2)}," if count > 1 else ""
