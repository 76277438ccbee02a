"""Leakage figures of one attack on one format: value, interval, counts."""

from __future__ import annotations

from edgeaudit.leakage.intervals import clopper_pearson, delong, ppv, ppv_interval, rate_difference
from edgeaudit.leakage.roc import BoolArray, FloatArray, OperatingPoint, split_scores, tpr_at_fpr
from edgeaudit.leakage.rows import Figure

__all__ = ["FPR_LEVELS", "PRIORS", "Figure", "figures", "unresolved"]

FPR_LEVELS = (0.01, 0.001)
PRIORS = (0.5, 0.1, 0.01)


def unresolved(metric: str, members: BoolArray, note: str) -> Figure:
    """Return the row of a figure that cannot be computed on these records, with the reason in `note`."""
    return Figure(metric, None, None, None, int(members.sum()), int((~members).sum()), None, note)


def figures(
    scores: FloatArray, members: BoolArray, threshold: float | None, threshold_note: str | None = None
) -> list[Figure]:
    """Return all figures of one attack on one set of records.

    auc (DeLong); tpr@fpr=0.01 and 0.001 (Clopper-Pearson of the TPR, at the threshold on these records);
    balanced_accuracy, advantage = TPR - FPR (Newcombe) and ppv@prior=0.5, 0.1, 0.01 (see `ppv_interval`). The latter
    use the a-priori threshold, since a threshold chosen on the audited memberships would bias them upwards.

    Args:
        scores: float [n], higher = member.
        members: bool [n].
        threshold: member where score >= threshold, fixed without `members`; None gives rows without values.
        threshold_note: note on the rows that use the threshold.

    Raises:
        AttackError: see `split_scores`.

    Examples:
        >>> import numpy as np
        >>> scores, members = np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False])
        >>> area, strict, *_ = figures(scores, members, threshold=2.5)
        >>> area.metric, area.value, strict.metric, strict.value
        ('auc', 0.75, 'tpr@fpr=0.01', None)
    """
    inside, outside = split_scores(scores, members)
    m, n = len(inside), len(outside)
    area = delong(scores, members)
    rows = [Figure("auc", area.auc, area.low, area.high, m, n)]
    rows += [_tpr_row(f"tpr@fpr={alpha:g}", tpr_at_fpr(scores, members, alpha)) for alpha in FPR_LEVELS]
    if threshold is None:
        note = threshold_note or "no a-priori threshold"
        names = ("balanced_accuracy", "advantage", *(f"ppv@prior={prior:g}" for prior in PRIORS))
        return rows + [Figure(name, None, None, None, m, n, None, note) for name in names]
    hits, alarms = int((inside >= threshold).sum()), int((outside >= threshold).sum())
    return rows + _threshold_rows(hits, m, alarms, n, threshold_note)


def counted(hits: int, m: int, alarms: int, n: int) -> str:
    """Return the counts with the interval of the FPR: one false positive of 1,000 means an FPR of up to 0.56%."""
    low, high = clopper_pearson(alarms, n)
    return f"{hits} of {m} members, {alarms} of {n} nonmembers; FPR interval {low:.2g} to {high:.2g}"


def _tpr_row(metric: str, point: OperatingPoint) -> Figure:
    m, n = point.n_members, point.n_nonmembers
    if point.tpr is None:
        return Figure(metric, None, None, None, m, n, None, point.note)
    low, high = clopper_pearson(point.true_positives, m)
    note = counted(point.true_positives, m, point.false_positives, n)
    return Figure(metric, point.tpr, low, high, m, n, point.realised_fpr, note)


def _threshold_rows(hits: int, m: int, alarms: int, n: int, threshold_note: str | None) -> list[Figure]:
    tpr, fpr = hits / m, alarms / n
    note = "; ".join(part for part in (counted(hits, m, alarms, n), threshold_note) if part)
    low, high = rate_difference(hits, m, alarms, n)
    rows = [
        Figure("balanced_accuracy", (1 + tpr - fpr) / 2, (1 + low) / 2, (1 + high) / 2, m, n, fpr, note),
        Figure("advantage", tpr - fpr, low, high, m, n, fpr, note),
    ]
    for prior in PRIORS:
        name, value = f"ppv@prior={prior:g}", ppv(tpr, fpr, prior)
        if value is None:
            no_positive = f"no record is called a member at the threshold; {note}"
            rows.append(Figure(name, None, None, None, m, n, fpr, no_positive))
            continue
        bounds = ppv_interval(hits, m, alarms, n, prior)
        rows.append(Figure(name, value, *bounds, m, n, fpr, note))
    return rows
