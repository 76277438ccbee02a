"""responses -> scores, p-values and leakage, by pure functions of stored arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import scipy

from edgeaudit.attacks.base import Attack, Scorer, Scores
from edgeaudit.attacks.cm_mia import CmMia
from edgeaudit.attacks.headline import headline_order
from edgeaudit.attacks.many_queries import queries_of, with_views
from edgeaudit.attacks.registry import ATTACKS, find_attack, make_attack
from edgeaudit.attacks.selection import SelectionName, SelectionRule, select
from edgeaudit.attacks.spec import Mode
from edgeaudit.attacks.threshold import Threshold, learn_threshold
from edgeaudit.graph.job import Context, Cost, Job, unkeyed
from edgeaudit.leakage.metrics import unresolved
from edgeaudit.leakage.outputs import Granularity
from edgeaudit.leakage.rows import (
    Accuracy,
    Behaviour,
    CalibrationLeak,
    Curve,
    ExposedRecord,
    LeakageRow,
    NullControlRow,
    NullHistogram,
    PCalibration,
    Place,
    Series,
    TargetFigure,
    WorstSlice,
)
from edgeaudit.leakage.series_names import TAUGHT_ATTACK, TAUGHT_VARIANT, at_common_floor
from edgeaudit.leakage.taught import FEWEST, taught_scores
from edgeaudit.stages.answer_features import answer_features, residual_features
from edgeaudit.stages.behaviour import behaviour
from edgeaudit.stages.calibration import calibration_leaks, uncalibrated
from edgeaudit.stages.claimed import claim_test, half_p_values
from edgeaudit.stages.evidence import Answers, Case, EvidenceSettings, accuracy
from edgeaudit.stages.figures import (
    curve,
    epsilon_bounds,
    exposed,
    leakage,
    null_control,
    true_class_granularity,
    with_queries,
)
from edgeaudit.stages.json_files import read_json, write_json
from edgeaudit.stages.p_values import calibrate, claims, histograms, verdicts
from edgeaudit.stages.scores import (
    StoredScores,
    TargetScores,
    named_half_p_values,
    named_p_values,
    named_scores,
    save_scores,
)
from edgeaudit.stages.slices import SliceFigures, records_by_slice

__all__ = [
    "CmMiaSettings", "Fits", "Measure", "MeasureFindings", "MeasureResult", "MeasureSettings",
    "attack_of", "run_measure",
]  # fmt: skip

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

_FILE = "measurement.json"
_SELECTIONS: dict[str, SelectionName] = {"fraction": "fraction", "alpha-beta": "alpha_beta", "hardness": "hardness"}


@dataclass(frozen=True)
class CmMiaSettings:
    """`cm-mia` of audit.yaml; see `SelectionRule`, `CmMia` and `verdicts`. d0 None: empirical Bayes."""

    fraction: float
    neighbours: int
    alpha: float | None
    beta: float
    d0: float | None
    cutoffs: tuple[float, ...]


@dataclass(frozen=True)
class MeasureSettings:
    """Inputs of a measurement other than answers.

    mode: threat.mode. members_drawn: whether members were drawn at random by edgeaudit.
    attacks: names, in the order of the report. settings: by name of the attack.
    """

    evidence: EvidenceSettings
    place: Place
    mode: Mode
    members_drawn: bool
    attacks: tuple[str, ...]
    cm_mia: CmMiaSettings
    settings: Mapping[str, Mapping[str, Any]]

    @property
    def seed(self) -> int:
        """The audit's seed."""
        return self.evidence.seed

    def series(self, attack: str, variant: str) -> Series:
        """The identity of this variant's figures."""
        return Series(self.place, attack, variant, self.evidence.exposure)


@dataclass(frozen=True)
class MeasureFindings:
    """Reported results: everything on the first target, the figures on each further one, the AUC on null targets.

    targets: role -> figures of each further target. floors: role -> floor of its probabilities, null targets included.
    thresholds: role -> `attack/variant` -> member where score >= threshold; None where none could be learned.
    claim_test: `attack/variant` whose p-values stand for single records; None where none are valid.
    chance: each target's AUCs, tested as those of null targets are.
    worst_slices: one row for each attack that ran.
    """

    leakage: tuple[LeakageRow, ...]
    curves: tuple[Curve, ...]
    null_p_values: tuple[NullHistogram, ...]
    p_calibration: tuple[PCalibration, ...]
    exposed: tuple[ExposedRecord, ...]
    calibration: tuple[CalibrationLeak, ...]
    targets: Mapping[str, tuple[TargetFigure, ...]]
    null_control: tuple[NullControlRow, ...]
    chance: tuple[NullControlRow, ...]
    behaviour: Behaviour
    accuracy: Accuracy
    outputs: Granularity
    floors: Mapping[str, float]
    thresholds: Mapping[str, Mapping[str, float | None]]
    claim_test: str | None = None
    worst_slices: tuple[WorstSlice, ...] = ()


@dataclass(frozen=True)
class MeasureResult:
    """One format's measurement. scores: role -> scores of that target, null targets last."""

    findings: MeasureFindings
    scores: Mapping[str, TargetScores]

    def save(self, folder: Path) -> None:
        """Write measurement.json, and one .npz of scores for each target and null target."""
        write_json(folder / _FILE, self.findings)
        save_scores(folder, self.scores)

    @classmethod
    def load(cls, folder: Path) -> MeasureResult:
        """Read what `save` wrote; scores are read on use."""
        return cls(read_json(folder / _FILE, MeasureFindings), StoredScores(folder))


@dataclass(frozen=True, eq=False, kw_only=True)
class Measure(Job[MeasureResult]):
    """Run every attack on one format's responses. local: whether they come from this machine, for display."""

    kind: ClassVar[str] = "measure"
    result: ClassVar[type[MeasureResult]] = MeasureResult

    settings: MeasureSettings
    local: bool = unkeyed(default=True)

    @property
    def label(self) -> str:
        """See `Job`."""
        place = self.settings.place
        where = "" if self.local else f" on {place.device}"
        return f"measure {place.format}{where} ({place.shadow_match} shadows)"

    def code(self) -> tuple[str, ...]:
        """Modules of the attacks."""
        return tuple(ATTACKS.module(name) for name in self.settings.attacks)

    def cost(self) -> Cost:
        """Grouped by the number of shadows."""
        evidence = self.settings.evidence
        return Cost((evidence.population.key, len(evidence.shadows)))

    def run(self, context: Context) -> MeasureResult:
        """See the class."""
        return run_measure(self.settings, Answers(self.settings.evidence, context))


def run_measure(settings: MeasureSettings, answers: Answers) -> MeasureResult:
    """Run every attack on every target and null target."""
    cases = (*answers.targets(), *answers.nulls())
    return _Measurement(settings, answers, cases).result()


class Fits:
    """The scorers of one variant: targets of the same shadows share one fit."""

    def __init__(self, attack: Attack, variant: str) -> None:
        self._attack, self._variant = attack, variant
        self._scorers: list[Scorer] = []

    def score(self, case: Case) -> Scores | str:
        """The scores of one target, or why the variant cannot run."""
        missing = self._attack.inapplicable(case.audited, case.reference, self._variant)
        if missing is not None:
            return missing
        return self._scorer(case).score(case.audited.target_answers, case.reference.target_answers)

    def _scorer(self, case: Case) -> Scorer:
        shadows, reference = case.audited.shadow_answers, case.reference.shadow_answers
        for scorer in self._scorers:
            if scorer.shadows.same_as(shadows) and scorer.reference.same_as(reference):
                return scorer
        self._scorers.append(self._attack.fit(shadows, self._variant, reference))
        return self._scorers[-1]


@dataclass
class _Rows:
    """Rows, in the order in which they are computed."""

    leakage: list[LeakageRow] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    null_p_values: list[NullHistogram] = field(default_factory=list)
    p_calibration: list[PCalibration] = field(default_factory=list)
    calibration: list[CalibrationLeak] = field(default_factory=list)
    targets: dict[str, list[TargetFigure]] = field(default_factory=dict)
    null_control: list[NullControlRow] = field(default_factory=list)
    thresholds: dict[str, dict[str, float | None]] = field(default_factory=dict)
    chance: list[NullControlRow] = field(default_factory=list)
    worst_slices: list[WorstSlice] = field(default_factory=list)

    def keep(self, case: Case, rows: Sequence[LeakageRow]) -> None:
        if case.role == "target":
            self.leakage += rows
        elif not case.is_null:
            self.targets.setdefault(case.role, []).extend(row.of_target() for row in rows)


@dataclass(frozen=True)
class _Scored:
    """A target on which a variant ran. case: of the scored records; scored: bool [audited], their mask."""

    case: Case
    scored: BoolArray
    scores: Scores


class _Measurement:
    """The state of one format's measurement."""

    def __init__(self, settings: MeasureSettings, answers: Answers, cases: Sequence[Case]) -> None:
        self.settings, self.answers, self.cases, self.first = settings, answers, cases, cases[0]
        self.subsets = _subsets(self.first, settings.cm_mia)
        labels = answers.labels[: answers.n_audited] if answers.task.has_classes else None
        self.slices = records_by_slice(labels, answers.slices)
        self.rows = _Rows()
        self.scores: dict[str, dict[str, FloatArray]] = {case.role: {} for case in cases}
        self.p_values: dict[str, dict[str, FloatArray]] = {case.role: {} for case in cases}
        self.learned: dict[tuple[str, str], Threshold] = {}
        compared = answers.at_common_floor()
        self.compared = () if compared is answers else (*compared.targets(), *compared.nulls())

    def result(self) -> MeasureResult:
        for name in self.settings.attacks:
            for attack in with_views(attack_of(name, self.settings), self.first.audited):
                for variant in attack.spec.variants:
                    self._run(attack, variant)
            self._score_to_compare(name)
            self._slice(name)
        self._teach()
        headlines = headline_order(self.settings.attacks, self.settings.mode)
        test = claim_test(headlines, self.rows.p_calibration)
        if test is not None:
            self.p_values[self.first.role] |= named_half_p_values(test, self._by_halves(test))
        rows, scores = self.rows, {case.role: self._scores_of(case) for case in self.cases}
        findings = MeasureFindings(
            tuple(rows.leakage),
            tuple(rows.curves),
            tuple(rows.null_p_values),
            tuple(rows.p_calibration),
            tuple(exposed(self.first, scores[self.first.role], self.settings.place, headlines, test)),
            tuple(rows.calibration),
            {role: tuple(of_target) for role, of_target in rows.targets.items()},
            tuple(rows.null_control),
            tuple(rows.chance),
            behaviour(self.answers),
            accuracy(self.answers),
            true_class_granularity(self.first),
            {case.role: case.audited.floor for case in self.cases},
            rows.thresholds,
            test,
            tuple(rows.worst_slices),
        )
        return MeasureResult(findings, scores)

    def _scores_of(self, case: Case) -> TargetScores:
        return TargetScores(
            case.members,
            self.scores[case.role],
            self.p_values[case.role],
            self.answers.records,
            np.isin(self.answers.records, case.calibration),
            {name: mask for name, mask in self.subsets.items() if name != "all"},
            case.groups,
        )

    def _by_halves(self, test: str) -> tuple[FloatArray, ...]:
        """The first target's p-values by halves of the shadows; of one test, since each half is a fit of its own."""
        name, _, variant = test.partition("/")
        return half_p_values(self.first, attack_of(name, self.settings), variant, self.settings.seed)

    def _score_to_compare(self, name: str) -> None:
        """Score by the headline variants that ran once more, with the probability floor that all formats share.

        An attacker may clip where he likes, so the larger figure is the one that counts: both are judged.
        """
        attack = attack_of(name, self.settings)
        for variant in attack.spec.headlines if self.compared else ():
            own, fits = self.settings.series(name, variant), Fits(attack, variant)
            series = self.settings.series(name, at_common_floor(variant))
            found: dict[str, Scores] = {}
            for case in self.compared:
                scores = fits.score(case) if own.name in self.scores[case.role] else ""
                if not isinstance(scores, str):
                    found[case.role] = scores
            if all(_same_order(one.score, self.scores[role][own.name]) for role, one in found.items()):
                continue
            for case in self.cases:
                if case.role in found:
                    self._beside(case, found[case.role], series, self.learned.get((case.role, own.name)))

    def _teach(self) -> None:
        """What a classifier of each target's own answers finds that is taught the memberships of other records."""
        series = self.settings.series(TAUGHT_ATTACK, TAUGHT_VARIANT)
        for case in self.cases:
            if case.is_null:
                continue
            odds = taught_scores(self._features(case), case.members, case.groups, self.settings.seed)
            if odds is None:
                note = f"not resolvable: nothing is taught with fewer than {FEWEST} members or nonmembers"
                self.rows.keep(case, [series.row("all", unresolved("auc", case.members, note))])
                continue
            self._beside(case, Scores(odds), series, Threshold(0.0))
        if series.name in self.scores[self.first.role]:
            self._slice_series(series)

    def _features(self, case: Case) -> FloatArray:
        features = answer_features(case.audited)
        if case.audited.task.has_classes:
            return features
        return np.concatenate((features, residual_features(*self.answers.outputs_and_truth(case.role))), axis=1)

    def _beside(self, case: Case, scores: Scores, series: Series, threshold: Threshold | None) -> None:
        """Figures that are judged beside those of attacks, on all records and on the subsets that budgets may name."""
        self.scores[case.role][series.name] = scores.score
        if case.is_null:
            return
        threshold = threshold or Threshold(None, "no threshold was learned")
        self.rows.thresholds.setdefault(case.role, {})[series.name] = threshold.value
        self.rows.keep(case, list(leakage(case, self.subsets, threshold, scores, series)))

    def _slice(self, name: str) -> None:
        """Figures by class and by the user's columns, of the attack's first headline variant that ran."""
        variants = find_attack(name).spec.headlines_in(self.settings.mode)
        series = (self.settings.series(name, variant) for variant in variants)
        chosen = next((one for one in series if one.name in self.scores[self.first.role]), None)
        if chosen is None or not self.slices:
            return
        self.rows.worst_slices.append(self._slice_series(chosen).worst())
        other = self.settings.series(name, at_common_floor(chosen.variant))
        if other.name in self.scores[self.first.role]:
            self._slice_series(other)

    def _slice_series(self, series: Series) -> SliceFigures:
        figures = SliceFigures(self.slices, self.first, self.scores[self.first.role][series.name], series)
        for case in self.cases:
            score = self.scores[case.role].get(series.name)
            if score is not None and not case.is_null:
                self.rows.keep(case, list(figures.rows(case, score)))
        return figures

    def _run(self, attack: Attack, variant: str) -> None:
        """One variant on every target."""
        series, rows = self.settings.series(attack.spec.name, variant), self.rows
        scored = list(self._score(attack, variant, series))
        # P-values are checked on every known nonmember of the audit before they are used.
        calibration, ranking = calibrate(attack.spec, series, [(target.case, target.scores) for target in scored])
        rows.p_calibration += calibration
        threshold: Threshold | None = None
        for target in scored:
            if target.case.is_null:
                rows.null_control.append(null_control(target.case, target.scores, series))
                continue
            if target.scored.all():
                rows.chance.append(null_control(target.case, target.scores, series))
            if threshold is None or threshold.note is not None:
                # Learned from shadows alone, so all targets share it; a fallback depends on the target.
                played = target.case.audited.shadow_answers if self.settings.mode == "auditor" else None
                threshold = learn_threshold(
                    attack, variant, target.case.reference, seed=self.settings.seed, played=played
                )
            self._report(attack, target, series, threshold, ranking)

    def _score(self, attack: Attack, variant: str, series: Series) -> Iterator[_Scored]:
        """The targets on which the variant can run; the others get a row with the reason."""
        fits = Fits(attack, variant)
        for whole in self.cases:
            case, scored = whole.traced(attack.spec.needs_of(variant).trace)
            scores = fits.score(case)
            if isinstance(scores, str):
                missing = unresolved("auc", case.members, f"not applicable: {scores}")
                self.rows.keep(case, [series.row("all", missing)])
                continue
            self.scores[case.role] |= named_scores(series, scores, scored)
            self.p_values[case.role] |= named_p_values(series, scores, scored)
            yield _Scored(case, scored, scores)

    def _report(
        self, attack: Attack, target: _Scored, series: Series, threshold: Threshold, ranking: str | None
    ) -> None:
        """The figures of one target other than null targets."""
        case, scores, report = target.case, target.scores, self.rows
        report.thresholds.setdefault(case.role, {})[series.name] = threshold.value
        self.learned[case.role, series.name] = threshold
        records = self.answers.records[target.scored]
        subsets = {name: mask[target.scored] for name, mask in self.subsets.items()} | uncalibrated(case, records)
        rows = list(leakage(case, subsets, threshold, scores, series))
        if isinstance(attack, CmMia):
            rows += verdicts(case, self.subsets, scores, ranking, self.settings.cm_mia.cutoffs, series)
        is_first = case.role == self.first.role
        if is_first:
            rows += epsilon_bounds(case, scores, series, self.settings.seed, members_drawn=self.settings.members_drawn)
            report.calibration += calibration_leaks(case, records, scores, series)
            rows += claims(case, scores, ranking, series)
        queries = queries_of(attack.spec.needs_of(series.variant), case.audited)
        report.keep(case, [with_queries(row, queries) for row in rows])
        if is_first:
            report.curves.append(curve(case, scores, series))
            if isinstance(attack, CmMia):
                report.null_p_values += histograms(case, scores, series)


def attack_of(name: str, settings: MeasureSettings) -> Attack:
    """The attack of this name, with its settings from audit.yaml."""
    if name == CmMia.spec.name:
        return CmMia(d0=settings.cm_mia.d0)
    return make_attack(name, settings.settings.get(name, {}))


def _same_order(first: FloatArray, second: FloatArray) -> bool:
    """Whether scores rank records alike, ties included, so that all their figures are the same."""
    return np.array_equal(scipy.stats.rankdata(first), scipy.stats.rankdata(second))


def _subsets(case: Case, settings: CmMiaSettings) -> dict[str, BoolArray]:
    """Name -> bool [audited]. Subsets do not depend on the target, so all targets share them."""
    audited, reference = case.audited.shadow_answers, case.reference.shadow_answers
    subsets = {"all": np.ones(len(audited.labels), dtype=np.bool_)}
    if not len(audited.shadows):
        return subsets  # hardness is estimated from shadows
    for name, rule in _SELECTIONS.items():
        chosen = SelectionRule(rule, settings.fraction, settings.neighbours, settings.alpha, settings.beta)
        subsets[f"abnormal:{name}"] = select(chosen, audited, reference, case.n_trained)
    return subsets
