"""measurements of several formats -> attacks by one who holds them together, against the best single one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from edgeaudit.attacks.compleak import Classifier, Pair, Stack
from edgeaudit.attacks.evidence import BoolArray, FloatArray
from edgeaudit.attacks.joint_lira import JointLira
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
from edgeaudit.stages.measure import Measure, Mode
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
    """A set of audit.yaml's `together`. formats: those of the requested that were measured; note: on the others."""

    requested: tuple[str, ...]
    formats: tuple[str, ...]
    note: str | None


@dataclass(frozen=True)
class ColludeSettings:
    """What attacks on several formats depend on beside the formats.

    targets: roles, the first one first. headlines: `attack/variant`, the most telling first.
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
    """One format, as small as attacks on several need it, so that many can be held at once.

    targets: role -> that target's answers. members: role -> bool [n], which side of the audit a record is on. scores:
    role -> headline series -> that target's scores. Null targets come last in each.
    """

    shadows: ShadowVersion
    targets: Mapping[str, TargetVersion]
    members: Mapping[str, BoolArray]
    scores: Mapping[str, Mapping[str, FloatArray]]


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
    """Attack formats that one attacker holds together. measures: by format."""

    kind: ClassVar[str] = "collude"
    result: ClassVar[type[ColludeResult]] = ColludeResult

    settings: ColludeSettings
    measures: tuple[tuple[str, Measure], ...]

    @property
    def label(self) -> str:
        """See `Job`."""
        return "attack formats held together"

    def reads(self) -> Iterator[AnyJob]:
        """The measurements, and the answers that they read."""
        for _, measure in self.measures:
            yield measure
            yield from measure.needs

    def run(self, context: Context) -> ColludeResult:
        """See the class."""
        versions: dict[str, HeldVersion] = {}
        for name, measure in self.measures:
            # Views and traces are no part of these attacks, and reading them would cost their memory.
            answers = Answers(measure.settings.evidence.with_answers_alone(), context)
            versions[name] = read_version(answers, context.read(measure).scores, self.settings)
        return run_collude(self.settings, versions)


def read_version(answers: Answers, scores: Mapping[str, TargetScores], settings: ColludeSettings) -> HeldVersion:
    """One format from its answers and from the scores of its measurement."""
    shadows: ShadowVersion | None = None
    targets, members = {}, {}
    for case in (*answers.targets(), *answers.nulls()):
        if shadows is None:
            known = case.audited if settings.mode == "auditor" else case.reference
            shadows = ShadowVersion.of(case.audited.shadow_answers, known.shadow_answers)
        targets[case.role], members[case.role] = TargetVersion.of(case.audited), case.members
    if shadows is None:
        raise AttackError("an audit has one target at least")
    kept = {
        role: {name: s for name, s in scores[role].scores.items() if name in settings.headlines} for role in targets
    }
    return HeldVersion(shadows, targets, members, kept)


def run_collude(settings: ColludeSettings, versions: Mapping[str, HeldVersion]) -> ColludeResult:
    """Every combined attack on every set. versions: by format."""
    held = CombinedEvidence(settings, versions)
    combined: list[_Combined] = []
    failed: list[TogetherRow] = []
    for one in _combinations(held):
        if isinstance(one, _Combined):
            combined.append(one)
        else:
            failed.append(one)
    nulls = [_null_row(one, role, held) for one in combined for role in held.members if role not in settings.targets]
    return ColludeResult((*_compared(held, combined), *failed), tuple(nulls))


@dataclass(frozen=True)
class _Combined:
    """One combined attack that could be run. scores: role -> float64 [n]."""

    formats: tuple[str, ...]
    method: str
    scores: Mapping[str, FloatArray]
    note: str | None


class CombinedEvidence:
    """Several formats in one attacker's hands, and what was learned from them."""

    def __init__(self, settings: ColludeSettings, versions: Mapping[str, HeldVersion]) -> None:
        self.settings, self.versions = settings, versions
        # The memberships are the same for every format.
        self.members: Mapping[str, BoolArray] = {r: m for held in versions.values() for r, m in held.members.items()}
        self._alone: dict[tuple[str, str], Mapping[str, FloatArray]] = {}
        self._pairs: dict[tuple[str, str], Pair] = {}

    def scored(self, scores: Mapping[str, FloatArray]) -> Scored:
        """The scores of the targets, null targets aside."""
        targets = self.settings.targets
        return Scored(tuple(scores[role] for role in targets), tuple(self.members[role] for role in targets))

    def headline(self, formats: Sequence[str]) -> str | None:
        """The first headline attack that could be run on every format and target."""
        found = [scores for name in formats for scores in self.versions[name].scores.values()]
        return next((one for one in self.settings.headlines if all(one in scores for scores in found)), None)

    def run(self, formats: Sequence[str], method: str) -> dict[str, FloatArray]:
        """The scores of every target and null target.

        Raises:
            AttackError: the shadows do not suffice.
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
        """Two forests that sets with these two formats share."""
        if (first, other) not in self._pairs:
            one, two = self.versions[first].shadows, self.versions[other].shadows
            self._pairs[first, other] = Pair.fit(one, two, self.settings.seed)
        return self._pairs[first, other]

    def _mean_score(self, formats: Sequence[str]) -> dict[str, FloatArray]:
        """The mean of the headline attack's scores, each format's in units of its own standard deviation."""
        name = self.headline(formats)
        if name is None:
            raise AttackError("no headline attack could be run on all of these formats")
        found = {role: [self.versions[f].scores[role][name] for f in formats] for role in self.members}
        return {
            role: np.asarray(np.mean([one / (one.std() or 1.0) for one in scores], axis=0), dtype=np.float64)
            for role, scores in found.items()
        }

    def _one(self, format_id: str, method: str) -> Mapping[str, FloatArray]:
        if (format_id, method) not in self._alone:
            self._alone[format_id, method] = self.run((format_id,), method)
        return self._alone[format_id, method]

    def yardsticks(self, formats: Sequence[str], method: str) -> dict[str, tuple[str, dict[str, Scored]]]:
        """Kind -> (series, format -> its scores), each format alone: the headline attack, and one of the same kind."""
        found = {}
        headline = self.headline(formats)
        if headline is not None:
            alone = {f: self.scored({r: s[headline] for r, s in self.versions[f].scores.items()}) for f in formats}
            found["headline"] = headline, alone
        if method != _MEAN:
            single = _ONE if method.startswith("compleak") else method
            series = _ONE if single == _ONE else f"lira/{method.removeprefix('joint-')}-global"
            found["same kind"] = series, {f: self.scored(self._one(f, single)) for f in formats}
        return found


def _combinations(held: CombinedEvidence) -> Iterator[_Combined | TogetherRow]:
    """Every attack on every set; a row for one that could not be run."""
    for one in held.settings.sets:
        if len(one.formats) < 2:
            yield _not_run(held, one.requested, "-", one.note)
            continue
        for method in _methods(len(one.formats), held.settings.mode):
            try:
                yield _Combined(one.formats, method, held.run(one.formats, method), one.note)
            except AttackError as error:
                yield _not_run(held, one.formats, method, f"not applicable: {error}")


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
    """Rows by kind of yardstick, metric, set and method; one kind and one metric are a family of tests."""
    kinds: tuple[Literal["headline", "same kind"], ...] = ("headline", "same kind")
    pairs = [(one, held.yardsticks(one.formats, one.method)) for one in combined]
    for kind in kinds:
        own = [(one, *found[kind]) for one, found in pairs if kind in found]
        for metric in _METRICS:
            gains = [_gain(held, one, series, singles, metric) for one, series, singles in own]
            for (one, series, _), found in zip(own, adjusted(gains), strict=True):
                yield _row(held, one, series, metric, found)


def _gain(held: CombinedEvidence, one: _Combined, series: str, singles: Mapping[str, Scored], metric: str) -> Gain:
    def rng(name: str) -> np.random.Generator:
        return stream(held.settings.seed, "together", *one.formats, one.method, series, name, metric)

    return gain(held.scored(one.scores), singles, metric, rng)


def _row(held: CombinedEvidence, one: _Combined, series: str, metric: str, found: Gain) -> TogetherRow:
    value, settings = _figure(held, one, metric), held.settings
    best = None if found.best is None else found.singles[found.best]
    notes = dict.fromkeys(note for note in (one.note, found.note, value.note, best.note if best else None) if note)
    return TogetherRow(
        formats=one.formats,
        device=settings.device,
        shadow_match=settings.shadow_match,
        method=one.method,
        metric=metric,
        yardstick=series,
        value=value.value,
        low=value.low,
        high=value.high,
        best=found.best,
        difference=None if best is None else best.value,
        difference_low=None if best is None else best.low,
        difference_high=None if best is None else best.high,
        p_value=found.p_value,
        adjusted_p=found.adjusted_p,
        singles=tuple(TogetherSingle.of(name, single) for name, single in found.singles.items()),
        targets=len(settings.targets),
        note="; ".join(notes) or None,
    )


def _figure(held: CombinedEvidence, one: _Combined, metric: str) -> Figure:
    """On one target with the interval over records, on several the mean with that over targets."""
    found = [_figure_on(one, role, held, metric) for role in held.settings.targets]
    if len(found) == 1:
        return found[0]
    over = mean_over_targets([f.value for f in found])
    return Figure(metric, over.value, over.low, over.high, found[0].n_members, found[0].n_nonmembers, None, over.note)


def _figure_on(one: _Combined, role: str, held: CombinedEvidence, metric: str) -> Figure:
    return next(f for f in figures(one.scores[role], held.members[role], None) if f.metric == metric)


def _null_row(one: _Combined, role: str, held: CombinedEvidence) -> TogetherNullRow:
    """The AUC on a target that trained on neither side, as `measure` has it for a single format."""
    area = _figure_on(one, role, held, "auc")
    return TogetherNullRow(
        " + ".join(one.formats),
        one.method,
        "",
        role,
        area.value,
        area.low,
        area.high,
        chance_p_value(one.scores[role], held.members[role]),
        area.n_members,
        area.n_nonmembers,
    )
