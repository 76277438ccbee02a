"""Multi-query attacks: any attack on a record and its views (`threat.views`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Learned, Needs, Scorer, Scores
from edgeaudit.attacks.evidence import Evidence, FloatArray, IntArray, ShadowAnswers, TargetAnswers
from edgeaudit.tasks import CLASSIFICATION

__all__ = ["over_views", "queries_of", "with_views"]


def with_views(attack: Attack, evidence: Evidence) -> tuple[Attack, ...]:
    """Return the attack and, where the evidence has views that the attack does not read itself, `over_views`."""
    needs = [attack.spec.needs_of(variant) for variant in attack.spec.variants]
    reads_views = any(need.views or need.trace for need in needs)
    if not evidence.views or reads_views:
        return (attack,)
    return attack, over_views(attack, tuple(view.name for view in evidence.views))


def queries_of(needs: Needs, evidence: Evidence) -> int:
    """Return the queries a record of a variant with these needs: the mean, rounded up, where records differ."""
    if needs.trace:
        return 1 + math.ceil(float(evidence.traces[needs.trace].queries.mean()))
    if not needs.views:
        return 1
    return 1 + sum(needs.views == "any" or view.is_of(needs.views) for view in evidence.views)


def over_views(attack: Attack, names: tuple[str, ...]) -> Attack:
    """Return the attack on the mean over the record and its views, with variants such as `t+flip+shift-1`.

    Variants that read margins only get each model's mean margin; they work unchanged, since the null distribution is
    also one of mean margins. Source: Carlini et al., "Membership Inference Attacks From First Principles" (S&P 2022),
    who query augmented copies of a record. Deviation: they fit a Gaussian of as many dimensions as there are queries,
    which needs many shadows. For all other variants the scores of the queries are averaged. A mean of p-values is not a
    p-value, so these have none.

    Args:
        attack: the attack to run; its settings are kept.
        names: the names of the evidence's views, one for each query.
    """
    suffix = "".join(f"+{name}" for name in dict.fromkeys(names))
    plain = attack.spec
    renamed = {variant: variant + suffix for variant in plain.variants}
    original = {new: old for old, new in renamed.items()}

    class OverViews(Attack):
        spec: ClassVar[AttackSpec] = replace(
            plain,
            variants=tuple(original),
            variant_needs={new: replace(plain.needs_of(old), views="any") for new, old in original.items()},
            calibrated_p=tuple(renamed[v] for v in plain.calibrated_p if v in plain.reads_margins),
            variant_thresholds={renamed[v]: value for v, value in plain.variant_thresholds.items()},
            reads_margins=(),
        )

        def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> Learned:
            old = original[variant]
            if old in plain.reads_margins:
                return _OnMeanMargins(attack.fit(_mean_margins(shadows), old, _mean_margins(reference)))
            queries = zip(_each_query(shadows), _each_query(reference), strict=True)
            return _OnEachQuery(tuple(attack.fit(audited, old, known) for audited, known in queries))

    return OverViews()


@dataclass(frozen=True)
class _OnMeanMargins:
    """A variant that reads margins only, on the mean margin over all queries."""

    scorer: Scorer

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:
        return self.scorer.score(_mean_margin(evidence), _mean_margin(reference))


@dataclass(frozen=True)
class _OnEachQuery:
    """Any other variant, on each query separately; the scores are averaged."""

    scorers: tuple[Scorer, ...]

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:
        queries = (_each_answer(part.target_answers) for part in (evidence, reference))
        scores = [
            scorer.score(target, known).score for scorer, target, known in zip(self.scorers, *queries, strict=True)
        ]
        return Scores(np.mean(scores, axis=0))


def _each_query(answers: ShadowAnswers) -> list[ShadowAnswers]:
    """Return the answers on the original records and then to each query of a view; each without views."""
    plain = replace(answers, views=())
    return [plain, *(replace(plain, shadows=view.shadows) for view in answers.views)]


def _each_answer(answers: TargetAnswers) -> list[TargetAnswers]:
    """Return the same for a target."""
    plain = replace(answers, views=())
    return [plain, *(replace(plain, target=view.target) for view in answers.views)]


def _mean_margins(answers: ShadowAnswers) -> ShadowAnswers:
    """Return answers of two classes whose margins are the means over the record and its views."""
    labels, exposure, floor = answers.labels, answers.exposure, answers.floor
    margins = np.empty(answers.out.shape)
    for k, original in enumerate(answers.shadows):
        queries = (original, *(view.shadows[k] for view in answers.views))
        margins[k] = np.mean([answers.task.margin(query, labels, exposure, floor) for query in queries], axis=0)
    first: IntArray = np.zeros(len(labels), dtype=np.int64)
    # A mean of margins lies on no grid.
    return replace(
        answers,
        shadows=_with_margin(margins),
        labels=first,
        exposure="logits",
        grid=None,
        views=(),
        task=CLASSIFICATION,
    )


def _mean_margin(evidence: Evidence) -> TargetAnswers:
    """Return the same for the target."""
    details = (evidence.labels, evidence.exposure, evidence.floor)
    queries = (evidence.target, *(view.target for view in evidence.views))
    margin = np.mean([evidence.task.margin(query, *details) for query in queries], axis=0)
    return replace(evidence.target_answers, target=_with_margin(margin), grid=None, views=())


def _with_margin(margins: FloatArray) -> FloatArray:
    """Return logits of two classes, float64 [..., 2], in which the first class has these margins."""
    return np.stack((margins, np.zeros_like(margins)), axis=-1)
