"""Per-record findings beyond an answer, such as the distance to the decision boundary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import AttackError

__all__ = ["ShadowTrace", "TargetTrace", "Trace", "spread"]

_FloatArray = npt.NDArray[np.float64]
_BoolArray = npt.NDArray[np.bool_]
_IntArray = npt.NDArray[np.int64]
_Records = npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice


def spread(places: _IntArray, count: int) -> _IntArray:
    """`count` of the places, evenly spaced; all where there are fewer."""
    return places[np.linspace(0, len(places) - 1, min(count, len(places))).astype(np.int64)]


@dataclass(frozen=True)
class ShadowTrace:
    """The shadows' part of a trace.

    shape: (records, d). shadows: number of a shadow that was examined -> float64 [records, d], NaN in the rows of
    records that were not; shadows that were not examined are left out.
    """

    shape: tuple[int, int]
    shadows: Mapping[int, _FloatArray]

    def require_fit(self, records: int, k: int) -> None:
        """Raise `AttackError` unless it is of so many records, and its shadows are among `k`."""
        shapes = {self.shape, *(values.shape for values in self.shadows.values())}
        if shapes != {(records, self.shape[1])} or not all(0 <= number < k for number in self.shadows):
            raise AttackError(
                f"a trace does not fit: rows of {sorted(shapes)}, shadows {sorted(self.shadows)}; there are {records} "
                f"records and {k} shadows"
            )

    def examples(self, out: _BoolArray) -> tuple[_FloatArray, _BoolArray]:
        """The examined rows of shadows, float64 [rows, d], and whether each row's shadow trained on its record.

        out: [K, records], True where a shadow did not.
        """
        values, members = [np.empty((0, self.shape[1]))], [np.empty(0, dtype=np.bool_)]
        for number, found in sorted(self.shadows.items()):
            rows = _examined(found)
            values.append(found[rows])
            members.append(~out[number, rows])
        return np.concatenate(values), np.concatenate(members)

    def take(self, records: _Records) -> ShadowTrace:
        """The same on fewer records; views where they are a slice."""
        rows = len(np.empty(self.shape[0], dtype=np.bool_)[records])
        return ShadowTrace((rows, self.shape[1]), {n: values[records] for n, values in self.shadows.items()})

    def keep(self, shadows: _IntArray) -> ShadowTrace:
        """The same with these shadows, in this order."""
        kept = {new: self.shadows[old] for new, old in enumerate(shadows.tolist()) if old in self.shadows}
        return ShadowTrace(self.shape, kept)

    def play(self, shadow: int, others: _IntArray) -> Trace:
        """The same with `shadow` as the target and these `others` as shadows."""
        target = self.shadows.get(shadow, np.full(self.shape, np.nan))
        return Trace(target, self.keep(others).shadows, np.zeros(self.shape[0]))


@dataclass(frozen=True)
class TargetTrace:
    """The target's part of a trace: values, float64 [records, d], NaN where not examined; queries, as in `Trace`."""

    values: _FloatArray
    queries: _FloatArray

    @property
    def taken(self) -> _BoolArray:
        """Bool [records]: the rows that were examined."""
        return _examined(self.values)

    def take(self, records: _Records) -> TargetTrace:
        """The same on fewer records; views where they are a slice."""
        return TargetTrace(self.values[records], self.queries[records])


@dataclass(frozen=True)
class Trace:
    """Findings about some models on some records; a row of NaN where a record was not examined.

    target: float64 [records, d]. shadows: number of a shadow that was examined -> float64 [records, d]; the others
    are left out. queries: float64 [records], what the target's rows cost.
    """

    target: _FloatArray
    shadows: Mapping[int, _FloatArray]
    queries: _FloatArray

    @property
    def of_target(self) -> TargetTrace:
        """What was found about the target."""
        return TargetTrace(self.target, self.queries)

    @property
    def of_shadows(self) -> ShadowTrace:
        """What was found about the shadows."""
        return ShadowTrace((len(self.target), self.target.shape[-1]), self.shadows)

    @property
    def taken(self) -> _BoolArray:
        """Bool [records]: the target's rows that were examined."""
        return _examined(self.target)

    def take(self, records: _Records) -> Trace:
        """The same on fewer records; a view where they are a slice."""
        return Trace(
            self.target[records], {n: found[records] for n, found in self.shadows.items()}, self.queries[records]
        )

    def keep(self, shadows: _IntArray) -> Trace:
        """The same with these shadows, in this order."""
        return Trace(self.target, self.of_shadows.keep(shadows).shadows, self.queries)


def _examined(values: _FloatArray) -> _BoolArray:
    return np.asarray(np.isfinite(values).all(axis=1), dtype=np.bool_)
