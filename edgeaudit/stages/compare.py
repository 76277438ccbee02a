"""measurements of all formats on all devices -> differences and means over targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgeaudit.config.budgets import METRIC_RANGES
from edgeaudit.endpoint import LOCAL
from edgeaudit.graph.job import Context, Job, Ref
from edgeaudit.leakage.differing import Decide, differing
from edgeaudit.leakage.influence import LinearisedFigure, target_figure
from edgeaudit.leakage.rows import (
    AcrossTargets,
    ClaimedRecord,
    Comparison,
    Place,
    RecordClaims,
    SameFile,
    TargetFigure,
    TargetMean,
)
from edgeaudit.leakage.targets import mean_over_targets, pipeline_mean
from edgeaudit.leakage.thresholds import threshold_of
from edgeaudit.stages.claimed import RecordTests, claimed_records
from edgeaudit.stages.families import Measured, Weakened, comparisons
from edgeaudit.stages.json_files import read_json, write_json
from edgeaudit.stages.measure import Measure, MeasureResult
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query
from edgeaudit.stages.scores import TargetScores
from edgeaudit.stages.weaken import Weaken

__all__ = ["Answered", "Compare", "CompareResult", "CompareSettings", "TargetQuery", "run_compare"]

_FILE = "comparisons.json"


@dataclass(frozen=True)
class CompareSettings:
    """Inputs of a comparison other than the measurements.

    exposure: of the audit. targets: roles, the first target first. headlines: `attack/variant`, most important first.
    """

    exposure: str
    targets: tuple[str, ...]
    headlines: tuple[str, ...]
    seed: int


@dataclass(frozen=True, eq=False)
class Answered:
    """The first target's answers in one deployment. artifact: the job of its file. read: returns [records, outputs].

    decide: such answers -> the predicted class of each; None for the largest output.
    """

    format: str
    device: str
    artifact: Ref
    query: Ref
    read: Callable[[], npt.NDArray[np.floating[Any]]]
    decide: Decide | None = None

    @property
    def place(self) -> tuple[str, str]:
        """(format, device)."""
        return self.format, self.device


@dataclass(frozen=True)
class CompareResult:
    """Rows about several measurements. claimed: the single records of `claims`; of the first target."""

    across_targets: tuple[AcrossTargets, ...]
    comparisons: tuple[Comparison, ...]
    same_file: tuple[SameFile, ...]
    claims: RecordClaims | None = None
    claimed: tuple[ClaimedRecord, ...] = ()

    def save(self, folder: Path) -> None:
        """Write comparisons.json."""
        write_json(folder / _FILE, self)

    @classmethod
    def load(cls, folder: Path) -> CompareResult:
        """Read what `save` wrote."""
        return read_json(folder / _FILE, CompareResult)


@dataclass(frozen=True)
class TargetQuery:
    """The query of the first target in a format on a device."""

    format: str
    device: str
    query: Query


@dataclass(frozen=True, eq=False, kw_only=True)
class Compare(Job[CompareResult]):
    """Compare the measurements that succeeded. weakened: at weaker exposures. answers: of the first target."""

    kind: ClassVar[str] = "compare"
    essential: ClassVar[bool] = True
    result: ClassVar[type[CompareResult]] = CompareResult

    population: DrawPopulation
    settings: CompareSettings
    measures: tuple[Measure, ...]
    weakened: tuple[Weaken, ...]
    answers: tuple[TargetQuery, ...]

    @property
    def label(self) -> str:
        """See `Job`."""
        return "compare formats, devices and attacks"

    def run(self, context: Context) -> CompareResult:
        """See the class."""
        roles = self.settings.targets
        measured = [_measured(measure.settings.place, context.read(measure), roles) for measure in self.measures]
        weakened = []
        for measure in self.weakened:
            scores = context.read(measure).scores
            held = Measured(measure.measure.settings.place, tuple(scores[role] for role in roles))
            weakened.append(Weakened(measure.level, held))
        answered = [
            Answered(
                measure.format,
                measure.device,
                measure.query.source.ref,
                measure.query.ref,
                partial(_responses, context, measure.query),
                partial(_decisions, context, self.population, measure.query),
            )
            for measure in self.answers
        ]
        result = run_compare(self.settings, measured, weakened, answered)
        claims, claimed = claimed_records(*self._tested(context))
        return replace(result, claims=claims, claimed=claimed)

    def _tested(self, context: Context) -> tuple[int, list[RecordTests]]:
        """The number of audited records, and the tests of each of them in each format, with the audit's own shadows."""
        population = context.read(self.population)
        match, tested = self.measures[0].settings.place.shadow_match, []
        for measure in self.measures:
            place, result = measure.settings.place, context.read(measure)
            scores, test = result.scores[self.settings.targets[0]], result.findings.claim_test
            p_value = None if test is None else scores.p_value(test)
            records, calibrated = scores.records, scores.calibrated
            if test is None or p_value is None or place.shadow_match != match or records is None or calibrated is None:
                continue
            tested.append(
                RecordTests(
                    place.format if place.device == LOCAL else f"{place.format} on {place.device}",
                    test,
                    p_value,
                    scores.half_p_values(test),
                    len(measure.settings.evidence.shadows) // 4 * 2,
                    records,
                    population.labels[records],
                    scores.members,
                    calibrated,
                )
            )
        return len(population.audited), tested


def _measured(place: Place, result: MeasureResult, roles: Sequence[str]) -> Measured:
    findings = result.findings
    scores = tuple(result.scores[role] for role in roles)
    return Measured(place, scores, findings.leakage, tuple(findings.targets.values()))


def _responses(context: Context, query: Query) -> npt.NDArray[np.floating[Any]]:
    return context.read(query).responses


def _decisions(
    context: Context, population: DrawPopulation, query: Query, answers: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.int64] | None:
    inside = context.read(query.source).artifact.manifest.softmax_inside
    return context.read(population).task.decisions(answers, inside=inside)


def run_compare(
    settings: CompareSettings, measured: Sequence[Measured], weakened: Sequence[Weakened], answered: Sequence[Answered]
) -> CompareResult:
    """Compare measurements (`edgeaudit.stages.families`), figures of several targets, and answers of the same file."""
    across = tuple(row for m in measured for row in _across_targets(m))
    compared = comparisons(measured, weakened, settings.headlines, settings.exposure, settings.seed)
    return CompareResult(across, tuple(compared), tuple(_same_file(answered)))


def _across_targets(measured: Measured) -> Iterator[AcrossTargets]:
    """Every figure's mean over targets, if there are several."""
    if not measured.further:
        return
    figures = [{row.figure: row.of_target() for row in measured.leakage}]
    figures += [{row.figure: row for row in rows} for rows in measured.further]
    for key in figures[0]:
        over = _over_targets(measured, key, [of_target.get(key) for of_target in figures])
        if over.value is not None:
            yield AcrossTargets.of(measured.place, key, over)


def _over_targets(
    measured: Measured, key: tuple[str, str, str, str], figures: Sequence[TargetFigure | None]
) -> TargetMean:
    """A figure's mean over targets. Figures that a budget on the pipeline limits have an interval over records, too."""
    attack, variant, subset, metric = key
    over = mean_over_targets([None if row is None else row.value for row in figures])
    if subset != "all" or metric not in METRIC_RANGES or over.value is None:
        return over
    found = [
        None if row is None or row.value is None else _with_shares(scores, f"{attack}/{variant}", row)
        for scores, row in zip(measured.targets, figures, strict=True)
    ]
    of = METRIC_RANGES[metric]
    mean = pipeline_mean(found, (of.lowest, of.highest))
    if mean.value is not None:
        return mean
    note = "not resolvable: no target has enough nonmembers for an interval over records"
    return replace(over, low=None, high=None, note=note if over.note is None else f"{note}; {over.note}")


def _with_shares(target: TargetScores, series: str, row: TargetFigure) -> LinearisedFigure | None:
    """A target's figure with the share of each record in it."""
    scores = target.scores.get(series, target.scores.get(series.replace("/", ".", 1)))
    if scores is None or target.records is None:
        return None
    scored = ~np.isnan(scores)
    kept, members = scores[scored], target.members[scored]
    threshold = threshold_of(row.metric, row.value, row.realised_fpr, kept, members)
    units = target.records if target.groups is None else target.groups
    return target_figure(kept, members, row.metric, units[scored], threshold)


def _same_file(answered: Sequence[Answered]) -> Iterator[SameFile]:
    """Answers of the same file that was queried twice: one format on two devices, two runtimes on one device."""
    for a, b in combinations(answered, 2):
        unlike = (a.format != b.format) + (a.device != b.device)
        if a.artifact == b.artifact and a.query != b.query and unlike == 1:
            yield SameFile.of(a.place, b.place, differing(a.read(), b.read(), a.decide))
