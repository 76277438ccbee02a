"""The figures of one population: the product's own attacks on answers that its own jobs asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.calibrated import Calibrated
from edgeaudit.attacks.calibrated_online import CalibratedOnline
from edgeaudit.attacks.play_learners import AnyRows, Learner, Network, Quadratic
from edgeaudit.attacks.registry import find_attack
from edgeaudit.attacks.selection import SelectionRule, select
from edgeaudit.attacks.threshold import learn_threshold
from edgeaudit.graph.job import Context
from edgeaudit.graph.store import Store
from edgeaudit.leakage.operating_points import accused_rank, members_above
from edgeaudit.leakage.roc import auc
from edgeaudit.pipeline.plan import FormatPlan
from edgeaudit.stages.evidence import Answers, Case
from edgeaudit.stages.measure import Fits, Measure

__all__ = ["FLOAT", "METRICS", "WHOLE", "YARDSTICKS", "Lesson", "Scored", "scored"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
Figures = dict[str, list[float]]
"""Name of a score -> its `METRICS`, means over targets."""

FLOAT = "torch-fp32"
METRICS = ("auc", "tpr@fpr=0.01", "tpr@fpr=0.001")
RATES = (0.01, 0.001)
WHOLE = {"adversary": "cm-mia/calibrated", "auditor": "cm-mia/calibrated-online"}
YARDSTICKS = {
    "adversary": (
        "lira/offline-global", "lira/offline-per-record", "rmia/offline-0", "rmia/offline-0.3", "rmia/offline-0.6",
    ),
    "auditor": ("lira/online-global", "lira/online-per-record", "rmia/online"),
}  # fmt: skip
MORE = {
    "adversary": ("cm-mia/t", "cm-mia/pchip", "bavaria/offline-t", "bavaria/offline-n"),
    "auditor": ("bavaria/online-t", "bavaria/online-n"),
}
"""Attacks that are reported, and are no yardsticks."""
OF_THE_PAPER = ("yeom/loss", "song-mittal/per-class", "shokri/classifier", "ml-leaks/top-3", "watson/loss", "gap/label")
"""Attacks of the paper's day."""
CUTOFF = 0.1
"""Nominal p below which the paper's rule calls a record a member; with 16 shadows none is below 1/17."""


@dataclass(frozen=True)
class Lesson:
    """Rows of a population's targets with their true memberships, from which a ceiling learns."""

    rows: FloatArray
    members: BoolArray

    def save(self, path: Path) -> None:
        """Write to a file, rounded to float32."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, rows=self.rows.astype(np.float32), members=self.members)

    @classmethod
    def load(cls, path: Path) -> Lesson | None:
        """Read what `save` wrote; None without a file."""
        if not path.exists():
            return None
        with np.load(path) as arrays:
            return cls(arrays["rows"].astype(np.float64), arrays["members"])


@dataclass
class Scored:
    """What `scored` returns: figures for results/<data>.json, and the lesson for the population after."""

    figures: dict[str, Any]
    lesson: Lesson


class _Kept:
    """A learner that keeps what it was asked and what it said."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self.rows: list[FloatArray] = []
        self.odds: list[FloatArray] = []

    @classmethod
    def fit(cls, rows: AnyRows, members: BoolArray, half: BoolArray | None = None) -> _Kept:
        raise NotImplementedError  # wraps learners that are fitted

    def log_odds(self, rows: AnyRows) -> FloatArray:
        self.rows.append(np.asarray(rows, dtype=np.float64))
        self.odds.append(self._learner.log_odds(rows))
        return self.odds[-1]

    def means(self, n: int) -> tuple[FloatArray, FloatArray]:
        """Means of rows and log odds over the subsets of shadows that the n audited records were asked against."""
        places = [place for place, odds in enumerate(self.odds) if len(odds) == n]
        rows, odds = (np.mean([part[place] for place in places], axis=0) for part in (self.rows, self.odds))
        return rows, odds


def figures_of(score: FloatArray, members: BoolArray) -> list[float]:
    """AUC, then the TPR at each rate (the expected FPR is at most the rate); NaN with too few nonmembers for it."""
    inside, outside = score[members], score[~members]
    above = members_above(inside, outside)
    ranks = [accused_rank(rate, len(outside)) for rate in RATES]
    return [auc(score, members), *(float(above[rank]) / len(inside) if rank else math.nan for rank in ranks)]


def scored(
    planned: Sequence[FormatPlan], store: Store, mode: str, numbers: Sequence[int], main: Sequence[str], last: int,
    lesson: Lesson | None,
) -> Scored:  # fmt: skip
    """Score all targets of a population.

    Args:
        planned: the formats of its plan, whose answers are in the store.
        store: of the answers.
        mode: adversary or auditor.
        numbers: of shadows, for the formats in `main`.
        main: ids of formats. The first of them has the ceiling and, in adversary mode, the attacks of the paper's day.
        last: number of shadows for all other formats, and for everything but the comparison with yardsticks.
        lesson: of the population before.
    """
    found = Scored({"formats": {}, "parts": {}, "accuracy": {}}, Lesson(np.empty((0, 0)), np.empty(0, np.bool_)))
    for one in planned:
        cases = _cases(one.measure, store)
        found.figures["accuracy"][one.use.id] = _accuracy(cases)
        by_number = found.figures["formats"][one.use.id] = {}
        for k in numbers if one.use.id in main else (last,):
            asked = [_kept(case, k) for case in cases]
            whole = _Whole.of(asked, mode)
            by_number[str(k)] = _figures(asked, whole.scores) | _by_attacks(asked, (*YARDSTICKS[mode], *MORE[mode]))
            if one.use.id in main:
                found.figures["parts"].setdefault(one.use.id, {})[str(k)] = _figures(asked, whole.parts)
            if one.use.id == main[0] and k == last:
                _of_first_format(found, asked, whole, mode, lesson)
        if "fp32" in one.measures and one.use.id != FLOAT:
            unmatched = [_kept(case, last) for case in _cases(one.measures["fp32"], store)]
            rows = _figures(unmatched, _Whole.of(unmatched, mode).scores)
            rows |= _by_attacks(unmatched, (*YARDSTICKS[mode], "cm-mia/t", "cm-mia/pchip"))
            found.figures.setdefault("unmatched", {})[one.use.id] = rows
    return found


def _of_first_format(found: Scored, asked: list[Case], whole: _Whole, mode: str, lesson: Lesson | None) -> None:
    """What one format is enough for."""
    found.lesson = Lesson(np.concatenate(whole.rows), np.concatenate([case.members for case in asked]))
    found.figures["attack CPU seconds"] = {"fit": whole.fit_seconds, "score a target": whole.score_seconds}
    if lesson is not None:
        learners = [kind.fit(lesson.rows, lesson.members) for kind in (Network, Quadratic)]
        taught = [np.mean([learner.log_odds(rows) for learner in learners], axis=0) for rows in whole.rows]
        found.figures["taught"] = _figures(asked, {"taught": taught})["taught"]
    if mode == "adversary":
        found.figures["paper"] = dict(_of_the_paper(asked))
        found.figures["abnormal"] = _abnormal(asked, whole)
    else:
        # Memberships of another target of the same population, which this one does not have.
        others = [*asked[1:], asked[0]]
        found.figures["null"] = np.mean(
            [figures_of(s, other.members) for s, other in zip(whole.scores["whole"], others, strict=True)], axis=0
        ).tolist()


@dataclass
class _Whole:
    """The leading attack on each target.

    scores: "whole" -> of each target; parts: name of a part -> of each target. rows: of each target, what the learners
    read. fit_seconds, score_seconds: CPU time of the fit, and of one target.
    """

    scores: dict[str, list[FloatArray]] = field(default_factory=dict)
    parts: dict[str, list[FloatArray]] = field(default_factory=dict)
    rows: list[FloatArray] = field(default_factory=list)
    fit_seconds: float = 0.0
    score_seconds: float = 0.0

    @classmethod
    def of(cls, asked: list[Case], mode: str) -> _Whole:
        found, first, start = cls(), asked[0], time.process_time()
        shadows = first.audited.shadow_answers, first.reference.shadow_answers
        fitted = Calibrated.fit(*shadows) if mode == "adversary" else CalibratedOnline.fit(shadows[0])
        found.fit_seconds = time.process_time() - start
        for case in asked:
            found._score(fitted, case)
        found.score_seconds /= len(asked)
        return found

    def _score(self, fitted: Calibrated | CalibratedOnline, case: Case) -> None:
        if isinstance(fitted, Calibrated):
            kept = _Kept(fitted.trees), *map(_Kept, fitted.smooth)
            # P-values ask audited records against other shadows, and are not needed here.
            asking: Calibrated | CalibratedOnline = replace(fitted, trees=kept[0], smooth=kept[1:], lent=fitted.audited)
        else:
            kept = tuple(map(_Kept, fitted.learners))
            asking = replace(fitted, learners=kept)
        start = time.process_time()
        score = asking.score(case.audited, case.reference).score
        self.score_seconds += time.process_time() - start
        self.scores.setdefault("whole", []).append(score)
        means = [one.means(len(score)) for one in kept]
        odds = [mean for _, mean in means]
        trees, (network, quadratic) = odds[:-2], odds[-2:]
        parts = {"network alone": network, "regression alone": quadratic}
        whole = (network + quadratic) / 2
        if trees:
            parts |= {"trees alone": trees[0], "without trees": whole, "without network": trees[0] + quadratic}
            whole = whole + trees[0]
        if not np.allclose(whole, score):
            raise AssertionError("the parts of the score do not add up to it")
        for name, part in parts.items():
            self.parts.setdefault(name, []).append(part)
        # All smooth learners read the same rows.
        self.rows.append(np.column_stack([rows for rows, _ in (means[0], means[-1])[not trees :]]))


def _cases(measure: Measure, store: Store) -> list[Case]:
    settings = measure.settings.evidence.with_answers_alone()
    return list(Answers(settings, Context(store, Path())).targets())


def _kept(case: Case, shadows: int) -> Case:
    first = np.arange(shadows)
    return replace(case, audited=case.audited.keep(first), reference=case.reference.keep(first))


def _accuracy(cases: list[Case]) -> list[float]:
    """On members and on nonmembers, means over targets."""
    right = [case.audited.target.argmax(axis=1) == case.audited.labels for case in cases]
    return [float(np.mean([r[case.members == side].mean() for r, case in zip(right, cases, strict=True)]))
            for side in (True, False)]  # fmt: skip


def _figures(asked: list[Case], scores: Mapping[str, list[FloatArray]]) -> Figures:
    return {
        name: np.mean([figures_of(s, case.members) for s, case in zip(each, asked, strict=True)], axis=0).tolist()
        for name, each in scores.items()
    }


def _by_attacks(asked: list[Case], names: Sequence[str]) -> Figures:
    scores: dict[str, list[FloatArray]] = {}
    for name in names:
        attack, _, variant = name.partition("/")
        fits = Fits(find_attack(attack)(), variant)
        for case in asked:
            result = fits.score(case)
            if isinstance(result, str):
                raise SystemExit(f"{name}: {result}")
            scores.setdefault(name, []).append(result.score)
    return _figures(asked, scores)


def _of_the_paper(asked: list[Case]) -> Iterator[tuple[str, list[float]]]:
    """Attack -> AUC, and balanced accuracy at a threshold that it learns from shadows."""
    for name in (*OF_THE_PAPER, "cm-mia/pchip", "cm-mia/t", WHOLE["adversary"]):
        kind, _, variant = name.partition("/")
        attack = find_attack(kind)()
        fits, each = Fits(attack, variant), []
        threshold = learn_threshold(attack, variant, asked[0].reference).value
        for case in asked:
            scores = fits.score(case)
            if isinstance(scores, str) or threshold is None:
                raise SystemExit(f"{name}: {scores}")
            called = scores.score >= threshold
            balanced = (called[case.members].mean() + (~called[~case.members]).mean()) / 2
            each.append([auc(scores.score, case.members), float(balanced)])
        yield name, np.mean(each, axis=0).tolist()


def _abnormal(asked: list[Case], whole: _Whole) -> dict[str, float]:
    """What is found where the target is asked about its abnormal records alone (a tenth, by distance)."""
    fits, loss = Fits(find_attack("cm-mia")(), "pchip"), Fits(find_attack("yeom")(), "loss")
    each = []
    for case, score in zip(asked, whole.scores["whole"], strict=True):
        chosen = select(
            SelectionRule("fraction"), case.audited.shadow_answers, case.reference.shadow_answers, case.n_trained
        )
        paper, plain = fits.score(case), loss.score(case)
        if isinstance(paper, str) or isinstance(plain, str) or paper.nominal is None:
            raise SystemExit(f"abnormal records: {paper}")
        members, called = case.members, paper.nominal <= CUTOFF
        each.append({
            "asked": float(chosen.mean()),
            "recall@0.1": float(called[members].mean()),
            "recall@0.1 on abnormal": float((called & chosen)[members].mean()),
            "auc on abnormal": auc(score[chosen], members[chosen]),
            "auc of loss on abnormal": auc(plain.score[chosen], members[chosen]),
        })  # fmt: skip
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}
