"""measurements of several formats -> attacks by one who holds them together, against the best single one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeaudit.attacks.base import BoolArray, FloatArray
from edgeaudit.attacks.compleak import Classifier, Stack
from edgeaudit.attacks.joint_lira import JointLira
from edgeaudit.attacks.versions import Asked, Shown
from edgeaudit.errors import AttackError
from edgeaudit.graph.job import JobContext
from edgeaudit.leakage.combined import Gain, adjusted, gain
from edgeaudit.leakage.comparisons import METRICS, Compared, Scored
from edgeaudit.leakage.metrics import Figure, figures
from edgeaudit.leakage.paired import chance_p_value
from edgeaudit.leakage.targets import mean_over_targets
from edgeaudit.population.base import stream
from edgeaudit.stages.evidence import Answers
from edgeaudit.stages.measure import SCORES

__all__ = ["TOGETHER", "hold_together"]

TOGETHER = "together.json"
_METRICS = METRICS[:2]
_ONE = "compleak-nr"
_MEAN = "mean-score"


@dataclass(frozen=True)
class _Held:
    """What is kept of one format: all that the attacks read, and what its measurement scored.

    asked: role -> that target's answers. scores: role -> series -> that target's scores.
    """

    shown: Shown
    asked: Mapping[str, Asked]
    scores: Mapping[str, Mapping[str, FloatArray]]


@dataclass(frozen=True)
class _Combined:
    """One combined attack that could be run. scores: role -> float64 [n]."""

    formats: tuple[str, ...]
    method: str
    scores: Mapping[str, FloatArray]
    note: str | None


class _Hands:
    """All that the job was told, with the formats read one after the other."""

    def __init__(self, context: JobContext) -> None:
        self.inputs = context.inputs
        self.seed: int = self.inputs["seed"]
        self.targets: list[str] = self.inputs["targets"]
        self.members: dict[str, BoolArray] = {}
        """Role -> bool [n], which side of the audit a record is on; null targets last."""
        self.held: dict[str, _Held] = {}
        for format_id, ref in self.inputs["measures"]:
            self.held[format_id] = self._read(context, ref, format_id)
        self._alone: dict[tuple[str, str], Mapping[str, FloatArray]] = {}

    def _read(self, context: JobContext, ref: list[str], format_id: str) -> _Held:
        entry = context.store.entry(*ref)
        # What a view or a trace shows is no part of these attacks, and reading it would cost its memory.
        told = {**self.inputs["measure_inputs"][format_id], "views": [], "traces": []}
        answers = Answers(JobContext(told, context.store, context.draft))
        shown: Shown | None = None
        asked = {}
        for role, query in (*told["targets"], *told["nulls"]):
            case = answers.case(role, query)
            if shown is None:
                shown = Shown.of(case.audited, case.audited if told["mode"] == "auditor" else case.reference)
            asked[role] = Asked.of(case.audited)
            self.members[role] = case.members
        if shown is None:
            raise AttackError("an audit has one target at least")
        scores = {}
        for role in asked:
            name = SCORES if role == self.targets[0] else f"{SCORES}-{role}"
            with np.load(entry.folder / f"{name}.npz") as arrays:
                scores[role] = {key: arrays[key] for key in self.inputs["headlines"] if key in arrays.files}
        return _Held(shown, asked, scores)

    def scored(self, scores: Mapping[str, FloatArray]) -> Scored:
        """The scores of the targets, null targets aside."""
        return Scored(tuple(scores[role] for role in self.targets), tuple(self.members[role] for role in self.targets))

    def headline(self, formats: Sequence[str]) -> str | None:
        """The first headline attack that could be run on every format and target."""
        found = [scores for name in formats for scores in self.held[name].scores.values()]
        return next((one for one in self.inputs["headlines"] if all(one in scores for scores in found)), None)

    def run(self, formats: Sequence[str], method: str) -> dict[str, FloatArray]:
        """The scores of every target and null target.

        Raises:
            AttackError: the shadows do not suffice.
        """
        if method == _MEAN:
            return self._mean_score(formats)
        shown = [self.held[name].shown for name in formats]
        asked = {role: [self.held[name].asked[role] for name in formats] for role in self.members}
        if method in {"compleak-sr", _ONE}:
            forest = Classifier.learn(shown, self.seed)
            return {role: forest.score(answers) for role, answers in asked.items()}
        if method == "compleak-mr":
            stack = Stack.learn(shown, self.seed)
            return {role: stack.score(answers) for role, answers in asked.items()}
        joint = JointLira.learn(shown)
        score = joint.online if method == "joint-online" else joint.offline
        return {role: score(shown, answers) for role, answers in asked.items()}

    def _mean_score(self, formats: Sequence[str]) -> dict[str, FloatArray]:
        """The mean of the headline attack's scores, each format's in units of its own standard deviation."""
        name = self.headline(formats)
        if name is None:
            raise AttackError("no headline attack could be run on all of these formats")
        found = {role: [self.held[f].scores[role][name] for f in formats] for role in self.members}
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
            alone = {f: {role: self.held[f].scores[role][headline] for role in self.targets} for f in formats}
            found["headline"] = headline, {f: self.scored(one) for f, one in alone.items()}
        if method != _MEAN:
            single = _ONE if method.startswith("compleak") else method
            series = _ONE if single == _ONE else f"lira/{method.removeprefix('joint-')}-global"
            found["same kind"] = series, {f: self.scored(self._one(f, single)) for f in formats}
        return found


def hold_together(context: JobContext) -> Mapping[str, Any]:
    """Write together.json: {together, together_null}, lists of rows."""
    hands = _Hands(context)
    rows: list[dict[str, Any]] = []
    null_rows: list[dict[str, Any]] = []
    combined = list(_combinations(hands, rows))
    for one in combined:
        null_rows += [_null_row(one, role, hands) for role in hands.members if role not in hands.targets]
    found = [*_compared(hands, combined), *rows]
    text = json.dumps({"together": found, "together_null": null_rows}, allow_nan=False)
    (context.draft / TOGETHER).write_text(text, encoding="utf-8")
    return {"rows": len(found)}


def _combinations(hands: _Hands, failed: list[dict[str, Any]]) -> Iterator[_Combined]:
    """Every attack on every set that could be run; rows of the others go to `failed`."""
    for asked in hands.inputs["sets"]:
        formats = tuple(asked["formats"])
        if len(formats) < 2:
            failed.append(_not_run(hands, asked["asked"], "-", asked["note"]))
            continue
        for method in _methods(len(formats), hands.inputs["mode"]):
            try:
                yield _Combined(formats, method, hands.run(formats, method), asked["note"])
            except AttackError as error:
                failed.append(_not_run(hands, formats, method, f"not applicable: {error}"))


def _methods(count: int, mode: str) -> tuple[str, ...]:
    online = ("joint-online",) if mode == "auditor" else ()
    return ("compleak-sr" if count == 2 else "compleak-mr", "joint-offline", *online, _MEAN)


def _place(hands: _Hands, formats: Sequence[str], method: str) -> dict[str, Any]:
    place = {key: hands.inputs[key] for key in ("device", "shadow_match")}
    return {"formats": list(formats), **place, "method": method}


def _not_run(hands: _Hands, formats: Sequence[str], method: str, note: str) -> dict[str, Any]:
    bare = dict.fromkeys(
        ("value", "low", "high", "difference", "difference_low", "difference_high", "best", "p_value", "adjusted_p")
    )
    more = {"metric": "auc", "yardstick": "-", "singles": [], "targets": len(hands.targets), "note": note}
    return {**_place(hands, formats, method), **bare, **more}


def _compared(hands: _Hands, combined: Sequence[_Combined]) -> Iterator[dict[str, Any]]:
    """Rows by kind of yardstick, metric, set and method; one kind and one metric are a family of tests."""
    pairs = [(one, hands.yardsticks(one.formats, one.method)) for one in combined]
    for kind in ("headline", "same kind"):
        own = [(one, *found[kind]) for one, found in pairs if kind in found]
        for metric in _METRICS:
            gains = [_gain(hands, one, series, singles, metric) for one, series, singles in own]
            for (one, series, _), found in zip(own, adjusted(gains), strict=True):
                yield _row(hands, one, series, metric, found)


def _gain(hands: _Hands, one: _Combined, series: str, singles: Mapping[str, Scored], metric: str) -> Gain:
    def rng(name: str) -> np.random.Generator:
        return stream(hands.seed, "together", *one.formats, one.method, series, name, metric)

    return gain(hands.scored(one.scores), singles, metric, rng)


def _row(hands: _Hands, one: _Combined, series: str, metric: str, found: Gain) -> dict[str, Any]:
    value = _figure(hands, one, metric)
    best = None if found.best is None else found.singles[found.best]
    notes = dict.fromkeys(note for note in (one.note, found.note, value.note, best.note if best else None) if note)
    return {
        **_place(hands, one.formats, one.method),
        "metric": metric,
        "yardstick": series,
        "value": value.value,
        "low": value.low,
        "high": value.high,
        "best": found.best,
        "difference": None if best is None else best.value,
        "difference_low": None if best is None else best.low,
        "difference_high": None if best is None else best.high,
        "p_value": found.p_value,
        "adjusted_p": found.adjusted_p,
        "singles": [_single(name, single) for name, single in found.singles.items()],
        "targets": len(hands.targets),
        "note": "; ".join(notes) or None,
    }


def _single(name: str, found: Compared) -> dict[str, Any]:
    figures_ = asdict(found)
    kept = {key: figures_[key] for key in ("low", "high", "p_value", "note")}
    return {"format": name, "value": found.second, "difference": found.value, **kept}


def _figure(hands: _Hands, one: _Combined, metric: str) -> Figure:
    """On one target with the interval over records, on several the mean with that over targets."""
    found = [
        next(f for f in figures(one.scores[role], hands.members[role], None) if f.metric == metric)
        for role in hands.targets
    ]
    if len(found) == 1:
        return found[0]
    over = mean_over_targets([f.value for f in found])
    return Figure(metric, over.value, over.low, over.high, found[0].n_members, found[0].n_nonmembers, None, over.note)


def _null_row(one: _Combined, role: str, hands: _Hands) -> dict[str, Any]:
    """The AUC on a target that trained on neither side, as `measure` has it for a single format."""
    scores, members = one.scores[role], hands.members[role]
    area = next(f for f in figures(scores, members, None) if f.metric == "auc")
    return {
        "format": " + ".join(one.formats),
        "attack": one.method,
        "variant": "",
        "target": role,
        "value": area.value,
        "low": area.low,
        "high": area.high,
        "p_value": chance_p_value(scores, members),
        "n_members": area.n_members,
        "n_nonmembers": area.n_nonmembers,
    }
