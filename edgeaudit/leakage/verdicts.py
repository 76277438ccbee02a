"""Figures of verdicts: "member" or abstention, as CM-MIA decides."""

from __future__ import annotations

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import clopper_pearson
from edgeaudit.leakage.metrics import Figure, counted
from edgeaudit.leakage.roc import BoolArray

__all__ = ["verdict_figures"]


def verdict_figures(accused: BoolArray, members: BoolArray, rule: str) -> list[Figure]:
    """Figures of one decision rule over ALL audited records, each with a Clopper-Pearson interval.

    coverage: share of records with a verdict, i.e. accused; the others are abstentions. ppv: share of members among
    the accused, at the audit's own share of members; None if nobody is accused. recall: accused members of all
    members, whether or not they were in the abnormal set. fpr: accused nonmembers of all nonmembers.
    forced_accuracy: correct answers where every abstention is forced to "nonmember" (the paper's attack success
    rate); its interval treats members and nonmembers as one binomial, which is conservative. It is
    max(share of members, of nonmembers) for free, so read it against that.

    Args:
        accused: bool [n], from `edgeaudit.attacks.cm_mia.decide`.
        members: bool [n].
        rule: names the rows: 0.05, the cutoff on p-values; nominal=0.05, that on what is no p-value.

    Raises:
        AttackError: shapes or dtypes do not fit, or one of the two kinds is missing.

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
    counts = {
        "coverage": (hits + alarms, total),
        "ppv": (hits, hits + alarms),
        "recall": (hits, m),
        "fpr": (alarms, n),
        "forced_accuracy": (hits + n - alarms, total),
    }
    rows = []
    for name, (count, trials) in counts.items():
        metric = f"{name}@{rule}"
        if trials == 0:
            nobody = f"no record is accused at cutoff {rule.rpartition('=')[2]}"
            rows.append(Figure(metric, None, None, None, m, n, 0.0, nobody))
            continue
        low, high = clopper_pearson(count, trials)
        rows.append(Figure(metric, count / trials, low, high, m, n, alarms / n, note))
    return rows
