"""Figures of verdicts: CM-MIA calls a record a member or abstains."""

from __future__ import annotations

import numpy as np

from edgeaudit.errors import AttackError
from edgeaudit.leakage.clusters import Side
from edgeaudit.leakage.intervals import clopper_pearson
from edgeaudit.leakage.metrics import Figure, counted
from edgeaudit.leakage.roc import BoolArray, IntArray

__all__ = ["verdict_figures"]


def verdict_figures(accused: BoolArray, members: BoolArray, rule: str, groups: IntArray | None = None) -> list[Figure]:
    """Return the figures of one decision rule over all audited records, each with a Clopper-Pearson interval.

    coverage: share of records called members; the others are abstentions. ppv: share of members among the records
    called members, at the audit's share of members; None if there are none. recall: share of all members that are
    called members, whether or not they are in the abnormal set. fpr: share of all nonmembers that are called members.
    forced_accuracy: accuracy if every abstention counts as "nonmember" (the paper's attack success rate); its interval
    treats members and nonmembers as one binomial, which is conservative. A trivial rule reaches max(share of members,
    share of nonmembers), so compare it with that.

    Args:
        accused: bool [n], the records called members, from `edgeaudit.attacks.cm_mia.decide`.
        members: bool [n].
        rule: suffix of the rows' names: 0.05, the cutoff on p-values; nominal=0.05, the cutoff on statistics that are
            not valid p-values.
        groups: int64 [n], groups of related records; None: records are independent. Intervals are those of as many
            independent records as know the rate as well (`Side.effective_size`).

    Raises:
        AttackError: shapes or dtypes do not match, or there are no members or no nonmembers.

    Examples:
        >>> import numpy as np
        >>> accused, members = np.array([True, False, False, False]), np.array([True, True, False, False])
        >>> {figure.metric: figure.value for figure in verdict_figures(accused, members, "0.05")}
        {'coverage@0.05': 0.25, 'ppv@0.05': 1.0, 'recall@0.05': 0.5, 'fpr@0.05': 0.0, 'forced_accuracy@0.05': 0.75}
    """
    if accused.shape != members.shape or accused.dtype != bool or members.dtype != bool:
        raise AttackError(f"verdicts {accused.shape} and memberships {members.shape} must be bool and of one length")
    if members.all() or not members.any():
        raise AttackError("figures need at least one member and one nonmember")
    m, total = int(members.sum()), len(members)
    n = total - m
    hits, alarms = int((accused & members).sum()), int((accused & ~members).sum())
    note = counted(hits, m, alarms, n)
    # What a rate counts, and among which records.
    everyone = np.ones(total, dtype=np.bool_)
    counts = {
        "coverage": (accused, everyone),
        "ppv": (members, accused),
        "recall": (accused, members),
        "fpr": (accused, ~members),
        "forced_accuracy": (accused == members, everyone),
    }
    rows = []
    for name, (counted_records, among) in counts.items():
        metric, trials = f"{name}@{rule}", int(among.sum())
        count = int((counted_records & among).sum())
        if trials == 0:
            no_positive = f"no record is called a member at cutoff {rule.rpartition('=')[2]}"
            rows.append(Figure(metric, None, None, None, m, n, 0.0, no_positive))
            continue
        size = _effective(counted_records[among], None if groups is None else groups[among])
        low, high = clopper_pearson(count if groups is None else count / trials * size, size)
        rows.append(Figure(metric, count / trials, low, high, m, n, alarms / n, note))
    return rows


def _effective(flags: BoolArray, groups: IntArray | None) -> float:
    """Return the number of independent records that know the share of `flags` as well."""
    if groups is None:
        return float(len(flags))
    numbers = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    return Side(numbers).effective_size(flags.astype(np.float64))
