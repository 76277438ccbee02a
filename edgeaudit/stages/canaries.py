"""responses to canaries -> how well planted canaries are told from held-out ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.base import Attack, Scores
from edgeaudit.attacks.spec import Mode
from edgeaudit.config.canaries import CanariesSpec
from edgeaudit.graph.executor import AnyJob
from edgeaudit.graph.job import Context, Cost, Job
from edgeaudit.leakage.canaries import Looks, adjusted, look
from edgeaudit.leakage.comparisons import METRICS
from edgeaudit.leakage.metrics import figures, tpr_row, unresolved
from edgeaudit.leakage.operating_points import tpr_at_fpr
from edgeaudit.leakage.rows import CANARIES, CanaryResult, CanaryTest, LeakageRow, Series
from edgeaudit.population.base import TARGET
from edgeaudit.stages.canary_query import CanaryQuery
from edgeaudit.stages.evidence import Answers, Case
from edgeaudit.stages.figures import epsilon_bounds
from edgeaudit.stages.json_files import read_json, write_json
from edgeaudit.stages.measure import Fits, Measure, attack_of
from edgeaudit.stages.query import Query
from edgeaudit.stages.scores import StoredScores, TargetScores, save_scores

__all__ = ["CanaryFindings", "MeasureCanaries", "MeasuredCanaries"]

FloatArray = npt.NDArray[np.float64]

_FILE = "canaries.json"
_LOOSE = 0.05
_GUESSES = 10
"""One guess of the one-run audit for so many canaries: of four, one pair can be guessed, and planted ones stand out."""


@dataclass(frozen=True)
class CanaryFindings:
    """leakage: rows with the subset `canaries`, of the first target. about: how the target answers canaries."""

    leakage: tuple[LeakageRow, ...]
    about: CanaryResult


@dataclass(frozen=True)
class MeasuredCanaries:
    """One format. scores: of the first target, over the canaries; `members` are the planted ones."""

    findings: CanaryFindings
    scores: TargetScores

    def save(self, folder: Path) -> None:
        """Write canaries.json and scores.npz."""
        write_json(folder / _FILE, self.findings)
        save_scores(folder, {TARGET: self.scores})

    @classmethod
    def load(cls, folder: Path) -> MeasuredCanaries:
        """Read what `save` wrote."""
        return cls(read_json(folder / _FILE, CanaryFindings), StoredScores(folder)[TARGET])


@dataclass(frozen=True, eq=False, kw_only=True)
class MeasureCanaries(Job[MeasuredCanaries]):
    """Run the attacks of a measurement on the canaries of the first target.

    measure: the measurement of the same format on ordinary records, whose input answers are read. asked: each of its
    queries of the first target and of shadows, and the answers to canaries of the same artifact. planted: the section
    of audit.yaml.
    """

    kind: ClassVar[str] = "canaries"
    result: ClassVar[type[MeasuredCanaries]] = MeasuredCanaries

    measure: Measure
    asked: tuple[tuple[Query, CanaryQuery], ...]
    planted: CanariesSpec

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"canaries of {self.measure.settings.place.format}"

    def reads(self) -> tuple[AnyJob, ...]:
        """The inputs of the measurement, and the answers to canaries."""
        return (*self.measure.needs, *(job for _, job in self.asked))

    def code(self) -> tuple[str, ...]:
        """Modules of the attacks."""
        return self.measure.code()

    def cost(self) -> Cost:
        """Grouped by the number of shadows."""
        return self.measure.cost()

    def run(self, context: Context) -> MeasuredCanaries:
        """See the class."""
        jobs = {query.ref: job for query, job in self.asked}
        settings = self.measure.settings
        answers = Answers(settings.evidence.with_answers_alone(), context)
        role, query = settings.evidence.targets[0]
        case = answers.case_of_canaries(role, query, lambda one: context.read(jobs[one.ref]).responses)
        rows: list[LeakageRow] = []
        kept: dict[str, FloatArray] = {}
        looks: dict[tuple[str, str], Looks] = {}
        for name in settings.attacks:
            attack = attack_of(name, settings)
            variant, scores = _first_possible(attack, case, settings.mode)
            series = settings.series(name, variant)
            if isinstance(scores, str):
                missing = unresolved("auc", case.members, f"not applicable: {scores}")
                rows.append(series.row(CANARIES, missing))
                continue
            kept[series.name] = scores.score
            looks[name, variant] = look(scores.score, case.members)
            rows += self._rows(case, scores, series)
        correct = case.audited.task.correct(case.audited.target, case.audited.labels)
        place = settings.place
        about = CanaryResult(
            place.format,
            place.device,
            self.planted.kind,
            self.planted.repeats,
            int(case.members.sum()),
            int((~case.members).sum()),
            float(correct[case.members].mean()),
            float(correct[~case.members].mean()),
            tuple(
                CanaryTest(*name, one.above_all, one.p_above_all, one.p_order, p)
                for (name, one), p in zip(looks.items(), adjusted(list(looks.values())), strict=True)
            ),
        )
        return MeasuredCanaries(CanaryFindings(tuple(rows), about), TargetScores(case.members, kept, {}))

    def _rows(self, case: Case, scores: Scores, series: Series) -> Iterator[LeakageRow]:
        found = [one for one in figures(scores.score, case.members, None) if one.metric in METRICS]
        # Few are held out, so that 1% of them may be less than one.
        found.append(tpr_row(_LOOSE, tpr_at_fpr(scores.score, case.members, _LOOSE)))
        yield from (series.row(CANARIES, one) for one in found)
        repeats = self.planted.repeats
        repeated = f"of {repeats} copies together: a bound for one record is 1/{repeats} of it"
        for row in epsilon_bounds(
            case,
            scores,
            series,
            self.measure.settings.seed,
            members_drawn=True,
            subset=CANARIES,
            guesses=len(case.members) // _GUESSES,
        ):
            yield row if repeats == 1 else row.with_note(repeated)


def _first_possible(attack: Attack, case: Case, mode: Mode) -> tuple[str, Scores | str]:
    """The first headline variant that can run, with its scores; or the first, and why it cannot."""
    tried = [(variant, Fits(attack, variant).score(case)) for variant in attack.spec.headlines_in(mode)]
    return next(((variant, scores) for variant, scores in tried if not isinstance(scores, str)), tried[0])
