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
from edgeaudit.leakage.decision import TAIL, Bounds, corrected_level
from edgeaudit.leakage.metrics import figures
from edgeaudit.leakage.paired import Difference, auc_difference, tpr_difference
from edgeaudit.leakage.targets import FEWEST_TARGETS
from edgeaudit.leakage.thresholds import threshold_of
from edgeaudit.randomness import stream
from edgeaudit.report.model import CANARIES, AcrossTargets, LeakageRow

__all__ = ["Deployment", "Evidence", "FormatScores", "Judged", "Scores", "bounds_of"]

# Resamples for each test: fifty lie beyond the lower end, however it is corrected.
_RESAMPLES = 2000


class Deployment(NamedTuple):
    """A format on a device."""

    format: str
    device: str


@dataclass(frozen=True)
class FormatScores:
    """Scores of one format's attacks on the audited records.

    scores: `attack/variant` -> float64 [records], NaN where an attack did not score a record. members: bool [records].
    subsets: name -> bool [records]. labels: int64 [records], and groups: int64 [records], of related records; None
    where they are not stored. common: `attack/variant` -> scores with the probability floor at which formats are
    compared, where the format's own is another. canaries: the scores of canaries, where planted ones are `members`.
    """

    scores: Mapping[str, npt.NDArray[np.float64]]
    members: npt.NDArray[np.bool_]
    subsets: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    labels: npt.NDArray[np.int64] | None = None
    groups: npt.NDArray[np.int64] | None = None
    common: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    canaries: FormatScores | None = None

    def compared(self, series: str) -> npt.NDArray[np.float64]:
        """Return the scores by which this format is compared with others."""
        return self.common.get(series, self.scores[series])


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


def bounds_of(judged: Judged, evidence: Evidence) -> Bounds:
    """Return the figure with its intervals; an interval that is not resolvable is None and has the reason."""
    if judged.baseline is not None:
        return _increase(judged, judged.baseline, evidence)
    if judged.budget.scope == "pipeline":
        return _of_pipeline(judged, evidence)
    return _of_file(judged, evidence)


def _of_file(judged: Judged, evidence: Evidence) -> Bounds:
    row = _row(judged, evidence.rows)
    if row is None:
        some = "some classes have no figure: the report lists the largest of many, or none of their records was audited"
        missing = some if judged.subset == EVERY_CLASS else f"no figure on '{judged.subset}'"
        return Bounds(None, None, None, None, missing)
    if row.metric != judged.metric:
        return Bounds(None, None, None, None, row.note)
    corrected = None
    if row.low is not None and row.low > judged.limit:
        corrected = row.low if judged.tests == 1 else _recomputed(judged, row, evidence.scores(*judged.deployment))
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


def _recomputed(judged: Judged, row: LeakageRow, stored: FormatScores) -> float | None:
    """Return the lower end at the corrected level; None where the scores are not stored."""
    if judged.subset == CANARIES and stored.canaries is not None:
        return _recomputed(replace(judged, subset="all"), row, stored.canaries)
    scores, mask = stored.scores.get(judged.series), _mask(judged.subset, stored)
    if scores is None or mask is None:
        return None
    mask = mask & ~np.isnan(scores)
    kept, members = scores[mask], stored.members[mask]
    groups = None if stored.groups is None else stored.groups[mask]
    threshold = threshold_of(row.metric, row.value, row.realised_fpr, kept, members)
    again = figures(kept, members, threshold, None, groups, corrected_level(judged.tests))
    low = next(figure.low for figure in again if figure.metric == judged.metric)
    return None if low is None or row.low is None else min(low, row.low)


def _mask(subset: str, stored: FormatScores) -> npt.NDArray[np.bool_] | None:
    if subset == "all":
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


def _increase(judged: Judged, baseline: Deployment, evidence: Evidence) -> Bounds:
    here, there = evidence.scores(*judged.deployment), evidence.scores(*baseline)
    if judged.series not in here.scores or judged.series not in there.scores:
        note = f"{judged.series} could not be run; its row in the report gives the reason"
        return Bounds(None, None, None, None, note)
    change = _difference(judged, here, there, tests=1)
    corrected = None
    if change.low is not None and change.low > judged.limit:
        wider = change if judged.tests == 1 else _difference(judged, here, there, judged.tests)
        corrected = wider.low
    return Bounds(change.value, change.low, change.high, corrected, change.note)


def _difference(judged: Judged, here: FormatScores, there: FormatScores, tests: int) -> Difference:
    first, second = here.compared(judged.series), there.compared(judged.series)
    both = ~(np.isnan(first) | np.isnan(second))
    first, second, members = first[both], second[both], here.members[both]
    groups = None if here.groups is None else here.groups[both]
    level = corrected_level(tests)
    if judged.metric == "auc":
        return auc_difference(first, second, members, level, groups)
    place = judged.deployment
    alpha = float(re.sub(r"^tpr@fpr=", "", judged.metric))
    # Each device has its own random stream; this machine's has no name.
    device = () if place.device == LOCAL else (place.device,)
    rng = stream(0, "paired bootstrap", place.format, str(judged.budget.against), judged.metric, *device)
    return tpr_difference(first, second, members, alpha, rng, _RESAMPLES * tests, level, groups)
