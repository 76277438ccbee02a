"""Two series of scores of the same records, on one target or on several; families of such pairs, Holm-adjusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.paired import auc_difference, tpr_difference
from edgeaudit.leakage.roc import BoolArray, FloatArray, tpr_at_fpr
from edgeaudit.leakage.targets import paired_over_targets

__all__ = ["METRICS", "Compared", "Scored", "compare", "compare_family", "figure"]

METRICS = ("auc", "tpr@fpr=0.01", "tpr@fpr=0.001")
_TPR = "tpr@fpr="


@dataclass(frozen=True)
class Scored:
    """One attack's scores on every target: scores [n] and members bool [n] a target, in the targets' order."""

    scores: tuple[FloatArray, ...]
    members: tuple[BoolArray, ...]


@dataclass(frozen=True)
class Compared:
    """A difference of two figures; positive = the first leaks more.

    low, high: 95% interval. p_value: two-sided, of no difference. adjusted_p: Holm's in its family. targets: 1 = over
    the records of one target (paired DeLong, paired bootstrap), more = over targets (paired t). first, second: the
    two figures, means over targets. None where a figure is not resolvable; note says why.
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
    """One of `METRICS`, or the TPR at any other FPR (`tpr@fpr=<a>`); None where it is not resolvable."""
    if metric == "auc":
        return delong(scores, members).auc
    if not metric.startswith(_TPR):
        raise AttackError(f"'{metric}' has no paired test; there is one for auc and tpr@fpr=<rate>")
    return tpr_at_fpr(scores, members, float(metric.removeprefix(_TPR))).tpr


def compare(first: Scored, second: Scored, metric: str, rng: Callable[[], np.random.Generator]) -> Compared:
    """The figure of `first` less that of `second`, on the same targets and records.

    Args:
        first: on every target.
        second: on the same ones, with equal memberships.
        metric: see `figure`.
        rng: makes the generator of the bootstrap, if there is one.

    Raises:
        AttackError: the two are not about the same targets.
    """
    if len(first.scores) != len(second.scores) or not all(
        np.array_equal(a, b) for a, b in zip(first.members, second.members, strict=True)
    ):
        raise AttackError("two series can be compared on the same targets and records only")
    ours, theirs = ([figure(s, m, metric) for s, m in zip(x.scores, x.members, strict=True)] for x in (first, second))
    if len(ours) > 1:
        over = paired_over_targets(ours, theirs)
        both = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
        a_mean, b_mean = np.mean(both, axis=0).tolist() if both else (None, None)
        return Compared(a_mean, b_mean, over.value, over.low, over.high, over.p_value, over.targets, None, over.note)
    a, b, members = first.scores[0], second.scores[0], first.members[0]
    if metric == "auc":
        one = auc_difference(a, b, members)
    else:
        one = tpr_difference(a, b, members, float(metric.removeprefix(_TPR)), rng())
    return Compared(ours[0], theirs[0], one.value, one.low, one.high, one.p_value, 1, None, one.note)


def compare_family(
    pairs: Mapping[str, tuple[Scored, Scored]],
    metrics: Sequence[str],
    rng: Callable[[str, str], np.random.Generator],
) -> dict[tuple[str, str], Compared]:
    """Every pair at every metric: (name, metric) -> difference. Holm's adjustment is made within a metric.

    A comparison that is not resolvable stays in its family with p = 1: leaving it out would lower the bar for others.

    Args:
        pairs: name -> (first, second).
        metrics: see `figure`.
        rng: name, metric -> the generator of that comparison's bootstrap.
    """
    found: dict[tuple[str, str], Compared] = {}
    for metric in metrics:
        rows = {
            name: compare(first, second, metric, lambda name=name, metric=metric: rng(name, metric))  # type: ignore[misc]
            for name, (first, second) in pairs.items()
        }
        p_values = np.array([1.0 if row.p_value is None else row.p_value for row in rows.values()])
        adjusted = holm(p_values) if len(p_values) else p_values
        for (name, row), p in zip(rows.items(), adjusted, strict=True):
            found[name, metric] = replace(row, adjusted_p=None if row.p_value is None else float(p))
    return found
