"""Records transformed by a view, and the range of values that records can have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeaudit.config.views import DIRECTIONS, Transform
from edgeaudit.population.base import Population, along, stream

__all__ = ["InputRange", "input_range", "shown"]

Records = npt.NDArray[np.float32]

_BLOCK = 1024


@dataclass(frozen=True)
class InputRange:
    """What values a record can have. low, high, step: float32 [1, C, 1, 1], [1, 1, C] or [1, d], as models see them.

    step: one input step, 1/255 of the raw range. whole: records are whole steps (uint8 data).
    """

    low: Records
    high: Records
    step: Records
    whole: bool


def input_range(population: Population) -> InputRange:
    """The range of a population's records, channel by channel or column by column.

    uint8 data has 0 to 255, whatever was seen. Other data: smallest to largest value of the reference pool (of
    nonmembers where there is none), which reveals no membership.
    """
    shape = along(1 + len(population.input_shape), population.axis)
    mean, deviation = (np.array(population.about[key], np.float32).reshape(shape) for key in ("mean", "deviation"))
    whole = bool(np.load(population.folder / "x.npy", mmap_mode="r").dtype == np.uint8)
    if whole:
        low, high = (np.asarray((value - mean) / deviation, np.float32) for value in (0, 255))
        return InputRange(low, high, np.asarray(1 / deviation, np.float32), whole)
    ids = population.split.reference if len(population.split.reference) else population.split.nonmembers
    axes = tuple(i for i in range(1 + len(population.input_shape)) if i != population.axis)
    low, high = np.full_like(mean, np.inf), np.full_like(mean, -np.inf)
    for start in range(0, len(ids), _BLOCK):
        block = population.take(ids[start : start + _BLOCK])
        low = np.minimum(low, block.min(axis=axes, keepdims=True))
        high = np.maximum(high, block.max(axis=axes, keepdims=True))
    # A constant column has no range; it is left as it is.
    return InputRange(low, high, np.asarray((high - low) / 255, np.float32), whole)


def shown(view: Transform, copy: int, records: Records, limits: InputRange, seed: int, block: int) -> Records:
    """The `copy`-th of a view's versions of each record, float32 of the same shape.

    block: the number of this block of records; noise follows from (seed, view, copy, block), so every model is asked
    about the very same records.
    """
    if view.kind == "flip":
        return np.ascontiguousarray(records[..., ::-1])
    if view.kind == "shift":
        down, right = (view.amount * step for step in DIRECTIONS[copy])
        return _shifted(records, down, right)
    rng = stream(seed, "view", view.kind, view.amount, copy, block)
    noise = rng.standard_normal(records.shape, np.float32) * np.float32(view.amount)
    if limits.whole:
        np.rint(noise, out=noise)
    # A record may already be beyond the pool's range; noise does not clip it.
    low, high = np.minimum(records, limits.low), np.maximum(records, limits.high)
    return np.asarray(np.clip(records + noise * limits.step, low, high), np.float32)


def _shifted(records: Records, down: int, right: int) -> Records:
    """Images shifted by whole pixels, filled with zeros."""
    height, width = records.shape[-2:]
    moved = np.zeros_like(records)
    to_rows, to_columns = slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0))
    rows, columns = slice(max(-down, 0), height + min(-down, 0)), slice(max(-right, 0), width + min(-right, 0))
    moved[..., to_rows, to_columns] = records[..., rows, columns]
    return moved
