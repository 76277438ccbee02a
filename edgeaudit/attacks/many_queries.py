"""Any attack on several views of a record: `threat.views`."""

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
    """The attack as it is and, where the evidence has views and the attack reads none itself, `over_views`."""
    needs = [attack.spec.needs_of(variant) for variant in attack.spec.variants]
    reads_them = any(need.views or need.trace for need in needs)
    if not evidence.views or reads_them:
        return (attack,)
    return attack, over_views(attack, tuple(view.name for view in evidence.views))


def queries_of(needs: Needs, evidence: Evidence) -> int:
    """How often a variant with these needs asks about a record; rounded up, where records cost differently."""
    if needs.trace:
        return 1 + math.ceil(float(evidence.traces[needs.trace].queries.mean()))
    if not needs.views:
        return 1
    return 1 + sum(needs.views == "any" or view.is_of(needs.views) for view in evidence.views)


def over_views(attack: Attack, names: tuple[str, ...]) -> Attack:
    """The attack on the mean over the record as it is and its views; variants are called `t+flip+shift-1`.

    Variants that read margins only get the mean margin of every model and go on as ever, since the null distribution
    is one of mean margins, too. Source: Carlini et al., "Membership Inference Attacks From First Principles" (S&P
    2022), who query augmented copies of a record. We deviate: they fit a Gaussian of as many dimensions as there are
    queries, which few shadows cannot feed. Of all other variants the scores are averaged, each from one view of all
    models; a mean of p-values is none, so these have no p-value.

    Args:
        attack: what to run; its own settings are kept.
        names: of the evidence's views, one for each query.
    """
    suffix = "".join(f"+{name}" for name in dict.fromkeys(names))
    about = attack.spec
    renamed = {variant: variant + suffix for variant in about.variants}
    original = {new: old for old, new in renamed.items()}

    class OverViews(Attack):
        spec: ClassVar[AttackSpec] = replace(
            about,
            variants=tuple(original),
            variant_needs={new: replace(about.needs_of(old), views="any") for new, old in original.items()},
            calibrated_p=tuple(renamed[v] for v in about.calibrated_p if v in about.reads_margins),
            variant_thresholds={renamed[v]: value for v, value in about.variant_thresholds.items()},
            reads_margins=(),
        )

        def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> Learned:
            old = original[variant]
            if old in about.reads_margins:
                return _OnMeanMargins(attack.fit(_mean_margins(shadows), old, _mean_margins(reference)))
            pairs = zip(_each_query(shadows), _each_query(reference), strict=True)
            return _OnEachQuery(tuple(attack.fit(one, old, two) for one, two in pairs))

    return OverViews()


@dataclass(frozen=True)
class _OnMeanMargins:
    """A variant that reads margins only, on the mean margin of all queries."""

    scorer: Scorer

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:
        return self.scorer.score(_mean_margin(evidence), _mean_margin(reference))


@dataclass(frozen=True)
class _OnEachQuery:
    """Any other variant, on each query by itself."""

    scorers: tuple[Scorer, ...]

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:
        queries = (_each_answer(part.target_answers) for part in (evidence, reference))
        scored = (s.score(one, two).score for s, one, two in zip(self.scorers, *queries, strict=True))
        return Scores(np.mean(list(scored), axis=0))


def _each_query(answers: ShadowAnswers) -> list[ShadowAnswers]:
    """The answers on the records as they are, then to each query of a view; each without views."""
    plain = replace(answers, views=())
    return [plain, *(replace(plain, shadows=view.shadows) for view in answers.views)]


def _each_answer(answers: TargetAnswers) -> list[TargetAnswers]:
    """The same of a target."""
    plain = replace(answers, views=())
    return [plain, *(replace(plain, target=view.target) for view in answers.views)]


def _mean_margins(answers: ShadowAnswers) -> ShadowAnswers:
    """Answers of two classes whose margins are the means over the record and its views."""
    labels, exposure, floor = answers.labels, answers.exposure, answers.floor
    margins = np.empty(answers.out.shape)
    for k, own in enumerate(answers.shadows):
        queries = (own, *(view.shadows[k] for view in answers.views))
        margins[k] = np.mean([answers.task.margin(one, labels, exposure, floor) for one in queries], axis=0)
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
    """The target's part of the same."""
    about = (evidence.labels, evidence.exposure, evidence.floor)
    queries = (evidence.target, *(view.target for view in evidence.views))
    margin = np.mean([evidence.task.margin(one, *about) for one in queries], axis=0)
    return replace(evidence.target_answers, target=_with_margin(margin), grid=None, views=())


def _with_margin(margins: FloatArray) -> FloatArray:
    """Logits of two classes, float64 [..., 2], in which the first has this margin."""
    return np.stack((margins, np.zeros_like(margins)), axis=-1)
