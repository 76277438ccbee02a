"""How coarse a format's answers are: few distinct values tie records, and ties hide or fake leakage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import AttackError
from edgeaudit.leakage.roc import FloatArray

__all__ = ["Granularity", "OutputGrid", "granularity", "output_grid", "output_step"]

_FLOAT32_ERROR = 2.0**-22  # relative, of the ratio of two dequantised answers; generous
_MOST_LEVELS = 1 << 16
# The smallest difference between two answers may be that of a few levels, where answers are few.
_MOST_SKIPPED = 4


@dataclass(frozen=True)
class Granularity:
    """distinct: number of different values. tie_mass: share of records whose value another record has too."""

    distinct: int
    tie_mass: float


def granularity(true_class: FloatArray) -> Granularity:
    """Distinct values and tie mass of the target's true-class probabilities, compared bit for bit.

    Args:
        true_class: float [n], unclipped (`probabilities(answers, exposure)[rows, labels]`): clipping makes ties of
            its own. For logits pass margins (`true_class_margin`), since float64 softmax rounds to 1 from 37 nats on.

    Raises:
        AttackError: no records, or one that is not finite.

    Examples:
        >>> import numpy as np
        >>> granularity(np.array([0.5, 0.5, 0.25, 0.75]))
        Granularity(distinct=3, tie_mass=0.5)
    """
    if true_class.ndim != 1 or not len(true_class) or not np.isfinite(true_class).all():
        raise AttackError(f"tie mass needs one finite value per record: {true_class.shape}")
    _, counts = np.unique(true_class, return_counts=True)
    return Granularity(len(counts), float(counts[counts > 1].sum() / len(true_class)))


@dataclass(frozen=True)
class OutputGrid:
    """Where a model's answers can lie: multiples of `step` from `low` to `high`. step 0: anywhere, they are continuous.

    low, high: -inf and inf where the ends are not known.
    """

    step: float = 0.0
    low: float = -math.inf
    high: float = math.inf


def output_step(answers: npt.NDArray[np.floating[Any]]) -> float:
    """The step of the grid that the answers of an integer output lie on; 0 where there is none.

    Dequantised answers are float32(scale * (q - zero)), and 0 is always one of the levels, so each is a multiple of
    scale up to a relative 1e-7. The step is the smallest difference between two answers, or a half to a quarter of
    it, that divides every answer. Where no answers differ by a single level it can be a multiple of the scale: that
    is the grid that can be seen.

    Args:
        answers: float [records, classes] as the artifact gave them, before any softmax outside it.

    Returns:
        The step, in units of the answers. 0 for continuous answers, for fewer than 3 distinct ones, above 65,536
        levels, and where most answers differ: then there is no sign of rounding.

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
        # The smallest answer has the smallest error, so the step is read off it.
        multiples = values * (level / smallest)
        nearest = np.rint(multiples)
        if (np.abs(multiples - nearest) <= 1e-3 + _FLOAT32_ERROR * np.abs(nearest)).all():
            return float(values @ nearest / (nearest @ nearest))
    return 0.0


def output_grid(answers: npt.NDArray[np.floating[Any]]) -> OutputGrid:
    """The grid of one model's answers, with its ends where the answers tell them.

    Both ends are known where answers span all levels of 8 or 16 bits (255 or 65,535 steps, or 32,767 from 0 up). Of
    probabilities (answers in [0, 1], some of them within half a step of 0) the low end is 0; the high end is the
    largest answer where there is no room for a step above it, and otherwise not reached: a LiteRT int8 softmax
    has scale 1/256 and ends at 255/256, which is 255 steps.
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
