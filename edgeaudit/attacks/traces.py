"""What was found out about records by more than an answer, such as their distance to the decision boundary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import AttackError

__all__ = ["Trace"]


@dataclass(frozen=True)
class Trace:
    """target: float64 [records, d]; shadows: [K, records, d]. A row of NaN where it was not looked for.

    queries: float64 [records], what the target's rows cost.
    """

    target: npt.NDArray[np.float64]
    shadows: npt.NDArray[np.float64]
    queries: npt.NDArray[np.float64]

    def require_fit(self, records: int, k: int) -> None:
        """Raise `AttackError` unless it is of so many records and shadows."""
        d = self.target.shape[-1]
        if self.target.shape != (records, d) or self.shadows.shape != (k, records, d):
            raise AttackError(
                f"a trace does not fit: target {self.target.shape}, shadows {self.shadows.shape}; there are {records} "
                f"records and {k} shadows"
            )

    @property
    def taken(self) -> npt.NDArray[np.bool_]:
        """Bool [records]: the target's rows that were looked for."""
        return np.asarray(np.isfinite(self.target).all(axis=1), dtype=np.bool_)

    @property
    def taken_of_shadows(self) -> npt.NDArray[np.bool_]:
        """Bool [K, records]: the shadows' rows that were looked for."""
        return np.asarray(np.isfinite(self.shadows).all(axis=2), dtype=np.bool_)

    def take(self, records: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Trace:
        """The same on fewer records."""
        return Trace(self.target[records], self.shadows[:, records], self.queries[records])

    def keep(self, shadows: npt.NDArray[np.int64]) -> Trace:
        """The same with these shadows, in this order."""
        return Trace(self.target, self.shadows[shadows], self.queries)

    def play(self, shadow: int, others: npt.NDArray[np.int64]) -> Trace:
        """The same with `shadow` as the target and these `others` as shadows."""
        return Trace(self.shadows[shadow], self.shadows[others], self.queries)
