"""Leakage figures of one attack on one format: value, interval, counts."""

from __future__ import annotations

from collections.abc import Iterator

from edgeaudit.leakage.clusters import Side, sides, too_few_groups
from edgeaudit.leakage.intervals import Interval, clopper_pearson, delong, ppv, ppv_interval, rate_difference
from edgeaudit.leakage.operating_points import OperatingPoint, tpr_at_fpr
from edgeaudit.leakage.roc import BoolArray, FloatArray, IntArray, split_scores
from edgeaudit.leakage.rows import Figure

__all__ = ["FPR_LEVELS", "PRIORS", "Figure", "figures", "tpr_row", "unresolved"]

FPR_LEVELS = (0.01, 0.001)
PRIORS = (0.5, 0.1, 0.01)
_AT_THRESHOLD = ("balanced_accuracy", "advantage", *(f"ppv@prior={prior:g}" for prior in PRIORS))


def unresolved(metric: str, members: BoolArray, note: str) -> Figure:
    """Return the row of a figure that cannot be computed on these records, with the reason in `note`."""
    return Figure(metric, None, None, None, int(members.sum()), int((~members).sum()), None, note)


def figures(
    scores: FloatArray,
    members: BoolArray,
    threshold: float | None,
    threshold_note: str | None = None,
    groups: IntArray | None = None,
    level: float = 0.95,
) -> list[Figure]:
    """Return all figures of one attack on one set of records.

    auc (`delong`); tpr@fpr=0.01 and 0.001 (`tpr_at_fpr`, whose interval includes the scatter of the threshold);
    balanced_accuracy, advantage = TPR - FPR (`rate_difference`) and ppv@prior=0.5, 0.1, 0.01 (`ppv_interval`). The
    latter use the a-priori threshold, since a threshold chosen on the audited memberships would bias them upwards.

    Args:
        scores: float [n], higher = member.
        members: bool [n].
        threshold: member where score >= threshold, fixed without `members`; None gives rows without values.
        threshold_note: note on the rows that use the threshold.
        groups: int64 [n], groups of related records (copies, one user's), drawn together; None: independent records.
            Every interval is by group. With fewer than 20 groups a side nothing is resolvable.
        level: coverage of the intervals.

    Raises:
        AttackError: see `split_scores` and `sides`.

    Examples:
        >>> import numpy as np
        >>> scores, members = np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False])
        >>> area, strict, *_ = figures(scores, members, threshold=2.5)
        >>> area.metric, area.value, strict.metric, strict.value
        ('auc', 0.75, 'tpr@fpr=0.01', None)
    """
    inside, outside = split_scores(scores, members)
    both = sides(members, groups)
    few = too_few_groups(both)
    if few is not None:
        names = ("auc", *(f"tpr@fpr={alpha:g}" for alpha in FPR_LEVELS), *_AT_THRESHOLD)
        return [unresolved(name, members, few) for name in names]
    area = delong(scores, members, level, groups)
    rows = [Figure("auc", area.auc, area.low, area.high, len(inside), len(outside), None, _grouped(both))]
    rows += [tpr_row(alpha, tpr_at_fpr(scores, members, alpha, groups, level)) for alpha in FPR_LEVELS]
    if threshold is None:
        note = threshold_note or "no a-priori threshold"
        return rows + [unresolved(name, members, note) for name in _AT_THRESHOLD]
    accused = (inside >= threshold, outside >= threshold)
    return [*rows, *_threshold_rows(accused, both, threshold_note, level)]


def counted(hits: float, m: int, alarms: float, n: int, fpr: Interval) -> str:
    """Return the counts with the interval of the FPR: one false positive of 1,000 means an FPR of up to 0.56%."""
    low, high = fpr
    return f"{hits:.6g} of {m} members, {alarms:.6g} of {n} nonmembers; FPR interval {low:.2g} to {high:.2g}"


def _grouped(both: tuple[Side, Side]) -> str | None:
    inside, outside = both
    if inside.single and outside.single:
        return None
    return f"interval over {inside.count} groups of related members and {outside.count} of nonmembers"


def tpr_row(alpha: float, point: OperatingPoint) -> Figure:
    """Return the row of a TPR at a low FPR."""
    metric, m, n = f"tpr@fpr={alpha:g}", point.n_members, point.n_nonmembers
    if point.tpr is None:
        return Figure(metric, None, point.low, point.high, m, n, None, point.note)
    note = counted(point.accused_members, m, point.accused_nonmembers, n, point.fpr_interval or (0.0, 1.0))
    full = "; ".join(part for part in (note, f"expected FPR {point.expected_fpr:.3g}", point.note) if part)
    return Figure(metric, point.tpr, point.low, point.high, m, n, point.realised_fpr, full)


def _threshold_rows(
    accused: tuple[BoolArray, BoolArray], both: tuple[Side, Side], threshold_note: str | None, level: float
) -> Iterator[Figure]:
    hits, alarms = (int(flags.sum()) for flags in accused)
    m, n = (len(flags) for flags in accused)
    tpr, fpr = hits / m, alarms / n
    # The same rates, of as many records as know them as well.
    m_effective, n_effective = (
        side.effective_size(flags.astype(float)) for side, flags in zip(both, accused, strict=True)
    )
    counts = (hits * (m_effective / m), m_effective, alarms * (n_effective / n), n_effective)
    of_fpr = clopper_pearson(counts[2], n_effective, level)
    note = "; ".join(part for part in (counted(hits, m, alarms, n, of_fpr), threshold_note) if part)
    low, high = rate_difference(*counts, level)
    yield Figure("balanced_accuracy", (1 + tpr - fpr) / 2, (1 + low) / 2, (1 + high) / 2, m, n, fpr, note)
    yield Figure("advantage", tpr - fpr, low, high, m, n, fpr, note)
    for prior in PRIORS:
        name, value = f"ppv@prior={prior:g}", ppv(tpr, fpr, prior)
        if value is None:
            no_positive = f"no record is called a member at the threshold; {note}"
            yield Figure(name, None, None, None, m, n, fpr, no_positive)
            continue
        yield Figure(name, value, *ppv_interval(*counts, prior, level), m, n, fpr, note)
