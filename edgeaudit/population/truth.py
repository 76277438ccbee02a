"""What answers are compared with where records have no classes: labels of several, or values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import DataError
from edgeaudit.tasks import TaskName

__all__ = ["truth_of"]


def truth_of(y: npt.NDArray[Any], task: TaskName) -> npt.NDArray[np.float32] | None:
    """The truth of each record, float32 [n, outputs]; None with classes, and where it is the record itself.

    y: 0 or 1 for each label, [n, labels] (multi-label), or numbers, [n] or [n, values] (regression).

    Raises:
        DataError: other labels; the message has the remedy.
    """
    if task in ("classification", "reconstruction"):
        return None
    if y.dtype.kind not in "biuf" or y.ndim not in (1, 2) or 0 in y.shape:
        raise DataError(
            f"data: task: {task} needs numbers as labels, one or a row of them a record; they are {y.dtype} of shape "
            f"{y.shape}"
        )
    values = np.asarray(y.reshape(len(y), -1), np.float32)
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise DataError(f"data: the value of record {bad} is NaN or infinite; fix or drop it")
    if task == "multi-label" and y.ndim == 1:
        raise DataError(
            "data: task: multi-label needs a row of labels a record, [n, labels]; one label of two is a class: remove "
            "'task'"
        )
    if task == "multi-label" and not np.isin(values, (0, 1)).all():
        raise DataError("data: task: multi-label needs 0 or 1 for each label; use task: regression for numbers")
    return values
