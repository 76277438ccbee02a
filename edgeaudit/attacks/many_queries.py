"""Any attack, asked about several views of a record: `threat.views`."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Evidence, FloatArray, IntArray, Needs, Scores
from edgeaudit.attacks.signals import true_class_margin

__all__ = ["as_shown", "over_views", "queries_of", "with_views"]


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

        def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:
            old = original[variant]
            if old in about.reads_margins:
                return attack.score(_mean_margin(evidence), old, _mean_margin(reference))
            pairs = zip(as_shown(evidence), as_shown(reference), strict=True)
            return Scores(np.mean([attack.score(one, old, two).score for one, two in pairs], axis=0))

    return OverViews()


def as_shown(evidence: Evidence) -> list[Evidence]:
    """The evidence on the records as they are, then as each query of a view shows them; each without views."""
    plain = replace(evidence, views=())
    return [plain, *(replace(plain, target=view.target, shadows=view.shadows) for view in evidence.views)]


def _mean_margin(evidence: Evidence) -> Evidence:
    """Evidence of two classes whose margins are the means over the record and its views."""
    shown = as_shown(evidence)
    labels, exposure, floor = evidence.labels, evidence.exposure, evidence.floor
    target = np.mean([true_class_margin(e.target, labels, exposure, floor) for e in shown], axis=0)
    shadows = np.empty(evidence.out.shape)
    for k in range(len(shadows)):
        shadows[k] = np.mean([true_class_margin(e.shadows[k], labels, exposure, floor) for e in shown], axis=0)
    first: IntArray = np.zeros(len(labels), dtype=np.int64)
    return replace(
        evidence,
        target=_with_margin(target),
        shadows=_with_margin(shadows),
        labels=first,
        exposure="logits",
        grid=None,  # a mean of margins lies on none
        views=(),
    )


def _with_margin(margins: FloatArray) -> FloatArray:
    """Logits of two classes, float64 [..., 2], in which the first has this margin."""
    return np.stack((margins, np.zeros_like(margins)), axis=-1)
