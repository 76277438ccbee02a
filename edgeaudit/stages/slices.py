"""Figures by slice: every class, and every value of the columns that audit.yaml names. A part of `measure`.

A model can leak the records of a rare class while the average over all records shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.metrics import Figure, figures, unresolved
from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.paired import chance_p_value
from edgeaudit.leakage.rows import LeakageRow, Series, WorstSlice
from edgeaudit.population.groups import related
from edgeaudit.stages.evidence import Case

__all__ = ["CLASS", "FEWEST", "MOST", "SliceFigures", "records_by_slice"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Columns = Mapping[str, Mapping[str, IntArray]]
"""Column -> slice (`class:3`) -> places of its records among the audited ones."""

CLASS = "class"
FEWEST = 20
"""Members, and nonmembers, below which a slice has no figure."""
MOST = 100
"""Slices of a column that have rows; of more, those with the largest lower ends."""
_METRICS = ("auc", "tpr@fpr=0.01")


def records_by_slice(labels: IntArray | None, columns: Mapping[str, npt.NDArray[np.str_]]) -> Columns:
    """The audited records of each class and of each value of the user's columns.

    labels: int64 [audited]; None for tasks without classes. columns: name -> texts [audited].
    """
    values: dict[str, npt.NDArray[np.generic]] = {} if labels is None else {CLASS: labels}
    values |= columns
    found: dict[str, dict[str, IntArray]] = {}
    for name, column in values.items():
        kinds, index, counts = np.unique(column, return_inverse=True, return_counts=True)
        places = np.split(np.argsort(index, kind="stable").astype(np.int64), np.cumsum(counts)[:-1])
        found[name] = {f"{name}:{kind}": place for kind, place in zip(kinds.tolist(), places, strict=True)}
    return found


@dataclass(frozen=True)
class _Slice:
    """A slice of the first target. low: of its AUC; None where it is not resolvable."""

    name: str
    auc: Figure
    p_value: float | None

    @property
    def resolvable(self) -> bool:
        return self.auc.value is not None and self.p_value is not None


class SliceFigures:
    """Figures of one series by slice. The first target decides which of many slices have rows."""

    def __init__(self, columns: Columns, first: Case, score: FloatArray, series: Series) -> None:
        self._columns, self._first, self._score, self._series = columns, first, score, series
        self._by_column = {
            column: [self._slice(name, places) for name, places in slices.items()] for column, slices in columns.items()
        }

    def rows(self, case: Case, score: FloatArray) -> Iterator[LeakageRow]:
        """AUC and TPR at 1% FPR of a target's scores; one row for a slice with too few records."""
        for column, slices in self._by_column.items():
            for one in _kept(slices):
                for figure in self._figures(case, score, self._columns[column][one.name]):
                    yield self._series.row(one.name, figure)

    def worst(self) -> WorstSlice:
        """The first target's slice with the largest AUC."""
        every = [one for slices in self._by_column.values() for one in slices]
        known = [one for one in every if one.resolvable]
        place, series = self._series.place, self._series
        about = (place.format, place.device, series.attack, series.variant, place.shadow_match, series.exposure)
        overall = delong(self._score, self._first.members).auc
        hidden = len(every) - len(known)
        if not known:
            note = f"no slice has {FEWEST} members and {FEWEST} nonmembers"
            return WorstSlice(*about, None, None, None, None, None, overall, 0, 0, 0, hidden, note)
        adjusted = holm(np.array([one.p_value for one in known], dtype=np.float64))
        worst = max(range(len(known)), key=lambda i: known[i].auc.value or 0.0)
        auc = known[worst].auc
        ends = (auc.value, auc.low, auc.high, float(adjusted[worst]))
        counts = (auc.n_members, auc.n_nonmembers, len(known), hidden)
        return WorstSlice(*about, known[worst].name, *ends, overall, *counts, self._left_out())

    def _left_out(self) -> str | None:
        many = {column: len(slices) for column, slices in self._by_column.items() if len(slices) > MOST}
        if not many:
            return None
        return "; ".join(
            f"leakage has the {MOST} of {count:,} slices by {column} with the largest lower ends"
            for column, count in many.items()
        )

    def _slice(self, name: str, places: IntArray) -> _Slice:
        auc = next(self._figures(self._first, self._score, places))
        if auc.value is None:
            return _Slice(name, auc, None)
        groups = _groups(self._first, places)
        return _Slice(name, auc, chance_p_value(self._score[places], self._first.members[places], groups))

    def _figures(self, case: Case, score: FloatArray, places: IntArray) -> Iterator[Figure]:
        members = case.members[places]
        inside = int(members.sum())
        if min(inside, len(members) - inside) < FEWEST:
            note = f"not resolvable: a slice needs at least {FEWEST} members and {FEWEST} nonmembers"
            yield unresolved(_METRICS[0], members, note)
            return
        for figure in figures(score[places], members, None, groups=_groups(case, places)):
            if figure.metric in _METRICS:
                yield figure


def _groups(case: Case, places: IntArray) -> IntArray | None:
    return None if case.groups is None else related(case.groups[places])


def _kept(slices: Sequence[_Slice]) -> Sequence[_Slice]:
    if len(slices) <= MOST:
        return slices
    lows = [-1.0 if one.auc.low is None else one.auc.low for one in slices]
    chosen = sorted(np.argsort(-np.array(lows), kind="stable")[:MOST].tolist())
    return [slices[i] for i in chosen]
