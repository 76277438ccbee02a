"""Answers on transformed records: one query more about every record, put to the target and to every shadow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import AttackError

__all__ = ["View"]


@dataclass(frozen=True)
class View:
    """One query. target: float64 [records, classes]; shadows: [K, records, classes]; at the evidence's exposure.

    name: of the view in `threat.views`; the queries of one view share it.
    """

    name: str
    target: npt.NDArray[np.float64]
    shadows: npt.NDArray[np.float64]

    def is_of(self, kind: str) -> bool:
        """Whether the view is of this kind: flip, shift, noise."""
        return self.name.partition("-")[0] == kind

    def require_fit(self, shape: tuple[int, ...], k: int) -> None:
        """Raise `AttackError` unless the answers are finite, of the evidence's shape, from `k` shadows."""
        if self.target.shape != shape or self.shadows.shape != (k, *shape):
            raise AttackError(
                f"the view '{self.name}' does not fit: target {self.target.shape}, shadows {self.shadows.shape}; "
                f"the records as they are have {shape} from the target and {k} shadows"
            )
        if not (np.isfinite(self.target).all() and np.isfinite(self.shadows).all()):
            raise AttackError(f"the view '{self.name}' has answers that are not finite")

    def take(self, records: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> View:
        """The same view of fewer records."""
        return View(self.name, self.target[records], self.shadows[:, records])

    def keep(self, shadows: npt.NDArray[np.int64]) -> View:
        """The view of these shadows, in this order."""
        return View(self.name, self.target, self.shadows[shadows])

    def play(self, shadow: int, others: npt.NDArray[np.int64]) -> View:
        """The view with `shadow` as the target and these `others` as shadows."""
        return View(self.name, self.shadows[shadow], self.shadows[others])
