"""Intervals of an attack's figure, as a budget judges it: of this file, of this pipeline, or over another format."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy
from scipy import special

from edgeaudit.config.budgets import EVERY_CLASS, METRIC_RANGES, BudgetSpec
from edgeaudit.endpoint import LOCAL
from edgeaudit.leakage.decision import TAIL, Bounds
from edgeaudit.leakage.influence import LinearisedFigure, target_figure
from edgeaudit.leakage.metrics import figures
from edgeaudit.leakage.paired import Difference, auc_difference, tpr_difference
from edgeaudit.leakage.series_names import TAUGHT, compared
from edgeaudit.leakage.simultaneous import simultaneous_level
from edgeaudit.leakage.targets import FEWEST_TARGETS
from edgeaudit.leakage.thresholds import threshold_of
from edgeaudit.randomness import stream
from edgeaudit.report.model import CANARIES, AcrossTargets, LeakageRow

__all__ = ["Deployment", "Evidence", "FormatScores", "Judged", "Level", "Scores", "bounds_of", "level_of"]

_NOMINAL = 1 - 2 * TAIL
# Resamples for each test: fifty lie beyond the lower end, however it is corrected.
_RESAMPLES = 2000

Level = Callable[[], float]
"""The level at which the lower ends of a budget's figures hold together, computed when it is asked for."""


class Deployment(NamedTuple):
    """A format on a device."""

    format: str
    device: str


@dataclass(frozen=True)
class FormatScores:
    """Scores of one format's attacks on the audited records.

    scores: `attack/variant` -> float64 [records], NaN where an attack did not score a record. members: bool [records].
    subsets: name -> bool [records]. labels: int64 [records], groups: int64 [records], of related records, and records:
    int64 [records], their ids; None where they are not stored. canaries: the scores of canaries, where planted ones are
    `members`.
    """

    scores: Mapping[str, npt.NDArray[np.float64]]
    members: npt.NDArray[np.bool_]
    subsets: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    labels: npt.NDArray[np.int64] | None = None
    groups: npt.NDArray[np.int64] | None = None
    canaries: FormatScores | None = None
    records: npt.NDArray[np.int64] | None = None

    def compared(self, series: str) -> npt.NDArray[np.float64]:
        """Return the scores by which this format is compared with others."""
        return compared(self.scores, series)


Scores = Callable[[str, str], FormatScores]
"""(format id, device) -> its stored scores."""


@dataclass(frozen=True)
class Evidence:
    """What budgets are judged on, see `judge`. rows: of the first target. across: over all targets."""

    rows: Sequence[LeakageRow]
    across: Sequence[AcrossTargets]
    scores: Scores
    classes: int = 0


@dataclass(frozen=True)
class Judged:
    """One figure of a budget: an attack (`attack/variant`) on a subset of the records of a deployment.

    baseline: the deployment from which an increase is measured. tests: attacks times classes of the budget, for which
    lower ends are corrected.
    """

    metric: str
    budget: BudgetSpec
    deployment: Deployment
    baseline: Deployment | None
    series: str
    subset: str
    tests: int

    @property
    def limit(self) -> float:
        """The value that the figure must not exceed."""
        value = self.budget.max if self.budget.max is not None else self.budget.max_increase
        return float(value or 0)


def bounds_of(judged: Judged, evidence: Evidence, level: Level) -> Bounds:
    """Return the figure with its intervals; an interval that is not resolvable is None and has the reason.

    What is taught memberships has no corrected lower end: by it no budget fails.
    """
    found = _bounds_of(judged, evidence, level)
    return replace(found, low_corrected=None) if judged.series == TAUGHT else found


def _bounds_of(judged: Judged, evidence: Evidence, level: Level) -> Bounds:
    if judged.baseline is not None:
        return _increase(judged, judged.baseline, evidence, level)
    if judged.budget.scope == "pipeline":
        return _of_pipeline(judged, evidence)
    return _of_file(judged, evidence, level)


def level_of(family: Sequence[Judged], evidence: Evidence) -> float:
    """Return the level of the two-sided intervals whose lower ends hold together (`simultaneous_level`).

    family: all figures of a budget on one deployment. A budget on a pipeline is corrected for their number alone, since
    a few targets do not tell how attacks are related.
    """
    return simultaneous_level([_shares(one, evidence) for one in family], family[0].tests)


def _shares(judged: Judged, evidence: Evidence) -> LinearisedFigure | None:
    """Return the figure's shares of the records; None where it has none."""
    here = _stored(judged, evidence.scores(*judged.deployment))
    if here is None:
        return None
    if judged.baseline is not None:
        return _shares_of_difference(judged, here, evidence.scores(*judged.baseline))
    row = _row(judged, evidence.rows)
    if row is None or row.metric != judged.metric or row.value is None:
        return None
    kept = _kept(judged, here)
    if kept is None:
        return None
    threshold = threshold_of(row.metric, row.value, row.realised_fpr, kept.scores, kept.members)
    return target_figure(kept.scores, kept.members, judged.metric, kept.units, threshold)


def _shares_of_difference(judged: Judged, here: FormatScores, there: FormatScores) -> LinearisedFigure | None:
    if judged.series not in here.scores or judged.series not in there.scores:
        return None
    first, second = (
        target_figure(kept.scores, kept.members, judged.metric, kept.units) for kept in _pair(judged, here, there)
    )
    if first is None or second is None:
        return None
    return LinearisedFigure(first.value - second.value, first.units, first.shares - second.shares)


def _of_file(judged: Judged, evidence: Evidence, level: Level) -> Bounds:
    row = _row(judged, evidence.rows)
    if row is None:
        some = "some classes have no figure: the report lists the largest of many, or none of their records was audited"
        missing = some if judged.subset == EVERY_CLASS else f"no figure on '{judged.subset}'"
        return Bounds(None, None, None, None, missing)
    if row.metric != judged.metric:
        return Bounds(None, None, None, None, row.note)
    corrected = None
    if row.low is not None and row.low > judged.limit:
        corrected = row.low if judged.tests == 1 else _recomputed(judged, row, evidence, level)
    return Bounds(row.value, row.low, row.high, corrected, row.note)


def _row(judged: Judged, rows: Sequence[LeakageRow]) -> LeakageRow | None:
    """Return the figure's row, or the one that says why there is none."""
    own = [
        row
        for row in rows
        if (row.format, row.device) == judged.deployment and f"{row.attack}/{row.variant}" == judged.series
    ]
    # The first shadow match is the one that the audit reports; later ones are ablations.
    found = next((row for row in own if (row.subset, row.metric) == (judged.subset, judged.metric)), None)
    # Where an attack could not be run, or a subset lacks members, its only row is for AUC and gives the reason.
    none = (row for row in own if row.metric == "auc" and row.value is None and row.high is None)
    return found or next((row for row in none if row.subset in (judged.subset, "all")), None)


@dataclass(frozen=True)
class _Kept:
    """What a figure was computed on: float64, bool and int64 [n]; groups: None where records are not related.

    places: of the records among all that are scored, int64 [n].
    """

    scores: npt.NDArray[np.float64]
    members: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.int64] | None
    places: npt.NDArray[np.int64]

    @classmethod
    def of(cls, stored: FormatScores, scores: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_]) -> _Kept:
        """Keep the records of a mask."""
        groups = None if stored.groups is None else stored.groups[mask]
        return cls(scores[mask], stored.members[mask], groups, np.flatnonzero(mask))

    @property
    def units(self) -> npt.NDArray[np.int64]:
        """What is drawn: groups of related records, or records."""
        return self.places if self.groups is None else self.groups


def _stored(judged: Judged, stored: FormatScores) -> FormatScores | None:
    """Return the scores of the judged records: the audited ones, or the canaries."""
    return stored.canaries if judged.subset == CANARIES else stored


def _kept(judged: Judged, stored: FormatScores) -> _Kept | None:
    """Return the scored records of the judged subset; None where they are not stored."""
    scores, mask = stored.scores.get(judged.series), _mask(judged.subset, stored)
    if scores is None or mask is None:
        return None
    return _Kept.of(stored, scores, mask & ~np.isnan(scores))


def _pair(judged: Judged, here: FormatScores, there: FormatScores) -> tuple[_Kept, _Kept]:
    """Return the scores of two deployments on the records that both have."""
    first, second = here.compared(judged.series), there.compared(judged.series)
    both = ~(np.isnan(first) | np.isnan(second))
    return _Kept.of(here, first, both), _Kept.of(here, second, both)


def _recomputed(judged: Judged, row: LeakageRow, evidence: Evidence, level: Level) -> float | None:
    """Return the lower end at the corrected level; None where the scores are not stored."""
    source = _stored(judged, evidence.scores(*judged.deployment))
    kept = None if source is None else _kept(judged, source)
    if kept is None:
        return None
    threshold = threshold_of(row.metric, row.value, row.realised_fpr, kept.scores, kept.members)
    again = figures(kept.scores, kept.members, threshold, None, kept.groups, level())
    low = next(figure.low for figure in again if figure.metric == judged.metric)
    return None if low is None or row.low is None else min(low, row.low)


def _mask(subset: str, stored: FormatScores) -> npt.NDArray[np.bool_] | None:
    if subset in ("all", CANARIES):
        return np.ones(len(stored.members), dtype=np.bool_)
    if subset in stored.subsets:
        return stored.subsets[subset]
    if subset.startswith("class:") and stored.labels is not None:
        of_class: npt.NDArray[np.bool_] = stored.labels == int(subset.removeprefix("class:"))
        return of_class
    return None


def _of_pipeline(judged: Judged, evidence: Evidence) -> Bounds:
    row = next(
        (
            row
            for row in evidence.across
            if (row.format, row.device) == judged.deployment
            and (f"{row.attack}/{row.variant}", row.subset, row.metric) == (judged.series, judged.subset, judged.metric)
        ),
        None,
    )
    if row is None or row.targets < FEWEST_TARGETS:
        note = (
            f"not resolvable: a pipeline is judged over {FEWEST_TARGETS} or more targets that have the figure, and "
            f"{'1 has' if row is None else f'{row.targets} have'} it; raise 'targets'"
        )
        return Bounds(None if row is None else row.value, None, None, None, note)
    if row.missing:
        # Those without a figure may be those that leak more.
        return Bounds(row.value, row.low, None, None, row.note)
    corrected = None
    if row.value is not None and row.low is not None and row.low > judged.limit:
        corrected = _wider_low(judged, row.value, row.low, row.targets)
    return Bounds(row.value, row.low, row.high, corrected, row.note)


def _wider_low(judged: Judged, value: float, low: float, targets: int) -> float | None:
    """Return the lower end of `pipeline_mean` at the corrected tail: Student's t on the logit scale of the range."""
    of = METRIC_RANGES[judged.metric]
    value, low = ((end - of.lowest) / (of.highest - of.lowest) for end in (value, low))
    if not 0 < low <= value < 1:
        return None
    center, df = special.logit(value), targets - 1
    wider = scipy.stats.t.isf(TAIL / judged.tests, df) / scipy.stats.t.isf(TAIL, df)
    share = float(special.expit(center - wider * (center - special.logit(low))))
    return of.lowest + (of.highest - of.lowest) * share


def _increase(judged: Judged, baseline: Deployment, evidence: Evidence, level: Level) -> Bounds:
    here, there = evidence.scores(*judged.deployment), evidence.scores(*baseline)
    if judged.series not in here.scores or judged.series not in there.scores:
        note = f"{judged.series} could not be run; its row in the report gives the reason"
        return Bounds(None, None, None, None, note)
    change = _difference(judged, here, there, 1, _NOMINAL)
    corrected = None
    if change.low is not None and change.low > judged.limit:
        wider = change if judged.tests == 1 else _difference(judged, here, there, judged.tests, level())
        corrected = wider.low
    return Bounds(change.value, change.low, change.high, corrected, change.note)


def _difference(judged: Judged, here: FormatScores, there: FormatScores, tests: int, level: float) -> Difference:
    first, second = _pair(judged, here, there)
    if judged.metric == "auc":
        return auc_difference(first.scores, second.scores, first.members, level, first.groups)
    place = judged.deployment
    alpha = float(re.sub(r"^tpr@fpr=", "", judged.metric))
    # Each device has its own random stream; this machine's has no name.
    device = () if place.device == LOCAL else (place.device,)
    rng = stream(0, "paired bootstrap", place.format, str(judged.budget.against), judged.metric, *device)
    scores, resamples = (first.scores, second.scores), _RESAMPLES * tests
    return tpr_difference(*scores, first.members, alpha, rng, resamples, level, first.groups)
