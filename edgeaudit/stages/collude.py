"""measurements of several formats -> multi-version attacks (collusion), compared with the best single format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from edgeaudit.attacks.compleak import Classifier, Pair, Stack
from edgeaudit.attacks.evidence import BoolArray, FloatArray, IntArray
from edgeaudit.attacks.joint_lira import JointLira
from edgeaudit.attacks.spec import Mode
from edgeaudit.attacks.versions import ShadowVersion, TargetVersion
from edgeaudit.errors import AttackError
from edgeaudit.graph.executor import AnyJob
from edgeaudit.graph.job import Context, Job
from edgeaudit.leakage.combined import Gain, adjusted, gain
from edgeaudit.leakage.comparisons import METRICS, Scored
from edgeaudit.leakage.metrics import Figure, figures
from edgeaudit.leakage.paired import chance_p_value
from edgeaudit.leakage.rows import TogetherNullRow, TogetherRow, TogetherSingle
from edgeaudit.leakage.targets import mean_over_targets
from edgeaudit.population.base import stream
from edgeaudit.stages.evidence import Answers
from edgeaudit.stages.json_files import read_json, write_json
from edgeaudit.stages.measure import Measure
from edgeaudit.stages.scores import TargetScores

__all__ = [
    "Collude", "ColludeResult", "ColludeSettings", "CombinedEvidence", "FormatSet", "HeldVersion", "read_version",
    "run_collude",
]  # fmt: skip

_FILE = "together.json"
_METRICS = METRICS[:2]
_ONE = "compleak-nr"
_MEAN = "mean-score"


@dataclass(frozen=True)
class FormatSet:
    """A set of `together`. formats: the requested ones that were measured; note: on the others."""

    requested: tuple[str, ...]
    formats: tuple[str, ...]
    note: str | None


@dataclass(frozen=True)
class ColludeSettings:
    """Inputs of multi-version attacks other than the formats.

    targets: roles, the first target first. headlines: `attack/variant`, the most important first.
    """

    sets: tuple[FormatSet, ...]
    targets: tuple[str, ...]
    headlines: tuple[str, ...]
    seed: int
    mode: Mode
    device: str
    shadow_match: str


@dataclass(frozen=True, eq=False)
class HeldVersion:
    """One format, reduced to what multi-version attacks need, so that many fit into memory.

    targets: role -> that target's answers. members: role -> bool [n], which side of the audit a record is on. scores:
    role -> headline series -> that target's scores. Null targets come last in each. groups: int64 [n], groups of
    related records; None where each has one record.
    """

    shadows: ShadowVersion
    targets: Mapping[str, TargetVersion]
    members: Mapping[str, BoolArray]
    scores: Mapping[str, Mapping[str, FloatArray]]
    groups: IntArray | None = None


@dataclass(frozen=True)
class ColludeResult:
    """together: figures of every set and method. together_null: their AUC on null targets."""

    together: tuple[TogetherRow, ...]
    together_null: tuple[TogetherNullRow, ...]

    def save(self, folder: Path) -> None:
        """Write together.json."""
        write_json(folder / _FILE, self)

    @classmethod
    def load(cls, folder: Path) -> ColludeResult:
        """Read what `save` wrote."""
        return read_json(folder / _FILE, ColludeResult)


@dataclass(frozen=True, eq=False, kw_only=True)
class Collude(Job[ColludeResult]):
    """Attack sets of formats held by one attacker. measures: by format."""

    kind: ClassVar[str] = "collude"
    essential: ClassVar[bool] = True
    result: ClassVar[type[ColludeResult]] = ColludeResult

    settings: ColludeSettings
    measures: tuple[tuple[str, Measure], ...]

    @property
    def label(self) -> str:
        """See `Job`."""
        return "attack formats held together"

    def reads(self) -> Iterator[AnyJob]:
        """The measurements, and their input jobs."""
        for _, measure in self.measures:
            yield measure
            yield from measure.needs

    def run(self, context: Context) -> ColludeResult:
        """See the class."""
        versions: dict[str, HeldVersion] = {}
        for name, measure in self.measures:
            # These attacks use no views and traces, which would only cost memory.
            answers = Answers(measure.settings.evidence.with_answers_alone(), context).at_common_floor()
            versions[name] = read_version(answers, context.read(measure).scores, self.settings)
        return run_collude(self.settings, versions)


def read_version(answers: Answers, scores: Mapping[str, TargetScores], settings: ColludeSettings) -> HeldVersion:
    """Build one format from its answers and the scores of its measurement."""
    shadows: ShadowVersion | None = None
    targets, members = {}, {}
    for case in (*answers.targets(), *answers.nulls()):
        if shadows is None:
            case_of_rows = case.audited if settings.mode == "auditor" else case.reference
            shadows = ShadowVersion.of(case.audited.shadow_answers, case_of_rows.shadow_answers)
        targets[case.role], members[case.role] = TargetVersion.of(case.audited), case.members
    if shadows is None:
        raise AttackError("an audit has at least one target")
    kept = {
        role: {name: scores[role].compared(name) for name in scores[role].scores if name in settings.headlines}
        for role in targets
    }
    return HeldVersion(shadows, targets, members, kept, answers.groups)


def run_collude(settings: ColludeSettings, versions: Mapping[str, HeldVersion]) -> ColludeResult:
    """Every multi-version attack on every set. versions: by format."""
    held = CombinedEvidence(settings, versions)
    combined: list[_Combined] = []
    failed: list[TogetherRow] = []
    for outcome in _combinations(held):
        if isinstance(outcome, _Combined):
            combined.append(outcome)
        else:
            failed.append(outcome)
    nulls = [
        _null_row(attack, role, held) for attack in combined for role in held.members if role not in settings.targets
    ]
    return ColludeResult((*_compared(held, combined), *failed), tuple(nulls))


@dataclass(frozen=True)
class _Combined:
    """One multi-version attack that could be run. scores: role -> float64 [n]."""

    formats: tuple[str, ...]
    method: str
    scores: Mapping[str, FloatArray]
    note: str | None


class CombinedEvidence:
    """Several formats of one attacker, and what was learned from them."""

    def __init__(self, settings: ColludeSettings, versions: Mapping[str, HeldVersion]) -> None:
        self.settings, self.versions = settings, versions
        # The memberships are the same for every format.
        self.members: Mapping[str, BoolArray] = {r: m for held in versions.values() for r, m in held.members.items()}
        self.groups = next(iter(versions.values())).groups
        self._alone: dict[tuple[str, str], Mapping[str, FloatArray]] = {}
        self._pairs: dict[tuple[str, str], Pair] = {}

    def scored(self, scores: Mapping[str, FloatArray]) -> Scored:
        """The scores of the targets, without null targets."""
        targets = self.settings.targets
        members = tuple(self.members[role] for role in targets)
        groups = () if self.groups is None else (self.groups,) * len(targets)
        return Scored(tuple(scores[role] for role in targets), members, groups)

    def headline(self, formats: Sequence[str]) -> str | None:
        """The first headline attack that could be run on every format and target."""
        all_scores = [scores for name in formats for scores in self.versions[name].scores.values()]
        return next(
            (headline for headline in self.settings.headlines if all(headline in scores for scores in all_scores)), None
        )

    def run(self, formats: Sequence[str], method: str) -> dict[str, FloatArray]:
        """The scores of every target and null target.

        Raises:
            AttackError: there are not enough shadows.
        """
        if method == _MEAN:
            return self._mean_score(formats)
        shadows = [self.versions[name].shadows for name in formats]
        targets = {role: [self.versions[name].targets[role] for name in formats] for role in self.members}
        if method in {"compleak-sr", _ONE}:
            forest = Classifier.fit(shadows, self.settings.seed)
            return {role: forest.score(answers) for role, answers in targets.items()}
        if method == "compleak-mr":
            pairs = [self._pair(formats[0], other) for other in formats[1:]]
            stack = Stack.fit(shadows, self.settings.seed, pairs)
            return {role: stack.score(answers) for role, answers in targets.items()}
        joint = JointLira.fit(shadows)
        score = joint.online if method == "joint-online" else joint.offline
        return {role: score(shadows, answers) for role, answers in targets.items()}

    def _pair(self, first: str, other: str) -> Pair:
        """Two forests, shared by all sets with these two formats."""
        if (first, other) not in self._pairs:
            left, right = self.versions[first].shadows, self.versions[other].shadows
            self._pairs[first, other] = Pair.fit(left, right, self.settings.seed)
        return self._pairs[first, other]

    def _mean_score(self, formats: Sequence[str]) -> dict[str, FloatArray]:
        """The mean of the headline attack's scores, each format's in units of its own standard deviation."""
        name = self.headline(formats)
        if name is None:
            raise AttackError("no headline attack could be run on all of these formats")
        scores_by_role = {role: [self.versions[f].scores[role][name] for f in formats] for role in self.members}
        return {
            role: np.asarray(np.mean([values / (values.std() or 1.0) for values in scores], axis=0), dtype=np.float64)
            for role, scores in scores_by_role.items()
        }

    def _one(self, format_id: str, method: str) -> Mapping[str, FloatArray]:
        if (format_id, method) not in self._alone:
            self._alone[format_id, method] = self.run((format_id,), method)
        return self._alone[format_id, method]

    def baselines(self, formats: Sequence[str], method: str) -> dict[str, tuple[str, dict[str, Scored]]]:
        """Kind -> (series, format -> scores) of single formats: the headline attack, and an attack of the same kind."""
        baselines = {}
        headline = self.headline(formats)
        if headline is not None:
            alone = {f: self.scored({r: s[headline] for r, s in self.versions[f].scores.items()}) for f in formats}
            baselines["headline"] = headline, alone
        if method != _MEAN:
            single = _ONE if method.startswith("compleak") else method
            series = _ONE if single == _ONE else f"lira/{method.removeprefix('joint-')}-global"
            baselines["same kind"] = series, {f: self.scored(self._one(f, single)) for f in formats}
        return baselines


def _combinations(held: CombinedEvidence) -> Iterator[_Combined | TogetherRow]:
    """Every attack on every set; a row for one that could not be run."""
    for format_set in held.settings.sets:
        if len(format_set.formats) < 2:
            yield _not_run(held, format_set.requested, "-", format_set.note)
            continue
        for method in _methods(len(format_set.formats), held.settings.mode):
            try:
                yield _Combined(format_set.formats, method, held.run(format_set.formats, method), format_set.note)
            except AttackError as error:
                yield _not_run(held, format_set.formats, method, f"not applicable: {error}")


def _methods(count: int, mode: Mode) -> tuple[str, ...]:
    online = ("joint-online",) if mode == "auditor" else ()
    return ("compleak-sr" if count == 2 else "compleak-mr", "joint-offline", *online, _MEAN)


def _not_run(held: CombinedEvidence, formats: Sequence[str], method: str, note: str | None) -> TogetherRow:
    settings = held.settings
    return TogetherRow(
        formats=tuple(formats),
        device=settings.device,
        shadow_match=settings.shadow_match,
        method=method,
        metric="auc",
        yardstick="-",
        value=None,
        low=None,
        high=None,
        best=None,
        difference=None,
        difference_low=None,
        difference_high=None,
        p_value=None,
        adjusted_p=None,
        singles=(),
        targets=len(settings.targets),
        note=note,
    )


def _compared(held: CombinedEvidence, combined: Sequence[_Combined]) -> Iterator[TogetherRow]:
    """Rows by kind of baseline, metric, set and method; one kind and one metric form a family of tests."""
    kinds: tuple[Literal["headline", "same kind"], ...] = ("headline", "same kind")
    pairs = [(attack, held.baselines(attack.formats, attack.method)) for attack in combined]
    for kind in kinds:
        comparable = [(attack, *baselines[kind]) for attack, baselines in pairs if kind in baselines]
        for metric in _METRICS:
            gains = [_gain(held, attack, series, singles, metric) for attack, series, singles in comparable]
            for (attack, series, _), adjusted_gain in zip(comparable, adjusted(gains), strict=True):
                yield _row(held, attack, series, metric, adjusted_gain)


def _gain(held: CombinedEvidence, attack: _Combined, series: str, singles: Mapping[str, Scored], metric: str) -> Gain:
    def rng(name: str) -> np.random.Generator:
        return stream(held.settings.seed, "together", *attack.formats, attack.method, series, name, metric)

    return gain(held.scored(attack.scores), singles, metric, rng)


def _row(held: CombinedEvidence, attack: _Combined, series: str, metric: str, gain: Gain) -> TogetherRow:
    value, settings = _figure(held, attack, metric), held.settings
    best = None if gain.best is None else gain.singles[gain.best]
    notes = dict.fromkeys(note for note in (attack.note, gain.note, value.note, best.note if best else None) if note)
    return TogetherRow(
        formats=attack.formats,
        device=settings.device,
        shadow_match=settings.shadow_match,
        method=attack.method,
        metric=metric,
        yardstick=series,
        value=value.value,
        low=value.low,
        high=value.high,
        best=gain.best,
        difference=None if best is None else best.value,
        difference_low=None if best is None else best.low,
        difference_high=None if best is None else best.high,
        p_value=gain.p_value,
        adjusted_p=gain.adjusted_p,
        singles=tuple(TogetherSingle.of(name, single) for name, single in gain.singles.items()),
        targets=len(settings.targets),
        note="; ".join(notes) or None,
    )


def _figure(held: CombinedEvidence, attack: _Combined, metric: str) -> Figure:
    """For one target with the interval over records, for several the mean with the interval over targets."""
    figures = [_figure_on(attack, role, held, metric) for role in held.settings.targets]
    if len(figures) == 1:
        return figures[0]
    over = mean_over_targets([f.value for f in figures])
    return Figure(
        metric, over.value, over.low, over.high, figures[0].n_members, figures[0].n_nonmembers, None, over.note
    )


def _figure_on(attack: _Combined, role: str, held: CombinedEvidence, metric: str) -> Figure:
    rows = figures(attack.scores[role], held.members[role], None, groups=held.groups)
    return next(row for row in rows if row.metric == metric)


def _null_row(attack: _Combined, role: str, held: CombinedEvidence) -> TogetherNullRow:
    """The AUC on a null target, as in `measure` for a single format."""
    area = _figure_on(attack, role, held, "auc")
    return TogetherNullRow(
        " + ".join(attack.formats),
        attack.method,
        "",
        role,
        area.value,
        area.low,
        area.high,
        chance_p_value(attack.scores[role], held.members[role], held.groups),
        area.n_members,
        area.n_nonmembers,
    )
