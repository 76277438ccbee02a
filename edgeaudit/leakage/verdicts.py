"""Figures of verdicts: CM-MIA calls a record a member or abstains."""

from __future__ import annotations

import numpy as np

from edgeaudit.errors import AttackError
from edgeaudit.leakage.clusters import Side, sides
from edgeaudit.leakage.intervals import Interval, clopper_pearson
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
        groups: int64 [n], groups of related records, whose intervals are of effective sizes (`Side.effective_size`);
            None: records are independent.

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
    if groups is None:
        groups = np.arange(len(members), dtype=np.int64)
    sides(members, groups)  # checks their shape
    everyone = np.ones(len(members), np.bool_)
    m, n = int(members.sum()), int((~members).sum())
    hits, alarms = int((accused & members).sum()), int((accused & ~members).sum())
    note = counted(hits, m, alarms, n, _interval(accused, ~members, groups))
    # Each figure is the share of the first flags among the records of the second.
    shares = {
        "coverage": (accused, everyone),
        "ppv": (members, accused),
        "recall": (accused, members),
        "fpr": (accused, ~members),
        "forced_accuracy": (accused == members, everyone),
    }
    rows = []
    for name, (flags, among) in shares.items():
        metric = f"{name}@{rule}"
        if not among.any():
            no_positive = f"no record is called a member at cutoff {rule.rpartition('=')[2]}"
            rows.append(Figure(metric, None, None, None, m, n, 0.0, no_positive))
            continue
        low, high = _interval(flags, among, groups)
        value = int(flags[among].sum()) / int(among.sum())
        rows.append(Figure(metric, value, low, high, m, n, alarms / n, note))
    return rows


def _interval(flags: BoolArray, among: BoolArray, groups: IntArray) -> Interval:
    """Return the Clopper-Pearson interval of the share of `flags` among the records of `among`, at their size."""
    side = Side(np.unique(groups[among], return_inverse=True)[1].astype(np.int64))
    chosen = flags[among].astype(np.float64)
    size = side.effective_size(chosen)
    return clopper_pearson(float(chosen.sum()) * (size / len(chosen)), size)
