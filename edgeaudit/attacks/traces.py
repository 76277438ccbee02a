"""Traces: measurements of a record beyond one answer, such as the distance to the decision boundary."""

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


def spread(positions: _IntArray, count: int) -> _IntArray:
    """Return `count` evenly spaced entries of `positions`; all where there are fewer."""
    return positions[np.linspace(0, len(positions) - 1, min(count, len(positions))).astype(np.int64)]


@dataclass(frozen=True)
class ShadowTrace:
    """The shadows' part of a trace.

    shape: (records, d).
    shadows: index of a measured shadow -> float64 [records, d], NaN in the rows of records that were not measured;
        shadows that were not measured are left out.
    """

    shape: tuple[int, int]
    shadows: Mapping[int, _FloatArray]

    def require_fit(self, records: int, k: int) -> None:
        """Raise `AttackError` unless the trace has this many records and its shadows are among `k`."""
        shapes = {self.shape, *(values.shape for values in self.shadows.values())}
        if shapes != {(records, self.shape[1])} or not all(0 <= index < k for index in self.shadows):
            raise AttackError(
                f"a trace has shapes {sorted(shapes)} and shadows {sorted(self.shadows)}, but there are {records} "
                f"records and {k} shadows"
            )

    def examples(self, out: _BoolArray) -> tuple[_FloatArray, _BoolArray]:
        """Return the measured rows of shadows, float64 [rows, d], and whether each row's shadow trained on its record.

        out: bool [K, records], True where the shadow did not train on the record.
        """
        rows, members = [np.empty((0, self.shape[1]))], [np.empty(0, dtype=np.bool_)]
        for index, values in sorted(self.shadows.items()):
            measured = _measured(values)
            rows.append(values[measured])
            members.append(~out[index, measured])
        return np.concatenate(rows), np.concatenate(members)

    def take(self, records: _Records) -> ShadowTrace:
        """Return the trace of these records only; numpy views for a slice."""
        rows = len(np.empty(self.shape[0], dtype=np.bool_)[records])
        return ShadowTrace((rows, self.shape[1]), {n: values[records] for n, values in self.shadows.items()})

    def keep(self, shadows: _IntArray) -> ShadowTrace:
        """Return the trace with these shadows only, in this order."""
        kept = {new: self.shadows[old] for new, old in enumerate(shadows.tolist()) if old in self.shadows}
        return ShadowTrace(self.shape, kept)

    def play(self, shadow: int, others: _IntArray) -> Trace:
        """Return the trace with `shadow` as the target and these `others` as shadows."""
        target = self.shadows.get(shadow, np.full(self.shape, np.nan))
        return Trace(target, self.keep(others).shadows, np.zeros(self.shape[0]))


@dataclass(frozen=True)
class TargetTrace:
    """The target's part of a trace: values, float64 [records, d], NaN where not measured; queries, as in `Trace`."""

    values: _FloatArray
    queries: _FloatArray

    @property
    def taken(self) -> _BoolArray:
        """Bool [records]: the rows that were measured."""
        return _measured(self.values)

    def take(self, records: _Records) -> TargetTrace:
        """Return the trace of these records only; numpy views for a slice."""
        return TargetTrace(self.values[records], self.queries[records])


@dataclass(frozen=True)
class Trace:
    """Measurements of some models on some records; a row of NaN where a record was not measured.

    target: float64 [records, d].
    shadows: index of a measured shadow -> float64 [records, d]; other shadows are left out.
    queries: float64 [records], the number of queries that each of the target's rows cost.
    """

    target: _FloatArray
    shadows: Mapping[int, _FloatArray]
    queries: _FloatArray

    @property
    def of_target(self) -> TargetTrace:
        """The target's part."""
        return TargetTrace(self.target, self.queries)

    @property
    def of_shadows(self) -> ShadowTrace:
        """The shadows' part."""
        return ShadowTrace((len(self.target), self.target.shape[-1]), self.shadows)

    @property
    def taken(self) -> _BoolArray:
        """Bool [records]: the target's rows that were measured."""
        return _measured(self.target)

    def take(self, records: _Records) -> Trace:
        """Return the trace of these records only; numpy views for a slice."""
        return Trace(
            self.target[records], {n: values[records] for n, values in self.shadows.items()}, self.queries[records]
        )

    def keep(self, shadows: _IntArray) -> Trace:
        """Return the trace with these shadows only, in this order."""
        return Trace(self.target, self.of_shadows.keep(shadows).shadows, self.queries)


def _measured(values: _FloatArray) -> _BoolArray:
    return np.asarray(np.isfinite(values).all(axis=1), dtype=np.bool_)
