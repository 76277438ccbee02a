"""Paired comparisons of two scores of the same records, on one or several targets, with Holm's method in families."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.operating_points import tpr_at_fpr
from edgeaudit.leakage.paired import auc_difference, tpr_difference
from edgeaudit.leakage.roc import BoolArray, FloatArray, IntArray
from edgeaudit.leakage.targets import paired_over_targets

__all__ = ["METRICS", "Compared", "Scored", "compare", "compare_family", "figure"]

METRICS = ("auc", "tpr@fpr=0.01", "tpr@fpr=0.001")
_TPR = "tpr@fpr="


@dataclass(frozen=True)
class Scored:
    """One attack's scores on every target: a float64 [n] of scores and a bool [n] of members for each, in order.

    groups: int64 [n], groups of related records, the same for every target; None where each has one record.
    """

    scores: tuple[FloatArray, ...]
    members: tuple[BoolArray, ...]
    groups: IntArray | None = None


@dataclass(frozen=True)
class Compared:
    """The difference of two figures; positive = the first leaks more.

    first, second: the two figures, means over targets. value: their difference. low, high: 95% interval. p_value:
    two-sided, of H0 "no difference". adjusted_p: by Holm's method in its family. targets: 1 = tested over the records
    of one target (paired DeLong, paired bootstrap), more = over targets (paired t). None where a figure is not
    resolvable; note gives the reason.
    """

    first: float | None
    second: float | None
    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    targets: int
    adjusted_p: float | None = None
    note: str | None = None


def figure(scores: FloatArray, members: BoolArray, metric: str) -> float | None:
    """Return one of `METRICS`, or the TPR at another FPR (`tpr@fpr=<a>`); None where it is not resolvable.

    Raises `AttackError` for another metric.
    """
    if metric == "auc":
        return delong(scores, members).auc
    if not metric.startswith(_TPR):
        raise AttackError(f"'{metric}' has no paired test; auc and tpr@fpr=<rate> have one")
    return tpr_at_fpr(scores, members, float(metric.removeprefix(_TPR))).tpr


def compare(first: Scored, second: Scored, metric: str, rng: Callable[[], np.random.Generator]) -> Compared:
    """Return the figure of `first` minus that of `second`, on the same targets and records.

    Args:
        first: scores on every target.
        second: scores on the same targets, with equal memberships.
        metric: see `figure`.
        rng: returns the generator of the bootstrap; called only if there is a bootstrap.

    Raises:
        AttackError: the targets or memberships differ.
    """
    if len(first.scores) != len(second.scores) or not all(
        np.array_equal(a, b) for a, b in zip(first.members, second.members, strict=True)
    ):
        raise AttackError("only scores of the same targets and records can be compared")
    a_figures, b_figures = (
        [figure(s, m, metric) for s, m in zip(x.scores, x.members, strict=True)] for x in (first, second)
    )
    if len(a_figures) > 1:
        mean = paired_over_targets(a_figures, b_figures)
        both = [(a, b) for a, b in zip(a_figures, b_figures, strict=True) if a is not None and b is not None]
        a_mean, b_mean = np.mean(both, axis=0).tolist() if both else (None, None)
        return Compared(a_mean, b_mean, mean.value, mean.low, mean.high, mean.p_value, mean.targets, None, mean.note)
    a, b, members = first.scores[0], second.scores[0], first.members[0]
    if metric == "auc":
        change = auc_difference(a, b, members, groups=first.groups)
    else:
        change = tpr_difference(a, b, members, float(metric.removeprefix(_TPR)), rng(), groups=first.groups)
    return Compared(
        a_figures[0], b_figures[0], change.value, change.low, change.high, change.p_value, 1, None, change.note
    )


def compare_family(
    pairs: Mapping[str, tuple[Scored, Scored]],
    metrics: Sequence[str],
    rng: Callable[[str, str], np.random.Generator],
) -> dict[tuple[str, str], Compared]:
    """Compare every pair in every metric: (name, metric) -> difference. Holm's method is applied within a metric.

    A comparison that is not resolvable counts in its family with p = 1: leaving it out would relax the correction for
    the others.

    Args:
        pairs: name -> (first, second).
        metrics: see `figure`.
        rng: name, metric -> the generator of that comparison's bootstrap.
    """
    compared: dict[tuple[str, str], Compared] = {}
    for metric in metrics:
        rows = {
            name: compare(first, second, metric, lambda name=name, metric=metric: rng(name, metric))  # type: ignore[misc]
            for name, (first, second) in pairs.items()
        }
        p_values = np.array([1.0 if row.p_value is None else row.p_value for row in rows.values()])
        adjusted = holm(p_values) if len(p_values) else p_values
        for (name, row), p in zip(rows.items(), adjusted, strict=True):
            compared[name, metric] = replace(row, adjusted_p=None if row.p_value is None else float(p))
    return compared
