"""What was found out about records by more than an answer, such as their distance to the decision boundary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import AttackError

__all__ = ["Trace"]


@dataclass(frozen=True)
class Trace:
    """What was found out by looking at some models and some records; a row of NaN where a record was not looked at.

    target: float64 [records, d]. shadows: number of a shadow that was looked at -> float64 [records, d]; the others
    are left out. queries: float64 [records], what the target's rows cost.
    """

    target: npt.NDArray[np.float64]
    shadows: Mapping[int, npt.NDArray[np.float64]]
    queries: npt.NDArray[np.float64]

    def require_fit(self, records: int, k: int) -> None:
        """Raise `AttackError` unless it is of so many records, and its shadows are among `k`."""
        d = self.target.shape[-1]
        shapes = {self.target.shape, *(one.shape for one in self.shadows.values())}
        if shapes != {(records, d)} or not all(0 <= number < k for number in self.shadows):
            raise AttackError(
                f"a trace does not fit: rows of {sorted(shapes)}, shadows {sorted(self.shadows)}; there are {records} "
                f"records and {k} shadows"
            )

    @property
    def taken(self) -> npt.NDArray[np.bool_]:
        """Bool [records]: the target's rows that were looked for."""
        return _looked_for(self.target)

    def examples(self, out: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """What was looked for of shadows, float64 [rows, d], and whether each row's shadow trained on its record.

        out: [K, records], True where a shadow did not.
        """
        values, members = [np.empty((0, self.target.shape[1]))], [np.empty(0, dtype=np.bool_)]
        for number, found in sorted(self.shadows.items()):
            rows = _looked_for(found)
            values.append(found[rows])
            members.append(~out[number, rows])
        return np.concatenate(values), np.concatenate(members)

    def take(self, records: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> Trace:
        """The same on fewer records; a view where they are a slice."""
        return Trace(
            self.target[records], {n: found[records] for n, found in self.shadows.items()}, self.queries[records]
        )

    def keep(self, shadows: npt.NDArray[np.int64]) -> Trace:
        """The same with these shadows, in this order."""
        return Trace(self.target, self._kept(shadows), self.queries)

    def play(self, shadow: int, others: npt.NDArray[np.int64]) -> Trace:
        """The same with `shadow` as the target and these `others` as shadows."""
        unseen = np.full_like(self.target, np.nan)
        return Trace(self.shadows.get(shadow, unseen), self._kept(others), self.queries)

    def _kept(self, shadows: npt.NDArray[np.int64]) -> dict[int, npt.NDArray[np.float64]]:
        return {new: self.shadows[old] for new, old in enumerate(shadows.tolist()) if old in self.shadows}


def _looked_for(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(values).all(axis=1), dtype=np.bool_)
