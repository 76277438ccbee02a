"""What shows that answers are those of a model of these records, for tasks without classes.

As `target_check` has it for classes: a model whose answers are no better than knowing nothing says nothing of the one
that was meant, and one that is fed otherwise than in training leaks otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

__all__ = ["Examined", "better_fed", "shows_a_model"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

_LEVEL = 1e-3
"""Significance of tests that refuse a target, for all alternatives together."""
_SHOWN = 0.01
"""Significance of each test that shows a model."""
_SHARE = 0.5
"""To which share another way of feeding must lower the mean loss on both sides, beyond significance."""


@dataclass(frozen=True, eq=False)
class Examined:
    """Losses of one target. All float64 [n], in the same unit.

    loss: of its answers. nothing: of answering what the truth is on average. members: bool [n], what it trained on.
    """

    loss: FloatArray
    nothing: FloatArray
    members: BoolArray

    @property
    def explained(self) -> tuple[float, float]:
        """Which share of the loss of knowing nothing the target has less, on members and on others; below 0 if more."""
        return self._explained(self.members), self._explained(~self.members)

    def _explained(self, side: BoolArray) -> float:
        whole = float(self.nothing[side].mean()) if side.any() else 0.0
        return 1 - float(self.loss[side].mean()) / whole if whole > 0 else 0.0


def shows_a_model(examined: Examined) -> bool:
    """Return whether the target's answers are better than knowing nothing, on members or on others.

    Either the mean loss is lower (paired t test), or more than half of the records have a lower one (sign test): a few
    records of great error hide in the mean, and many of small gain in the number.
    """
    gain = examined.nothing - examined.loss
    sides = [side for side in (examined.members, ~examined.members) if side.sum() > 1]
    return any(_above_zero(gain[side]) < _SHOWN or _more_than_half(gain[side]) < _SHOWN for side in sides)


def better_fed(declared: Examined, others: Mapping[str, Examined]) -> str | None:
    """Return the other way of feeding the target under which it knows its records far better; None where none is.

    On members and on others the loss must fall to half or less, as a share of that of knowing nothing, and on both
    together significantly (paired t test). Of several, the one with the least loss.

    others: name -> the same records, fed in another way.
    """
    found: dict[str, float] = {}
    level = _LEVEL / max(1, len(others))
    own = _relative(declared)
    for name, other in others.items():
        fed = _relative(other)
        sides = [side for side in (declared.members, ~declared.members) if side.any()]
        if all(fed[side].mean() <= _SHARE * own[side].mean() for side in sides) and _above_zero(own - fed) < level:
            found[name] = float(fed.mean())
    return min(found, key=lambda name: found[name], default=None)


def _relative(examined: Examined) -> FloatArray:
    whole = float(examined.nothing.mean())
    return examined.loss / whole if whole > 0 else examined.loss


def _above_zero(values: FloatArray) -> float:
    """Return the one-sided p-value of a mean that is not above 0."""
    deviation = float(values.std(ddof=1))
    if deviation == 0:
        return 0.0 if values.mean() > 0 else 1.0
    return float(scipy.stats.t.sf(values.mean() / deviation * math.sqrt(len(values)), len(values) - 1))


def _more_than_half(gain: FloatArray) -> float:
    """Return the one-sided p-value of the exact sign test."""
    above, below = int((gain > 0).sum()), int((gain < 0).sum())
    return float(scipy.stats.binom.sf(above - 1, above + below, 0.5)) if above + below else 1.0
