"""Granularity of a format's answers: with few distinct values records tie, and ties can hide or fake leakage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import AttackError
from edgeaudit.leakage.roc import FloatArray

__all__ = ["Granularity", "OutputGrid", "granularity", "output_grid", "output_step"]

_FLOAT32_ERROR = 2.0**-22  # relative error of the ratio of two dequantised answers, with a margin
_MOST_LEVELS = 1 << 16
# With few answers, the smallest difference between two of them may be several levels.
_MOST_SKIPPED = 4


@dataclass(frozen=True)
class Granularity:
    """distinct: number of distinct values. tie_mass: share of records that share their value with another record."""

    distinct: int
    tie_mass: float


def granularity(true_class: FloatArray) -> Granularity:
    """Return the distinct values and tie mass of the target's true-class probabilities, compared bit for bit.

    Args:
        true_class: float [n], unclipped (`probabilities(answers, exposure)[rows, labels]`), since clipping creates
            ties. For logits pass margins (`true_class_margin`), since the float64 softmax rounds to 1 from 37 nats on.

    Raises:
        AttackError: no records, or NaN or infinity among them.

    Examples:
        >>> import numpy as np
        >>> granularity(np.array([0.5, 0.5, 0.25, 0.75]))
        Granularity(distinct=3, tie_mass=0.5)
    """
    if true_class.ndim != 1 or not len(true_class) or not np.isfinite(true_class).all():
        raise AttackError(
            f"tie mass needs a non-empty array of finite values, one a record; the shape is {true_class.shape}"
        )
    _, counts = np.unique(true_class, return_counts=True)
    return Granularity(len(counts), float(counts[counts > 1].sum() / len(true_class)))


@dataclass(frozen=True)
class OutputGrid:
    """The grid of a model's answers: multiples of `step` from `low` to `high`. step 0: the answers are continuous.

    low, high: -inf and inf where the ends are unknown.
    """

    step: float = 0.0
    low: float = -math.inf
    high: float = math.inf


def output_step(answers: npt.NDArray[np.floating[Any]]) -> float:
    """Estimate the step of the grid on which the answers of an integer output lie; 0 where there is none.

    Dequantised answers are float32(scale * (q - zero)), and 0 is always a level, so each answer is a multiple of scale
    up to a relative 1e-7. The step is the smallest difference between two answers, or a half to a quarter of it, that
    divides every answer. Where no two answers differ by a single level it can be a multiple of the scale, which is the
    observable grid.

    Args:
        answers: float [records, classes] as the artifact returned them, before any softmax outside it.

    Returns:
        The step, in units of the answers. 0 for continuous answers, for fewer than 3 distinct values, for more than
        65,536 levels, and where most answers differ, so that there is no evidence of rounding.

    Examples:
        >>> import numpy as np
        >>> 1 / output_step(np.arange(256).repeat(8) / 256)
        256.0
    """
    values = np.unique(np.asarray(answers, dtype=np.float64))
    if len(values) < 3 or 2 * len(values) > np.size(answers) or not np.isfinite(values).all():
        return 0.0
    gap = float(np.diff(values).min())
    smallest = float(np.abs(values[values != 0]).min())
    for skipped in range(1, _MOST_SKIPPED + 1):
        level = round(smallest * skipped / gap)
        if level == 0 or (values[-1] - values[0]) * level / smallest >= _MOST_LEVELS:
            continue
        # The smallest answer has the smallest absolute error, so it gives the step.
        multiples = values * (level / smallest)
        nearest = np.rint(multiples)
        if (np.abs(multiples - nearest) <= 1e-3 + _FLOAT32_ERROR * np.abs(nearest)).all():
            return float(values @ nearest / (nearest @ nearest))
    return 0.0


def output_grid(answers: npt.NDArray[np.floating[Any]]) -> OutputGrid:
    """Estimate the grid of one model's answers, with its ends where the answers determine them.

    Both ends are known where answers span all levels of 8 or 16 bits (255 or 65,535 steps, or 32,767 from 0 up). For
    probabilities (answers in [0, 1], some within half a step of 0) the low end is 0, and the high end is the largest
    answer if another step would exceed 1, else unknown: a LiteRT int8 softmax has scale 1/256 and ends at 255/256,
    which is 255 steps.
    """
    step = output_step(answers)
    if step == 0:
        return OutputGrid()
    low, high = float(np.min(answers)), float(np.max(answers))
    steps = round((high - low) / step)
    if steps in {255, _MOST_LEVELS - 1} or (steps == _MOST_LEVELS // 2 - 1 and low >= 0):
        return OutputGrid(step, low, high)
    if -step / 2 < low < step / 2 and high <= 1 + step / 4:
        return OutputGrid(step, low, high if high + step / 2 > 1 else math.inf)
    return OutputGrid(step)
