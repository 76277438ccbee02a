"""responses -> leakage if a device returned less of them; nothing is queried again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeaudit.attacks.base import Attack
from edgeaudit.attacks.evidence import FloatArray
from edgeaudit.attacks.exposure import unreadable
from edgeaudit.attacks.many_queries import queries_of
from edgeaudit.config.exposures import Level, parse_level
from edgeaudit.errors import AttackError
from edgeaudit.graph.executor import AnyJob
from edgeaudit.graph.job import Context, Cost, Job
from edgeaudit.leakage.comparisons import METRICS
from edgeaudit.leakage.metrics import Figure, figures, unresolved
from edgeaudit.leakage.outputs import Granularity
from edgeaudit.leakage.rows import LeakageRow, Series
from edgeaudit.stages.evidence import Answers, Case
from edgeaudit.stages.figures import true_class_granularity, with_queries
from edgeaudit.stages.json_files import read_json, write_json
from edgeaudit.stages.measure import Fits, Measure, MeasureSettings, attack_of
from edgeaudit.stages.scores import StoredScores, TargetScores, save_scores

__all__ = ["Weaken", "WeakenFindings", "WeakenResult", "WeakenSettings", "run_weaken"]

_FILE = "exposure.json"


@dataclass(frozen=True)
class WeakenSettings:
    """Settings of a measurement at a weaker level: those of the measurement, and the level."""

    measure: MeasureSettings
    level: Level

    def series(self, attack: str, variant: str) -> Series:
        """The identity of this variant's figures."""
        return Series(self.measure.place, attack, variant, self.level.name)


@dataclass(frozen=True)
class WeakenFindings:
    """outputs: granularity of the true class's value at this level. leakage: of the first target."""

    outputs: Granularity
    leakage: tuple[LeakageRow, ...]


@dataclass(frozen=True)
class WeakenResult:
    """One format at one weaker level. scores: role -> scores of that target."""

    findings: WeakenFindings
    scores: Mapping[str, TargetScores]

    def save(self, folder: Path) -> None:
        """Write exposure.json, and one .npz of scores for each target."""
        write_json(folder / _FILE, self.findings)
        save_scores(folder, self.scores)

    @classmethod
    def load(cls, folder: Path) -> WeakenResult:
        """Read what `save` wrote; scores are read on use."""
        return cls(read_json(folder / _FILE, WeakenFindings), StoredScores(folder))


@dataclass(frozen=True, eq=False, kw_only=True)
class Weaken(Job[WeakenResult]):
    """Run every attack on one format's responses at one weaker level.

    measure: the measurement at the audit's own exposure, whose input answers are read. level: a name.
    """

    kind: ClassVar[str] = "weaken"
    result: ClassVar[type[WeakenResult]] = WeakenResult

    measure: Measure
    level: str

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"{self.level} of {self.measure.settings.place.format}"

    def reads(self) -> tuple[AnyJob, ...]:
        """The inputs of the measurement."""
        return self.measure.needs

    def code(self) -> tuple[str, ...]:
        """Modules of the attacks."""
        return self.measure.code()

    def cost(self) -> Cost:
        """Grouped by the number of shadows and the level."""
        return Cost((*self.measure.cost().group, self.level))

    def run(self, context: Context) -> WeakenResult:
        """See the class."""
        settings = WeakenSettings(self.measure.settings, parse_level(self.level))
        return run_weaken(settings, Answers(settings.measure.evidence, context, settings.level))


def run_weaken(settings: WeakenSettings, answers: Answers) -> WeakenResult:
    """Run every attack on the answers at the level.

    Each attack runs its first possible headline variant, and, if the level rounds, the variants that read answers as
    intervals (`Needs.grid`). An attack that cannot use the level has a row with the reason.
    """
    cases = tuple(answers.targets())
    chosen, rows = _choose(settings, cases[0])
    scores: dict[str, dict[str, FloatArray]] = {case.role: {} for case in cases}
    for attack, variant in chosen:
        rows += _score(attack, variant, cases, settings, scores)
    rows.sort(key=lambda row: settings.measure.attacks.index(row.attack))
    findings = WeakenFindings(true_class_granularity(cases[0]), tuple(rows))
    kept = {case.role: TargetScores(case.members, scores[case.role], {}, groups=case.groups) for case in cases}
    return WeakenResult(findings, kept)


def _choose(settings: WeakenSettings, case: Case) -> tuple[list[tuple[Attack, str]], list[LeakageRow]]:
    """The attacks to run, and a row for each attack that cannot run."""
    chosen: list[tuple[Attack, str]] = []
    rows: list[LeakageRow] = []
    for name in settings.measure.attacks:
        attack = attack_of(name, settings.measure)
        variants = _variants(attack, case, settings)
        if isinstance(variants, str):
            missing = unresolved("auc", case.members, f"not applicable: {variants}")
            rows.append(settings.series(name, attack.spec.headlines_in(settings.measure.mode)[0]).row("all", missing))
        else:
            chosen += [(attack, variant) for variant in variants]
    return chosen, rows


def _score(
    attack: Attack,
    variant: str,
    cases: Sequence[Case],
    settings: WeakenSettings,
    kept: dict[str, dict[str, FloatArray]],
) -> list[LeakageRow]:
    """Run one variant on every target; returns the first target's rows. Complete scores are added to `kept`."""
    fits, needs = Fits(attack, variant), attack.spec.needs_of(variant)
    series = settings.series(attack.spec.name, variant)
    rows: list[LeakageRow] = []
    for whole in cases:
        case, scored = whole.traced(needs.trace)
        scores = fits.score(case)
        if isinstance(scores, str):
            raise AttackError(scores)
        if scored.all():
            kept[case.role][series.name] = scores.score
        if whole is cases[0]:
            queries = queries_of(needs, case.audited)
            rows = [with_queries(series.row("all", figure), queries) for figure in _figures(scores.score, case)]
    return rows


def _variants(attack: Attack, case: Case, settings: WeakenSettings) -> tuple[str, ...] | str:
    """The variants to run, or why none of the attack's headline variants can."""
    level, headlines = settings.level, attack.spec.headlines_in(settings.measure.mode)
    reasons = {variant: _reason(attack, variant, case, level) for variant in headlines}
    headline = next((variant for variant, reason in reasons.items() if reason is None), None)
    if headline is None:
        return next(reason for reason in reasons.values() if reason is not None)
    gridded = [v for v in attack.spec.variants if attack.spec.needs_of(v).grid and v != headline]
    rounded = level.kind == "rounded"
    return headline, *(v for v in gridded if rounded and _reason(attack, v, case, level) is None)


def _reason(attack: Attack, variant: str, case: Case, level: Level) -> str | None:
    """Why a variant cannot run at the level, or None."""
    reason = unreadable(attack.spec, variant, level)
    if reason is not None:
        return reason
    part, _ = case.traced(attack.spec.needs_of(variant).trace)
    return attack.inapplicable(part.audited, part.reference, variant)


def _figures(score: FloatArray, case: Case) -> Iterator[Figure]:
    """AUC and TPR at low FPR. Figures at a threshold exist only at the full exposure."""
    return (figure for figure in figures(score, case.members, None, groups=case.groups) if figure.metric in METRICS)
