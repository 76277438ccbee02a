"""How target and shadows answer what they trained on, and other records. Part of `measure`; controls compare it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeaudit.leakage.clusters import Side, sides
from edgeaudit.leakage.paired import chance_p_value
from edgeaudit.leakage.roc import auc
from edgeaudit.leakage.rows import Behaviour, Gap, Gaps
from edgeaudit.population.base import is_given
from edgeaudit.population.groups import related
from edgeaudit.stages.evidence import Answers
from edgeaudit.tasks import Task

__all__ = ["SUREST", "behaviour"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SUREST = 1 / 128
"""Probabilities beyond 1 - 1/128 count as equally sure: coarser than int8's step, so that a format does not differ from
shadows in another one by the grid of its outputs."""
_FEWEST = 20
"""Records of the shadows' own pool that a shadow must have left out for them to be its nonmembers."""


def behaviour(answers: Answers) -> Behaviour:
    """Compare the first target of a format with its shadows.

    Shadows' gaps are between records of the pool that they were drawn from; where a shadow trained on nearly all of
    it, the other side is everything that it did not train on. Of one that trained on audited and on other records, the
    audited ones count, on which attacks are run. Related records count as one draw.
    """
    trained = answers.trained(answers.settings.targets[0][0])
    audited = np.arange(len(trained)) < answers.n_audited
    margins, shadow_margins = answers.margins(SUREST)
    right, shadow_right = answers.correct()
    members, others = trained & audited, audited & ~trained
    out, groups = answers.out, answers.groups_queried
    own, task = list(zip(shadow_right, shadow_margins, out, strict=True)), answers.task
    shadows = [_gaps(task, r, m, _listed(mask, audited), _left_out(mask, audited), groups) for r, m, mask in own]
    unlisted = [
        _gaps(task, r, m, mask & members, mask & others, groups)
        if min((mask & members).sum(), (mask & others).sum()) >= _FEWEST
        else None
        for role, (r, m, mask) in zip(answers.settings.shadow_roles, own, strict=True)
        if is_given(role)
    ]
    target = _gaps(task, right, margins, members, others, groups)
    of_audited = None if groups is None else related(groups[audited])
    p_accuracy, p_loss = (
        _better(v[audited], members[audited], of_audited) for v in (right.astype(np.float64), margins)
    )
    if not len(out):
        return Behaviour(target, (), p_accuracy, p_loss, at_chance=answers.at_chance)
    return Behaviour(
        target,
        tuple(shadows),
        p_accuracy,
        p_loss,
        _distance(margins, members, shadow_margins, ~out, answers.labels),
        _distance(margins, others, shadow_margins, out & audited, answers.labels),
        answers.at_chance,
        tuple(unlisted),
        answers.alike(),
    )


def _listed(out: BoolArray, audited: BoolArray) -> BoolArray:
    """Bool [queried]: the records that a shadow trained on; of audited ones and others the audited, if they suffice."""
    within: BoolArray = ~out & audited
    return within if within.sum() >= _FEWEST else ~out


def _left_out(out: BoolArray, audited: BoolArray) -> BoolArray:
    """Bool [queried]: the records to compare with those that a shadow trained on."""
    pool = audited if (audited & ~out).any() else ~audited
    within: BoolArray = out & pool
    return within if within.sum() >= _FEWEST else out


def _gaps(
    task: Task,
    right: BoolArray,
    margins: FloatArray,
    inside: BoolArray,
    outside: BoolArray,
    groups: IntArray | None,
) -> Gaps:
    either, losses = inside | outside, task.loss_of(margins)
    both = sides(inside[either], None if groups is None else groups[either])
    return Gaps(*(_gap(v[inside], v[outside], both) for v in (right.astype(np.float64), -losses, margins)))


def _gap(inside: FloatArray, outside: FloatArray, both: tuple[Side, Side]) -> Gap:
    variances = [side.variance_of_mean(values) for side, values in zip(both, (inside, outside), strict=True)]
    # One group says nothing of how groups differ: its records are taken as independent.
    known = [v if np.isfinite(v) else float(np.var(one)) for v, one in zip(variances, (inside, outside), strict=True)]
    return Gap(float(inside.mean() - outside.mean()), sum(known))


def _better(values: FloatArray, members: BoolArray, groups: IntArray | None) -> float:
    """Return the one-sided p-value of members' values being larger, by ranks; 1 where it cannot be computed."""
    p = chance_p_value(values, members, groups)
    if p is None:
        return 1.0
    return p / 2 if auc(values, members) > 0.5 else 1 - p / 2


def _distance(target: FloatArray, side: BoolArray, shadows: FloatArray, sides: BoolArray, labels: IntArray) -> float:
    """Return how far the target's margins are from the shadows', in [0, 1]: over all records, or within classes.

    Over all records it is the largest difference between the target's distribution function and the mean of the
    shadows'. A target that is surer of one class and less sure of another may not differ there, so the same within each
    class counts, too, averaged over the target's records, less what that is for a shadow among the others.

    Args:
        target: margins, float64 [queried].
        side: the target's records, bool [queried].
        shadows: margins, float64 [K, queried].
        sides: the records of each shadow, bool [K, queried].
        labels: int64 [queried].
    """
    pooled = _apart(target[side], [m[mask] for m, mask in zip(shadows, sides, strict=True)])
    within = _apart_within(target, side, shadows, sides, labels)
    if len(shadows) < 2 or within <= pooled:
        return pooled
    k = np.arange(len(shadows))
    expected = [_apart_within(shadows[one], sides[one], shadows[k != one], sides[k != one], labels) for one in k]
    return max(pooled, within - float(np.mean(expected)))


def _apart_within(tested: FloatArray, side: BoolArray, others: FloatArray, sides: BoolArray, labels: IntArray) -> float:
    """Return the mean over the tested model's records of the distance within their classes."""
    total = 0.0
    for one in np.unique(labels[side]):
        of_class = labels == one
        known = [m[mask & of_class] for m, mask in zip(others, sides, strict=True)]
        if any(len(values) for values in known):
            inside = tested[side & of_class]
            total += len(inside) * _apart(inside, known)
    return total / max(int(side.sum()), 1)


def _apart(tested: FloatArray, others: list[FloatArray]) -> float:
    """Return the largest difference between a distribution function and the mean of those of others."""
    at = np.unique(np.concatenate([tested, *others]))
    own = np.searchsorted(np.sort(tested), at, side="right") / len(tested)
    known = [values for values in others if len(values)]
    theirs = np.mean([np.searchsorted(np.sort(v), at, side="right") / len(v) for v in known], axis=0)
    return float(np.abs(own - theirs).max())
